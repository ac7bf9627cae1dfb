//! Bad input: whatever is sent, the answer is the refusal that the endpoint's RFC names, and never a 500.

use std::collections::HashMap;

use portcullis::tenancy::Role;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, StatusCode};
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::actors::{CHALLENGE, VERIFIER, claims, http};
use crate::harness::world::{AUDIENCE, PASSWORD, REDIRECT_URI};
use crate::harness::{Answer, Application, Database, Redirected, Server, World};

const FORM: &str = "application/x-www-form-urlencoded";
/// Texts that are well-formed UTF-8 and nothing that anybody should send, percent-encoded.
const STRANGE: [&str; 9] = [
    "%00",
    "a%00b",
    "%0d%0aSet-Cookie:%20a=b",
    "%1b[31m",
    "%7f",
    "%e2%80%ae%f0%9f%94%91",
    "%27%3b%20DROP%20TABLE%20users%3b--",
    "%3cscript%3ealert(1)%3c/script%3e",
    "-1",
];
/// What is no percent-encoded UTF-8.
const UNREADABLE: [&str; 6] = ["%ff", "%c3%28", "%ed%a0%80", "%", "%4", "%zz"];

fn encoded(form: &[(&str, &str)]) -> Vec<(String, String)> {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    form.iter().map(|(name, value)| ((*name).to_owned(), encode(value))).collect()
}

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Sends it and checks what holds for every answer.
async fn sends(request: RequestBuilder, what: &str) -> Answer {
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert!(answer.status.as_u16() < 500, "{what}: {answer:?}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    if !answer.text.is_empty() && answer.status.is_client_error() {
        let kind = answer.header("content-type");
        let known = ["application/json", "application/problem+json", "text/html"];
        assert!(known.iter().any(|it| kind.starts_with(it)), "{what}: {answer:?}");
        let is_page = kind.starts_with("text/html");
        assert!(is_page || answer.text.len() < 2048, "{what}: an endless refusal");
    }
    answer
}

async fn posts(server: &Server, path: &str, body: String) -> Answer {
    let what = format!("POST {path} {}", body.chars().take(300).collect::<String>());
    sends(http().post(server.url(path)).header(CONTENT_TYPE, FORM).body(body), &what).await
}

// The protocol's endpoints for applications

/// A form that is right, and what is said where one of its parameters is missing.
struct Endpoint {
    path: &'static str,
    form: Vec<(String, String)>,
    without: HashMap<&'static str, &'static str>,
}

/// Every endpoint that reads a form from an application, with a form that is right as often as it is sent, but for
/// codes and refresh tokens, which are made up.
async fn endpoints(app: &Application, tokens: &Answer) -> Vec<Endpoint> {
    let secret = app.secret.clone().unwrap();
    let endpoint = |path, form: &[(&str, &str)], without: &[(&'static str, &'static str)]| {
        let client = [("client_id", app.id.as_str()), ("client_secret", secret.as_str())];
        Endpoint {
            path,
            form: encoded(&[form, &client].concat()),
            without: without.iter().copied().collect(),
        }
    };
    let access_token = tokens.member("access_token");
    vec![
        endpoint(
            "/oauth/token",
            &[
                ("grant_type", "authorization_code"),
                ("code", "unknown"),
                ("redirect_uri", REDIRECT_URI),
                ("code_verifier", VERIFIER),
                ("resource", AUDIENCE),
            ],
            &[("grant_type", "400 invalid_request"), ("code", "400 invalid_request")],
        ),
        endpoint(
            "/oauth/token",
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", "unknown"),
                ("scope", "read:tenants"),
                ("resource", AUDIENCE),
            ],
            &[("grant_type", "400 invalid_request"), ("refresh_token", "400 invalid_request")],
        ),
        endpoint(
            "/oauth/token",
            &[
                ("grant_type", "client_credentials"),
                ("scope", "read:tenants"),
                ("resource", AUDIENCE),
            ],
            &[("grant_type", "400 invalid_request")],
        ),
        endpoint(
            "/oauth/introspect",
            &[("token", access_token), ("token_type_hint", "access_token")],
            &[("token", "400 invalid_request")],
        ),
        endpoint(
            "/oauth/revoke",
            &[("token", "unknown"), ("token_type_hint", "access_token")],
            &[("token", "400 invalid_request")],
        ),
    ]
}

/// What stands where another client's, or no client's, credentials do.
fn refusal_without_client(name: &str) -> Option<&'static str> {
    matches!(name, "client_id" | "client_secret").then_some("401 invalid_client")
}

/// The code for a parameter that comes twice; RFC 8707 §2 has its own for `resource`.
fn doubled(name: &str) -> &'static str {
    if name == "resource" { "invalid_target" } else { "invalid_request" }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_parameter_of_the_protocol_is_refused_as_its_rfc_says(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let tokens = app.acts_for_itself("read:tenants").await;
    let server = &world.server;
    for Endpoint { path, form, without } in endpoints(&app, &tokens).await {
        for at in 0..form.len() {
            let (name, value) = form[at].clone();
            let with = |value: &str| {
                let mut changed = form.clone();
                changed[at].1 = value.to_owned();
                joined(&changed)
            };
            let missing: Vec<_> = form.iter().filter(|(it, _)| *it != name).cloned().collect();
            let expected = without.get(name.as_str()).copied().or(refusal_without_client(&name));

            // Missing; empty counts as missing (RFC 6749 §3.2).
            for body in [joined(&missing), with("")] {
                let answer = posts(server, path, body.clone()).await;
                match expected {
                    Some(expected) => assert_eq!(answer.refusal(), expected, "{path} {body}"),
                    None => assert!(answer.json["error"] != "invalid_request", "{path} {body}"),
                }
            }
            // Doubled, even where both are equal. What is ignored may come as often as it likes.
            if name != "token_type_hint" {
                for second in [value.as_str(), "other", ""] {
                    let body = format!("{}&{name}={second}", joined(&form));
                    let answer = posts(server, path, body.clone()).await;
                    let refusal = answer.refusal();
                    assert_eq!(
                        refusal,
                        format!("400 {}", doubled(&name)),
                        "{path} {body}: {answer:?}"
                    );
                }
            }
            for text in STRANGE {
                let answer = posts(server, path, with(text)).await;
                let expected: &[&str] = match (path, name.as_str()) {
                    (_, "grant_type") => &["400 unsupported_grant_type"],
                    (_, "client_id" | "client_secret") => &["401 invalid_client"],
                    (_, "code" | "refresh_token" | "code_verifier" | "redirect_uri") => {
                        &["400 invalid_grant"]
                    }
                    ("/oauth/token", "scope" | "resource") => {
                        &["400 invalid_scope", "400 invalid_target", "400 invalid_grant"]
                    }
                    ("/oauth/introspect", "token") => {
                        assert_eq!(answer.text, r#"{"active":false}"#, "{text}");
                        continue;
                    }
                    _ => {
                        assert_eq!(answer.status, StatusCode::OK, "{path} {name}={text}");
                        continue;
                    }
                };
                let refusal = answer.refusal();
                assert!(expected.contains(&refusal.as_str()), "{path} {name}={text}: {refusal}");
            }
            for text in UNREADABLE {
                let answer = posts(server, path, with(text)).await;
                assert_eq!(answer.refusal(), "400 invalid_request", "{path} {name}={text}");
            }
            let answer = posts(server, path, with(&"x".repeat(60_000))).await;
            let is_ignored = name == "token_type_hint" || name == "token";
            assert!(answer.status.is_client_error() || is_ignored, "{path} {name}: {answer:?}");
            let answer = posts(server, path, with(&"x".repeat(70_000))).await;
            assert_eq!(answer.refusal(), "413 invalid_request", "{path} {name}");
        }
    }
    assert_eq!(app.acts_for_itself("read:tenants").await.status, StatusCode::OK, "it lives");
}

#[rstest]
#[case("/oauth/token")]
#[case("/oauth/revoke")]
#[case("/oauth/introspect")]
#[tokio::test(flavor = "multi_thread")]
async fn only_forms_are_read(#[case] path: &str) {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = world.confidential_app().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("token", "unknown"),
        ("client_id", &app.id),
        ("client_secret", app.secret.as_deref().unwrap()),
    ];
    let body = joined(&encoded(&form));
    let post = |kind: Option<&str>, body: String| {
        let request = http().post(world.server.url(path)).body(body);
        match kind {
            Some(kind) => request.header(CONTENT_TYPE, kind),
            None => request,
        }
    };
    for kind in [FORM, "Application/X-WWW-Form-Urlencoded", &format!("{FORM}; charset=utf-8")] {
        let answer = sends(post(Some(kind), body.clone()), kind).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind}: {answer:?}");
    }
    let json: HashMap<&str, &str> = form.into_iter().collect();
    let json = serde_json::to_string(&json).unwrap();
    let kinds = [
        Some("application/json"),
        Some("multipart/form-data; boundary=x"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded-not"),
        Some(""),
        None,
    ];
    for kind in kinds {
        for body in [&body, &json] {
            let answer = sends(post(kind, body.clone()), "another kind").await;
            assert_eq!(answer.refusal(), "400 invalid_request", "{kind:?}");
        }
    }
    // Parameters of the URL are none of the body's.
    let url = world.server.url(&format!("{path}?{body}"));
    let answer = sends(http().post(url).header(CONTENT_TYPE, FORM), "in the URL").await;
    assert!(answer.status.is_client_error(), "{answer:?}");
    let many = format!("{body}&{}", "a=b&".repeat(101));
    let answer = sends(post(Some(FORM), many), "many").await;
    assert_eq!(answer.refusal(), "400 invalid_request");
    for body in ["", "&", "=", "&&&=&=", "=x", "grant_type", "\u{0}", "%00=%00"] {
        let answer = sends(post(Some(FORM), body.to_owned()), body).await;
        assert!(answer.status.is_client_error(), "{body}: {answer:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_authorization_header_is_invalid_client(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let basic = |text: &[u8]| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    let secret = app.secret.clone().unwrap();
    let form = joined(&encoded(&[("grant_type", "client_credentials"), ("token", "unknown")]));
    let garbled = [
        basic(b""),
        basic(b":"),
        basic(b"no colon"),
        basic(format!("{}:", app.id).as_bytes()),
        basic(format!(":{secret}").as_bytes()),
        basic(format!("{}:wrong", app.id).as_bytes()),
        basic(format!("{}:{secret} ", app.id).as_bytes()),
        basic(format!("{}:%00{secret}", app.id).as_bytes()),
        basic(b"a:%ff"),
        basic(b"\xff\xfe:\x00"),
        basic(b"%00:%00"),
        basic(b"a:%zz"),
        basic(&b"x".repeat(20_000)),
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic ???".to_owned(),
        "Basic a b c".to_owned(),
    ];
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        for value in &garbled {
            let request = http()
                .post(world.server.url(path))
                .header(CONTENT_TYPE, FORM)
                .header(AUTHORIZATION, value)
                .body(form.clone());
            let answer = sends(request, value).await;
            assert_eq!(answer.refusal(), "401 invalid_client", "{path} {value}");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.starts_with("Basic "), "{path} {value}: {challenge}");
        }
        for value in ["", "Digest a=b", "Bearer", "Negotiate", "  "] {
            let request = http()
                .post(world.server.url(path))
                .header(CONTENT_TYPE, FORM)
                .header(AUTHORIZATION, value)
                .body(form.clone());
            let answer = sends(request, value).await;
            assert_eq!(answer.refusal(), "401 invalid_client", "{path} {value}");
        }
        // Twice, and in both places at once.
        let good = basic(format!("{}:{secret}", app.id).as_bytes());
        let request = || {
            let request = http().post(world.server.url(path)).header(CONTENT_TYPE, FORM);
            request.header(AUTHORIZATION, &good)
        };
        let twice = request().header(AUTHORIZATION, &good).body(form.clone());
        assert_eq!(sends(twice, "twice").await.refusal(), "401 invalid_client", "{path}");
        let both = format!("{form}&client_id={}&client_secret={secret}", app.id);
        let both = request().body(both);
        assert_eq!(sends(both, "both").await.refusal(), "400 invalid_request", "{path}");
        let other = request().body(format!("{form}&client_id=app_other"));
        assert_eq!(sends(other, "other").await.refusal(), "400 invalid_request", "{path}");
        assert_eq!(sends(request().body(form.clone()), "good").await.status, StatusCode::OK);
    }
    // Bytes that are no text.
    let value = reqwest::header::HeaderValue::from_bytes(b"Basic \xff\xfe").unwrap();
    for path in ["/oauth/token", "/oauth/introspect"] {
        let request = http().post(world.server.url(path)).header(AUTHORIZATION, value.clone());
        let request = request.header(CONTENT_TYPE, FORM).body(form.clone());
        assert_eq!(sends(request, "bytes").await.refusal(), "401 invalid_client");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_belong_to_another_kind_of_client_are_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let public = world.public_app().await;
    let with_secret = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "unknown"),
        ("client_id", public.id.as_str()),
        ("client_secret", "made up"),
    ];
    let answer = public.posts_as_it_is("/oauth/token", &with_secret).await;
    assert_eq!(answer.refusal(), "401 invalid_client", "a public client has no secret");
    assert_eq!(public.acts_for_itself("").await.refusal(), "400 unauthorized_client");
    assert_eq!(public.introspects("unknown").await.refusal(), "401 invalid_client");

    // A code without a challenge: the redirect URI has to come back, and no verifier may.
    let classic = world.classic_app().await;
    let asks = [
        ("response_type", "code"),
        ("client_id", classic.id.as_str()),
        ("redirect_uri", REDIRECT_URI),
    ];
    world.owner.logs_in().await;
    let code = world.owner.decides(&asks, "allow").await.get("code").to_owned();
    let grant = [("grant_type", "authorization_code"), ("code", &code)];
    for (more, refusal) in [
        (&[][..], "400 invalid_request"),
        (&[("redirect_uri", "https://app.example.com/other")], "400 invalid_grant"),
        (&[("redirect_uri", REDIRECT_URI), ("code_verifier", VERIFIER)], "400 invalid_grant"),
    ] {
        let answer = classic.posts("/oauth/token", &[&grant[..], more].concat()).await;
        assert_eq!(answer.refusal(), refusal, "{more:?}");
    }
    let right = [&grant[..], &[("redirect_uri", REDIRECT_URI)]].concat();
    let answer = classic.posts("/oauth/token", &right).await;
    assert_eq!(answer.status, StatusCode::OK, "what was refused did not spend the code");
}

// The authorization endpoint

/// An authorization request that can be granted.
fn request(app: &Application) -> Vec<(String, String)> {
    let mut query = app.request("read:tenants");
    query.extend([("resource", AUDIENCE), ("response_mode", "query"), ("prompt", "consent")]);
    encoded(&query)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_parameter_of_an_authorization_request_is_refused_as_its_rfc_says(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let form = request(&app);
    let browser = &world.owner.browser;
    let visits = async |query: String| {
        let url = world.server.url(&format!("/oauth/authorize?{query}"));
        let shown: String = query.chars().take(300).collect();
        let answer = sends(browser.get(&url), &shown).await;
        // By POST it ends at the same answer, by way of the same GET.
        let post = browser.post(world.server.url("/oauth/authorize"));
        let post = sends(post.header(CONTENT_TYPE, FORM).body(query), &shown).await;
        match answer.status {
            StatusCode::BAD_REQUEST if post.status == StatusCode::BAD_REQUEST => {}
            StatusCode::URI_TOO_LONG => assert_eq!(post.status, StatusCode::URI_TOO_LONG),
            _ => {
                let to = post.header("location").to_owned();
                let again = sends(browser.get(world.server.url(&to)), &shown).await;
                assert_eq!(again.status, answer.status, "{shown}");
                assert_eq!(again.header("location"), answer.header("location"), "{shown}");
            }
        }
        answer
    };
    assert_eq!(visits(joined(&form)).await.status, StatusCode::OK);
    // Nothing is redirected to while client and redirect URI are in doubt.
    let stays = |name: &str| matches!(name, "client_id" | "redirect_uri");
    let refusal = |answer: &Answer| match answer.status {
        StatusCode::SEE_OTHER => {
            let redirected = Redirected::of(answer);
            assert!(redirected.location.starts_with(REDIRECT_URI), "{redirected:?}");
            assert_eq!(redirected.get("iss"), world.server.issuer, "{redirected:?}");
            assert!(redirected.get("code").is_empty(), "{redirected:?}");
            redirected.get("error").to_owned()
        }
        status => status.as_u16().to_string(),
    };
    for at in 0..form.len() {
        let (name, value) = form[at].clone();
        let with = |value: &str| {
            let mut changed = form.clone();
            changed[at].1 = value.to_owned();
            joined(&changed)
        };
        let missing: Vec<_> = form.iter().filter(|(it, _)| *it != name).cloned().collect();
        for query in [joined(&missing), with("")] {
            let expected = match name.as_str() {
                "client_id" => "400",
                "response_type" | "code_challenge" | "code_challenge_method" => "invalid_request",
                // The client's only one, its default, or nothing special.
                _ => "200",
            };
            // Without `prompt` the earlier answers decide; here there are none.
            assert_eq!(refusal(&visits(query.clone()).await), expected, "{query}");
        }
        for second in [value.as_str(), "other", ""] {
            let query = format!("{}&{name}={second}", joined(&form));
            let answer = visits(query.clone()).await;
            let expected = if stays(&name) { "400" } else { doubled(&name) };
            assert_eq!(refusal(&answer), expected, "{query}");
            if name == "state" {
                assert_eq!(Redirected::of(&answer).get("state"), "", "{query}");
            }
        }
        for text in STRANGE {
            let answer = visits(with(text)).await;
            let expected: &[&str] = match name.as_str() {
                "client_id" | "redirect_uri" => &["400"],
                "response_type" => &["unsupported_response_type"],
                "scope" => &["invalid_scope"],
                "resource" => &["invalid_target"],
                "state" => &["200"],
                _ => &["invalid_request"],
            };
            let refusal = refusal(&answer);
            assert!(expected.contains(&refusal.as_str()), "{name}={text}: {refusal}");
            assert!(!answer.text.contains("<script>"), "{name}={text}: {}", answer.text);
        }
        for text in UNREADABLE {
            assert_eq!(refusal(&visits(with(text)).await), "400", "{name}={text}");
        }
        let long = visits(with(&"x".repeat(17_000))).await;
        assert_eq!(long.status, StatusCode::URI_TOO_LONG, "{name}");
    }
    for (name, error) in [
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("state", "invalid_request"),
    ] {
        let query = format!("{}&{name}={}", joined(&form), "x".repeat(5000));
        assert_eq!(refusal(&visits(query).await), error, "{name}");
    }
    let long = format!("{}&more={}", joined(&form), "x".repeat(70_000));
    let post = browser.post(world.server.url("/oauth/authorize")).header(CONTENT_TYPE, FORM);
    assert_eq!(sends(post.body(long), "long").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let post = browser.post(world.server.url("/oauth/authorize"));
    let json = post.header(CONTENT_TYPE, "application/json").body("{}");
    assert_eq!(sends(json, "JSON").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_state_comes_back_to_the_letter(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    for state in ["a b+c&d=e%20", "\u{0}\r\n", "<&\"'>", "🔑", &"s".repeat(4096)] {
        let mut query = app.request("read:tenants");
        query.retain(|(name, _)| *name != "state");
        query.push(("state", state));
        for decision in ["deny", "allow"] {
            assert_eq!(world.owner.decides(&query, decision).await.get("state"), state);
        }
    }
}

// Pages for people

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_the_pages_is_refused_plainly(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(server) = Server::start(database).await else { return };
    let link = portcullis::identity::make_setup_link(&server.app.db, server.app.clock.now()).await;
    let link = secrecy::ExposeSecret::expose_secret(&link.unwrap()).to_owned();
    let setup = encoded(&[
        ("token", &link),
        ("email", "not an address"),
        ("name", "Ada"),
        ("organization", "Example"),
        ("password", "too short"),
    ]);
    fields_are_refused(&server, "/setup", &setup, &[403, 422]).await;
    for name in ["email", "name", "organization", "password"] {
        for text in ["a%00b", "a%0ab", &"x".repeat(300)] {
            let mut form = setup.clone();
            let good = [("email", "ada%40example.com"), ("password", "correct%20horse%20battery")];
            for (field, value) in &mut form {
                if let Some((_, good)) = good.iter().find(|(it, _)| it == field) {
                    *value = (*good).to_owned();
                }
                if field == name {
                    *value = text.to_owned();
                }
            }
            let answer = posts(&server, "/setup", joined(&form)).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}={text}");
        }
    }
    let page = format!("/setup?token={link}");
    assert_eq!(http().get(server.url(&page)).send().await.unwrap().status(), StatusCode::OK);
    server.passes(std::time::Duration::from_secs(3601));
    assert_eq!(http().get(server.url(&page)).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    for query in ["token=a&token=b", "token=%ff", "token=%", "token=%00", "token="] {
        let answer = sends(http().get(server.url(&format!("/setup?{query}"))), query).await;
        assert!([400, 403].contains(&answer.status.as_u16()), "{query}: {answer:?}");
    }

    let world = World::around(server).await;
    let login = encoded(&[("email", "eve"), ("password", "wrong"), ("next", "/")]);
    fields_are_refused(&world.server, "/login", &login, &[401, 429]).await;
    for query in ["next=a&next=b", "next=%ff", "next=%zz"] {
        let answer = sends(http().get(world.server.url(&format!("/login?{query}"))), query).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

/// Missing, empty, strange: one of the refusals. Doubled or unreadable: 400. Too long: 413. Another kind: 415.
async fn fields_are_refused(
    server: &Server,
    path: &str,
    form: &[(String, String)],
    refusals: &[u16],
) {
    for at in 0..form.len() {
        let name = &form[at].0;
        let with = |value: &str| {
            let mut changed = form.to_vec();
            changed[at].1 = value.to_owned();
            joined(&changed)
        };
        let missing: Vec<_> = form.iter().filter(|(it, _)| it != name).cloned().collect();
        let mut bodies = vec![joined(&missing), with(""), with(&"x".repeat(60_000))];
        bodies.extend(STRANGE.map(with));
        for body in bodies {
            let answer = posts(server, path, body.clone()).await;
            let shown: String = body.chars().take(300).collect();
            assert!(refusals.contains(&answer.status.as_u16()), "{path} {shown}: {answer:?}");
            assert!(!answer.text.contains("<script>"), "{path} {shown}");
        }
        let mut unreadable = UNREADABLE.map(with).to_vec();
        unreadable.push(format!("{}&{name}=again", joined(form)));
        for body in unreadable {
            let answer = posts(server, path, body.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body}: {answer:?}");
        }
        let answer = posts(server, path, with(&"x".repeat(70_000))).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path} {name}");
    }
    let json = http().post(server.url(path)).header(CONTENT_TYPE, "application/json").body("{}");
    assert_eq!(sends(json, "JSON").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn after_a_login_a_browser_goes_nowhere_but_to_us(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    // An account each: the throttle is not what is tried here.
    let logs_in = async |email: &str, next: &str| {
        let person = world.member(email, Role::Viewer).await;
        let form = [("email", email), ("password", PASSWORD), ("next", next)];
        let answer = person.posts("/login", &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{next:?}: {answer:?}");
        answer.header("location").to_owned()
    };
    let nowhere = [
        "",
        "nonsense",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "/\t/evil.example/",
        "/\u{0}",
        "/\u{7f}",
        "/\u{1b}",
        "/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        " /x",
    ];
    for (n, next) in nowhere.into_iter().enumerate() {
        assert_eq!(logs_in(&format!("{n}@example.com"), next).await, "/", "{next:?}");
    }
    let ours = "/oauth/authorize?a=b";
    assert_eq!(logs_in("bob@example.com", ours).await, ours);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_the_consent_is_refused_plainly(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let asked = joined(&request(&app));
    let organization = world.organization.to_string();
    let form =
        encoded(&[("request", &asked), ("organization", &organization), ("decision", "allow")]);
    let decides = async |body: String| {
        let url = world.server.url("/oauth/authorize/consent");
        let request = world.owner.browser.post(url).header(CONTENT_TYPE, FORM);
        sends(request.body(body.clone()), &body).await
    };
    for at in 0..form.len() {
        let name = &form[at].0;
        let with = |value: &str| {
            let mut changed = form.clone();
            changed[at].1 = value.to_owned();
            joined(&changed)
        };
        let missing: Vec<_> = form.iter().filter(|(it, _)| it != name).cloned().collect();
        let mut bodies = vec![joined(&missing), with(""), with(&"x".repeat(60_000))];
        bodies.extend(STRANGE.map(with));
        bodies.extend(UNREADABLE.map(with));
        bodies.push(format!("{}&{name}=again", joined(&form)));
        bodies.push(format!("{}&{name}={}", joined(&form), form[at].1));
        for body in bodies {
            let answer = decides(body.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {answer:?}");
        }
    }
    // An organization that is not the person's is none that they can act in.
    let foreign = entity::OrganizationId::new(world.server.app.clock.now()).to_string();
    let body =
        joined(&encoded(&[("request", &asked), ("organization", &foreign), ("decision", "allow")]));
    let redirected = Redirected::of(&decides(body).await);
    assert_eq!(redirected.get("error"), "access_denied", "{redirected:?}");
    // In one where their role allows less than is asked, less is granted.
    let weak = world.second_organization("Weak", Role::Viewer).await.to_string();
    let writing = asked.replace("read%3Atenants", "write%3Atenants");
    let body =
        joined(&encoded(&[("request", &writing), ("organization", &weak), ("decision", "allow")]));
    let redirected = Redirected::of(&decides(body).await);
    let tokens = app.redeems(redirected.get("code")).await;
    assert_eq!(claims(tokens.member("access_token"))["scope"], "read:tenants", "{tokens:?}");
    // The request is checked anew: a challenge that was taken out is missed.
    let stripped = asked.replace(CHALLENGE, "");
    let body = joined(&encoded(&[
        ("request", &stripped),
        ("organization", &organization),
        ("decision", "allow"),
    ]));
    let redirected = Redirected::of(&decides(body).await);
    assert_eq!(redirected.get("error"), "invalid_request", "{redirected:?}");
    assert!(!Redirected::of(&decides(joined(&form)).await).get("code").is_empty());
}

// The management API

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_an_api_key_is_refused_by_its_name(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["write:api-keys", "read:tenants"]).await;
    let creates = async |body: String| {
        let request = http()
            .post(world.server.url("/v1/api-keys"))
            .bearer_auth(&admin.secret)
            .header(CONTENT_TYPE, "application/json")
            .body(body.clone());
        sends(request, &body.chars().take(300).collect::<String>()).await
    };
    let long = format!(r#"{{"name":"{}","scopes":["read:tenants"]}}"#, "x".repeat(101));
    let many = format!(r#"{{"name":"n","scopes":[{}"read"]}}"#, r#""read","#.repeat(100));
    let deep = format!(r#"{{"name":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for (body, status, field) in [
        ("", 400, ""),
        ("{", 400, ""),
        ("nonsense", 400, ""),
        ("\u{0}", 400, ""),
        (&deep, 422, ""),
        ("null", 422, "body"),
        ("[]", 422, "body"),
        ("{}", 422, "name"),
        (r#"{"name":"n"}"#, 422, "scopes"),
        (r#"{"scopes":["read:tenants"]}"#, 422, "name"),
        (r#"{"name":"n","name":"n","scopes":["read:tenants"]}"#, 422, "name"),
        (r#"{"name":"n","scopes":["read:tenants"],"scopes":[]}"#, 422, "scopes"),
        (r#"{"name":"n","scopes":["read:tenants"],"colour":"red"}"#, 422, "colour"),
        (r#"{"name":"","scopes":["read:tenants"]}"#, 422, "name"),
        (r#"{"name":" ","scopes":["read:tenants"]}"#, 422, "name"),
        (&long, 422, "name"),
        (r#"{"name":"a\u0000b","scopes":["read:tenants"]}"#, 422, "name"),
        (r#"{"name":"a\nb","scopes":["read:tenants"]}"#, 422, "name"),
        (r#"{"name":"\ud800","scopes":["read:tenants"]}"#, 400, ""),
        (r#"{"name":5,"scopes":["read:tenants"]}"#, 422, ""),
        (r#"{"name":null,"scopes":["read:tenants"]}"#, 422, ""),
        (r#"{"name":"n","scopes":[]}"#, 422, "scopes"),
        (&many, 422, "scopes"),
        (r#"{"name":"n","scopes":"read:tenants"}"#, 422, ""),
        (r#"{"name":"n","scopes":[5]}"#, 422, ""),
        (r#"{"name":"n","scopes":[""]}"#, 422, "scopes[0]"),
        (r#"{"name":"n","scopes":["read:tenants","\u0000"]}"#, 422, "scopes[1]"),
        (r#"{"name":"n","scopes":["read:tenants write:tenants"]}"#, 422, "scopes[0]"),
        (r#"{"name":"n","scopes":["fly:tenants"]}"#, 422, "scopes[0]"),
        (r#"{"name":"n","scopes":["write:tenants"]}"#, 422, "scopes[0]"),
        (r#"{"name":"n","scopes":["read:tenants"],"environment":"moon"}"#, 422, "environment"),
        (r#"{"name":"n","scopes":["read:tenants"],"environment":"\u0000"}"#, 422, "environment"),
        (r#"{"name":"n","scopes":["read:tenants"],"expires_at":"tomorrow"}"#, 422, ""),
        (r#"{"name":"n","scopes":["read:tenants"],"expires_at":5}"#, 422, ""),
        (
            r#"{"name":"n","scopes":["read:tenants"],"expires_at":"2001-01-01T00:00:00Z"}"#,
            422,
            "expires_at",
        ),
        (
            r#"{"name":"n","scopes":["read:tenants"],"expires_at":"0000-01-01T00:00:00+23:59"}"#,
            422,
            "expires_at",
        ),
    ] {
        let answer = creates(body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
        let kind = answer.header("content-type");
        assert_eq!(kind, "application/problem+json", "{body}");
        if !field.is_empty() {
            assert_eq!(answer.json["errors"][0]["field"], field, "{body}: {answer:?}");
        }
    }
    let last = r#"{"name":"n","scopes":["read:tenants"],"expires_at":"9999-12-31T23:59:59Z"}"#;
    assert_eq!(creates(last.to_owned()).await.status, StatusCode::CREATED);
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(creates(large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let bytes = http()
        .post(world.server.url("/v1/api-keys"))
        .bearer_auth(&admin.secret)
        .header(CONTENT_TYPE, "application/json")
        .body(b"{\"name\":\"\xff\"}".to_vec());
    assert_eq!(sends(bytes, "bytes").await.status, StatusCode::BAD_REQUEST);
    for kind in [FORM, "text/plain", "application/jsonp", ""] {
        let request = http()
            .post(world.server.url("/v1/api-keys"))
            .bearer_auth(&admin.secret)
            .header(CONTENT_TYPE, kind)
            .body(last);
        assert_eq!(sends(request, kind).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_id_and_page_of_the_management_api_is_checked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["write:api-keys"]).await;
    let asks = async |method: Method, path: &str| {
        let request = http().request(method, world.server.url(path)).bearer_auth(&admin.secret);
        let answer = sends(request, path).await;
        if !answer.status.is_success() {
            let kind = answer.header("content-type");
            assert_eq!(kind, "application/problem+json", "{path}: {answer:?}");
        }
        answer.status.as_u16()
    };
    for query in [
        "limit=",
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=1.5",
        "limit=%00",
        "limit=99999999999999999999",
        "limit=1&limit=1",
        "cursor=",
        "cursor=nonsense",
        "cursor=%00",
        "cursor=key_",
        "cursor=app_01j9zq4k2mfd8v6w3x5y7b1c0e",
        &format!("cursor={0}&cursor={0}", admin.id),
        &format!("cursor={}", "k".repeat(5000)),
    ] {
        assert_eq!(asks(Method::GET, &format!("/v1/api-keys?{query}")).await, 422, "{query}");
    }
    for query in ["more=less", "more=less&more=less", "statuss=active", "status=alive", "name=%00"]
    {
        assert_eq!(asks(Method::GET, &format!("/v1/api-keys?{query}")).await, 422, "{query}");
    }
    for query in ["limit=%ff", "cursor=%", "a=%zz", &"a=b&".repeat(101)] {
        assert_eq!(asks(Method::GET, &format!("/v1/api-keys?{query}")).await, 400, "{query}");
    }
    for query in ["", &format!("cursor={}", admin.id)] {
        assert_eq!(asks(Method::GET, &format!("/v1/api-keys?{query}")).await, 200, "{query}");
    }
    for id in [
        "nonsense",
        "%00",
        "%ff",
        "%",
        "%2e%2e",
        "key_",
        "key_01j9zq4k2mfd8v6w3x5y7b1c0e",
        "app_01j9zq4k2mfd8v6w3x5y7b1c0e",
        "KEY_01J9ZQ4K2MFD8V6W3X5Y7B1C0E",
        "key_01j9zq4k2mfd8v6w3x5y7b1c0e%00",
        &"k".repeat(5000),
    ] {
        for method in [Method::GET, Method::DELETE] {
            let status = asks(method.clone(), &format!("/v1/api-keys/{id}")).await;
            assert_eq!(status, 404, "{method} {id}");
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_refuses_an_id_that_is_none_of_ours(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    for id in ["nonsense", "-1", "1.5", "", "99999999999999999999"] {
        let request = http()
            .get(world.server.url("/oauth/revocations"))
            .bearer_auth(&world.credential)
            .header("last-event-id", id);
        assert_eq!(sends(request, id).await.status, StatusCode::BAD_REQUEST, "{id}");
    }
    for credential in ["", "nonsense", "pc_rs_nonsense", "%00", "a.b.c"] {
        let request = http().get(world.server.url("/oauth/revocations")).bearer_auth(credential);
        assert_eq!(sends(request, credential).await.status, StatusCode::UNAUTHORIZED);
    }
}

// Below HTTP's own rules

/// What comes back for these very bytes.
async fn sends_bytes(server: &Server, head: &str, body: &[u8]) -> String {
    let address = server.issuer.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses by the head alone may hang up on the body.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_64_kib_is_413_however_it_is_sent() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let admin = world.api_key(&["write:api-keys"]).await;
    let large = vec![b'x'; 65 * 1024];
    let mut chunked = Vec::new();
    for chunk in large.chunks(4096) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let paths = [
        ("/oauth/token", FORM),
        ("/oauth/revoke", FORM),
        ("/oauth/introspect", FORM),
        ("/oauth/authorize", FORM),
        ("/oauth/authorize/consent", FORM),
        ("/login", FORM),
        ("/setup", FORM),
        ("/v1/api-keys", "application/json"),
    ];
    for (path, kind) in paths {
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nAuthorization: Bearer {}",
            admin.secret
        );
        for (how, body) in [
            (format!("Content-Length: {}", large.len()), &large),
            ("Transfer-Encoding: chunked".to_owned(), &chunked),
        ] {
            let answer = sends_bytes(&world.server, &format!("{head}\r\n{how}"), body).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path} {how}: {answer}");
        }
    }
    // Exactly 64 KiB is not over.
    let form = format!("grant_type=x&a={}", "x".repeat(64 * 1024 - 15));
    assert_eq!(form.len(), 64 * 1024);
    assert_eq!(posts(&world.server, "/oauth/token", form).await.refusal(), "401 invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hardly_http_is_refused_and_the_server_lives() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let long = "x".repeat(500_000);
    for (head, body) in [
        (format!("GET /{long} HTTP/1.1"), ""),
        (format!("GET / HTTP/1.1\r\nCookie: portcullis={long}"), ""),
        (format!("GET /v1/api-keys HTTP/1.1\r\nAuthorization: Bearer {long}"), ""),
        (format!("GET / HTTP/1.1{}", "\r\nA: b".repeat(1000)), ""),
        ("POST /oauth/token HTTP/1.1\r\nContent-Length: x".to_owned(), "a"),
        ("POST /oauth/token HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2".to_owned(), "a"),
        ("POST /oauth/token HTTP/1.1\r\nTransfer-Encoding: chunked".to_owned(), "zz\r\n"),
        ("G\u{0}T / HTTP/1.1".to_owned(), ""),
        ("GET /\u{0} HTTP/1.1".to_owned(), ""),
        ("nonsense".to_owned(), ""),
    ] {
        let answer = sends_bytes(&world.server, &head, body.as_bytes()).await;
        let shown: String = head.chars().take(60).collect();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
    }
    // Long, but within what a request may hold.
    let cookie = format!("GET / HTTP/1.1\r\nCookie: portcullis={}", "x".repeat(10_000));
    let answer = sends_bytes(&world.server, &cookie, b"").await;
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    let agent = http().get(world.server.url("/login")).header("user-agent", "\u{e9}".repeat(900));
    assert_eq!(sends(agent, "agent").await.status, StatusCode::OK);
    assert_eq!(http().get(world.server.url("/healthz")).send().await.unwrap().status(), 200);
}

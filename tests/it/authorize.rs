//! `/oauth/authorize`: whom it sends where with what, and whom it sends nowhere (RFC 6749 §4.1, RFC 9207, RFC 9700).

use portcullis::audit::By;
use portcullis::clients::{self, GrantType};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::{CHALLENGE, VERIFIER, claims};
use crate::harness::world::{AUDIENCE, CLIENT_SCOPES, REDIRECT_URI};
use crate::harness::{Answer, Application, Database, Person, Redirected, World};

type Query<'a> = Vec<(&'a str, &'a str)>;

/// The query with one parameter sent with these values: not at all, once or more often.
fn with<'a>(query: &[(&'a str, &'a str)], name: &'a str, values: &[&'a str]) -> Query<'a> {
    let mut changed: Query<'a> = query.iter().copied().filter(|(key, _)| *key != name).collect();
    changed.extend(values.iter().map(|value| (name, *value)));
    changed
}

/// A page of ours for people that says what is wrong, and leads nowhere.
fn assert_is_error_page(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("location"), "", "{answer:?}");
    assert!(answer.header("content-type").starts_with("text/html"), "{answer:?}");
    assert!(answer.text.contains("role=\"alert\""), "{answer:?}");
    assert_cannot_be_framed_or_scripted(answer);
}

fn assert_cannot_be_framed_or_scripted(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// The page that asks for consent.
fn assert_asks(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.text.contains("value=\"allow\""), "{answer:?}");
}

fn assert_leads_to_login(answer: &Answer) {
    let location = Redirected::of(answer).location;
    assert!(location.starts_with("/login?next="), "{location}");
}

/// The scopes and claims of the token that a code is worth.
async fn token(app: &Application, redirected: &Redirected) -> (String, serde_json::Value) {
    let tokens = app.redeems(redirected.get("code")).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    (tokens.member("scope").to_owned(), claims(tokens.member("access_token")))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_code_comes_with_the_issuer_and_the_state_as_it_was_sent(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let state = "a b&c=d%2Fe+é\"<>#";
    let query = with(&app.request("read:tenants write:tenants"), "state", &[state]);
    let redirected = world.owner.decides(&query, "allow").await;
    assert!(redirected.location.starts_with(&format!("{REDIRECT_URI}?code=")), "{redirected:?}");
    assert_eq!(redirected.get("state"), state);
    assert_eq!(redirected.get("iss"), world.server.issuer);
    assert_eq!(redirected.parameters.len(), 3, "{redirected:?}");

    let (scope, claims) = token(&app, &redirected).await;
    assert_eq!(scope, "write:tenants", "writing covers reading");
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["sub"], world.owner.id(&world.server).await.to_string());

    let query = with(&query, "state", &[]);
    let redirected = world.owner.decides(&query, "allow").await;
    let mut names: Vec<_> = redirected.parameters.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["code", "iss"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_call_works_as_written(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.classic_app().await;
    world.owner.logs_in().await;
    let query = [
        ("client_id", app.id.as_str()),
        ("redirect_uri", app.redirect_uri.as_str()),
        ("response_type", "code"),
        ("scope", "read:tenants read:users"),
    ];
    let redirected = world.owner.decides(&query, "allow").await;
    assert!(!redirected.parameters.contains_key("state"), "{redirected:?}");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", redirected.get("code")),
        ("redirect_uri", &app.redirect_uri),
    ];
    let tokens = app.posts("/oauth/token", &form).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    assert_eq!(tokens.member("scope"), "read:tenants read:users");

    // PKCE is optional for it, but what it begins with PKCE it must end with PKCE.
    let redirected = world.owner.decides(&app.request("read:tenants"), "allow").await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", redirected.get("code")),
        ("redirect_uri", &app.redirect_uri),
    ];
    assert_eq!(app.posts("/oauth/token", &form).await.refusal(), "400 invalid_grant");
    let half = with(&app.request("read:tenants"), "code_challenge", &[]);
    assert_eq!(world.owner.decides(&half, "allow").await.get("error"), "invalid_request");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_by_post_and_by_way_of_the_login(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    let query = with(&app.request("read:tenants"), "state", &["a&b c"]);
    // The application's site posts: no cookie of ours comes along, so the browser is made to come again.
    let cross_site = [("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com")];
    let posted = ada.posts_with("/oauth/authorize", &query, &cross_site).await;
    let login = ada.follows(&posted).await;
    assert_leads_to_login(&login);
    let page = ada.follows(&login).await;
    assert!(page.header("content-security-policy").ends_with("'self' https://app.example.com"));
    let location = Redirected::of(&login).location;
    let next = url::form_urlencoded::parse(location.split_once('?').unwrap().1.as_bytes());
    let next = next.into_owned().find(|(name, _)| name == "next").unwrap().1;
    let form = [("email", ada.email.as_str()), ("password", &ada.password), ("next", &next)];
    let logged_in = ada.posts("/login", &form).await;
    assert_asks(&ada.follows(&logged_in).await);
    let redirected = ada.decides(&query, "allow").await;
    assert_eq!(redirected.get("state"), "a&b c");

    // The same while logged in: straight to the remembered answer.
    let posted = ada.posts("/oauth/authorize", &query).await;
    assert!(!Redirected::of(&ada.follows(&posted).await).get("code").is_empty());

    let body = ada.browser.post(world.server.url("/oauth/authorize")).json(&["no form"]);
    let answer = Answer::of(body.send().await.unwrap()).await;
    assert_is_error_page(&answer, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = "x".repeat(65 * 1024);
    let answer = ada.posts("/oauth/authorize", &with(&query, "x", &[&large])).await;
    assert_is_error_page(&answer, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = ada.posts("/oauth/authorize", &with(&query, "x", &[&large[..17_000]])).await;
    assert_is_error_page(&answer, StatusCode::URI_TOO_LONG);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn redirect_uris_match_to_the_letter_but_for_the_port_of_a_loopback_ip(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world
        .registers(|new| {
            new.redirect_uris = [
                "https://app.example.com/cb?tenant=1",
                "http://127.0.0.1/callback",
                "http://[::1]:8000/callback",
                "com.example.app:/callback",
            ]
            .map(str::to_owned)
            .to_vec();
        })
        .await;
    world.owner.logs_in().await;
    let request = app.request("read:tenants");
    for (uri, start) in [
        ("https://app.example.com/cb?tenant=1", "https://app.example.com/cb?tenant=1&code="),
        ("http://127.0.0.1/callback", "http://127.0.0.1/callback?code="),
        ("http://127.0.0.1:51004/callback", "http://127.0.0.1:51004/callback?code="),
        ("http://[::1]:51004/callback", "http://[::1]:51004/callback?code="),
        ("com.example.app:/callback", "com.example.app:/callback?code="),
    ] {
        let query = with(&request, "redirect_uri", &[uri]);
        let redirected = world.owner.decides(&query, "allow").await;
        assert!(redirected.location.starts_with(start), "{redirected:?}");
        // The code is bound to the very URI, the port included.
        let form = [
            ("grant_type", "authorization_code"),
            ("code", redirected.get("code")),
            ("redirect_uri", "http://127.0.0.1:51005/callback"),
            ("code_verifier", VERIFIER),
        ];
        assert_eq!(app.posts("/oauth/token", &form).await.refusal(), "400 invalid_grant");
    }
    for uri in [
        "https://app.example.com/cb",
        "https://app.example.com/cb?tenant=1&x=2",
        "https://app.example.com/cb?tenant=2",
        "https://app.example.com/CB?tenant=1",
        "https://app.example.com:443/cb?tenant=1",
        "https://app.example.com.evil.example/cb?tenant=1",
        "http://app.example.com/cb?tenant=1",
        "http://127.0.0.1:51004/callback/",
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004@evil.example/callback",
        "http://127.0.0.2/callback",
        "http://localhost/callback",
        "com.example.app:/other",
        "javascript:alert(1)",
        "//evil.example",
        "/callback",
    ] {
        let answer = world.owner.visits(&with(&request, "redirect_uri", &[uri])).await;
        assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_redirected_to_before_client_and_redirect_uri_are_known_good(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world
        .registers(|new| new.redirect_uris.push("https://app.example.com/second".to_owned()))
        .await;
    let (api, unknown) = (world.api.id.to_string(), entity::ClientId::new(entity::Timestamp(0)));
    let (unknown, long) = (unknown.to_string(), "x".repeat(10_000));
    // Logged in or not makes no difference.
    for _ in 0..2 {
        let request = app.request("read:tenants");
        for (name, values) in [
            ("client_id", vec![]),
            ("client_id", vec![""]),
            ("client_id", vec![unknown.as_str()]),
            ("client_id", vec![api.as_str()]),
            ("client_id", vec!["' OR 1=1 --"]),
            ("client_id", vec!["\0"]),
            ("client_id", vec![long.as_str()]),
            ("client_id", vec![app.id.as_str(), app.id.as_str()]),
            ("redirect_uri", vec![]),
            ("redirect_uri", vec![""]),
            ("redirect_uri", vec!["https://evil.example/"]),
            ("redirect_uri", vec![long.as_str()]),
            ("redirect_uri", vec![REDIRECT_URI, REDIRECT_URI]),
            ("redirect_uri", vec![REDIRECT_URI, "https://evil.example/"]),
        ] {
            let answer = world.owner.visits(&with(&request, name, &values)).await;
            assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
            assert!(!answer.text.contains("evil.example"), "{answer:?}");
        }
        for query in ["client_id=%FF", "state=%zz", "%80=1", &"a=1&".repeat(101)] {
            let rest = format!("client_id={}&redirect_uri={REDIRECT_URI}&{query}", app.id);
            let answer = world.owner.gets(&format!("/oauth/authorize?{rest}")).await;
            assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
        }
        let answer = world.owner.gets(&format!("/oauth/authorize?x={}", "x".repeat(17_000))).await;
        assert_is_error_page(&answer, StatusCode::URI_TOO_LONG);
        assert_is_error_page(&world.owner.gets("/oauth/authorize").await, StatusCode::BAD_REQUEST);
        world.owner.logs_in().await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_one_redirect_uri_may_leave_it_out(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    let query = with(&app.request("read:tenants"), "redirect_uri", &[]);
    // The login form may end there too, when consent was given before: browsers hold the policy against redirects.
    let login = ada.visits(&query).await;
    let policy = ada.follows(&login).await.header("content-security-policy").to_owned();
    assert!(policy.ends_with("form-action 'self' https://app.example.com"), "{policy}");
    ada.logs_in().await;
    let redirected = ada.decides(&query, "allow").await;
    assert!(redirected.location.starts_with(&format!("{REDIRECT_URI}?code=")), "{redirected:?}");
    token(&app, &redirected).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_other_refusal_goes_to_the_application(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let (long_state, long_challenge) = ("s".repeat(4097), format!("{CHALLENGE}A"));
    let padded = format!("{}=", &CHALLENGE[..42]);
    let standard = format!("{}+", &CHALLENGE[..42]);
    let cases: &[(&str, &[&str], &str)] = &[
        ("response_type", &[], "invalid_request"),
        ("response_type", &[""], "invalid_request"),
        ("response_type", &["code", "code"], "invalid_request"),
        ("response_type", &["token"], "unsupported_response_type"),
        ("response_type", &["code token"], "unsupported_response_type"),
        ("response_type", &["CODE"], "unsupported_response_type"),
        ("response_mode", &["fragment"], "invalid_request"),
        ("response_mode", &["form_post"], "invalid_request"),
        ("response_mode", &["query", "query"], "invalid_request"),
        ("request", &["eyJhbGciOiJub25lIn0.e30."], "request_not_supported"),
        ("request_uri", &["https://app.example.com/request"], "request_uri_not_supported"),
        ("code_challenge", &[], "invalid_request"),
        ("code_challenge", &["short"], "invalid_request"),
        ("code_challenge", &[&long_challenge], "invalid_request"),
        ("code_challenge", &[&padded], "invalid_request"),
        ("code_challenge", &[&standard], "invalid_request"),
        ("code_challenge", &[CHALLENGE, CHALLENGE], "invalid_request"),
        ("code_challenge_method", &[], "invalid_request"),
        ("code_challenge_method", &["plain"], "invalid_request"),
        ("code_challenge_method", &["s256"], "invalid_request"),
        ("code_challenge_method", &["S256", "S256"], "invalid_request"),
        ("scope", &["read:nothing"], "invalid_scope"),
        ("scope", &["read:tenants read:nothing"], "invalid_scope"),
        ("scope", &["write:users"], "invalid_scope"),
        ("scope", &["admin"], "invalid_scope"),
        ("scope", &["read"], "invalid_scope"),
        ("scope", &["READ:tenants"], "invalid_scope"),
        ("scope", &["read:"], "invalid_scope"),
        ("scope", &["read:tenants/**/x"], "invalid_scope"),
        ("scope", &["read:tenants\n"], "invalid_scope"),
        ("scope", &["read:tenants\"'<"], "invalid_scope"),
        ("scope", &["read:tenänts"], "invalid_scope"),
        ("scope", &["read:tenants", "read:tenants"], "invalid_request"),
        ("resource", &["https://other.example.com"], "invalid_target"),
        ("resource", &["https://api.example.com/"], "invalid_target"),
        ("resource", &["api.example.com"], "invalid_target"),
        // RFC 8707 §2 lets it repeat, and has this code for those who don't take it so.
        ("resource", &[AUDIENCE, AUDIENCE], "invalid_target"),
        ("prompt", &["none login"], "invalid_request"),
        ("prompt", &["consent none"], "invalid_request"),
        ("prompt", &["select_account"], "invalid_request"),
        ("prompt", &["login", "login"], "invalid_request"),
        ("state", &[&long_state], "invalid_request"),
        ("state", &["one", "two"], "invalid_request"),
    ];
    let request = app.request("read:tenants");
    for (name, values, error) in cases {
        let query = with(&request, name, values);
        let answer = world.owner.visits(&query).await;
        let redirected = Redirected::of(&answer);
        let case = format!("{name}={values:?}: {redirected:?}");
        assert!(redirected.location.starts_with(&format!("{REDIRECT_URI}?error=")), "{case}");
        assert_eq!(redirected.get("error"), *error, "{case}");
        assert_eq!(redirected.get("iss"), world.server.issuer, "{case}");
        assert_eq!(redirected.get("state"), if *name == "state" { "" } else { "xyz" }, "{case}");
        let is_plain = |letter: char| matches!(letter, ' '..='~') && !"\"\\".contains(letter);
        let description = redirected.get("error_description");
        assert!(!description.is_empty() && description.chars().all(is_plain), "{case}");
        assert_eq!(redirected.parameters.len(), if *name == "state" { 3 } else { 4 }, "{case}");
        assert_eq!(answer.header("cache-control"), "no-store");

        let posted = world.owner.posts("/oauth/authorize", &query).await;
        let followed = world.owner.follows(&posted).await;
        assert_eq!(Redirected::of(&followed).location, redirected.location);
    }

    let robot = world.registers(|new| new.grant_types = vec![GrantType::ClientCredentials]).await;
    let redirected = Redirected::of(&world.owner.visits(&robot.request("read:tenants")).await);
    assert_eq!(redirected.get("error"), "unauthorized_client");
    assert_eq!(redirected.get("iss"), world.server.issuer);

    let public = world.public_app().await;
    let query = with(&public.request("read:tenants"), "code_challenge", &[]);
    let redirected =
        Redirected::of(&world.owner.visits(&with(&query, "code_challenge_method", &[])).await);
    assert_eq!(redirected.get("error"), "invalid_request");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_what_is_shown_and_given(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let page = ada.visits(&app.request("")).await;
    assert_asks(&page);
    for text in ["Dashboard", "ada@example.com", "Example API", "See your tenants", "Example"] {
        assert!(page.text.contains(text), "{text}: {page:?}");
    }
    assert!(page.text.contains("app.example.com"), "where the answer goes: {page:?}");
    assert!(!page.text.contains("Create and change"), "{page:?}");
    let redirected = ada.decides(&app.request(""), "allow").await;
    assert_eq!(token(&app, &redirected).await.0, "read:tenants", "the default scopes");

    let page = ada.visits(&app.request("read:tenants/acme read:users")).await;
    assert!(page.text.contains("See your tenants (only acme)"), "{page:?}");
    let query = with(&app.request("read:tenants/acme read:users"), "resource", &[AUDIENCE]);
    let redirected = ada.decides(&query, "allow").await;
    assert_eq!(token(&app, &redirected).await.0, "read:tenants/acme read:users");
    // Empty counts as left out, and parameters that nobody knows are ignored (RFC 6749 §3.1).
    let query = with(&with(&app.request(""), "scope", &[""]), "colour", &["red", "blue"]);
    let redirected = ada.decides(&query, "allow").await;
    assert_eq!(token(&app, &redirected).await.0, "read:tenants");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn prompt_login_asks_for_the_password_once_more_and_then_goes_on(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    let request = app.request("read:tenants");
    ada.approves(&app, "read:tenants").await;
    for (prompt, asks_again) in [("login", false), ("login consent", true)] {
        let login = ada.visits(&with(&request, "prompt", &[prompt])).await;
        assert_leads_to_login(&login);
        let location = Redirected::of(&login).location;
        let next = url::form_urlencoded::parse(location.split_once('?').unwrap().1.as_bytes())
            .into_owned()
            .next()
            .unwrap()
            .1;
        let form = [("email", ada.email.as_str()), ("password", &ada.password), ("next", &next)];
        let after = ada.follows(&ada.posts("/login", &form).await).await;
        match asks_again {
            true => assert_asks(&after),
            false => assert!(!Redirected::of(&after).get("code").is_empty(), "{after:?}"),
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn prompt_none_asks_nothing_and_says_what_would_have_been_asked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, public) = (world.confidential_app().await, world.public_app().await);
    let ada = &world.owner;
    let silent = with(&app.request("read:tenants"), "prompt", &["none"]);
    let asked = async |query: &[(&str, &str)]| Redirected::of(&ada.visits(query).await);
    let redirected = asked(&silent).await;
    assert_eq!(redirected.get("error"), "login_required");
    assert_eq!((redirected.get("state"), redirected.get("iss")), ("xyz", &*world.server.issuer));
    ada.logs_in().await;
    assert_eq!(asked(&silent).await.get("error"), "consent_required");
    ada.decides(&app.request("read:tenants"), "allow").await;
    assert_eq!(token(&app, &asked(&silent).await).await.0, "read:tenants");
    let more = with(&silent, "scope", &["read:tenants read:users"]);
    assert_eq!(asked(&more).await.get("error"), "consent_required");

    ada.decides(&public.request("read:tenants"), "allow").await;
    let silent = with(&public.request("read:tenants"), "prompt", &["none"]);
    assert_eq!(asked(&silent).await.get("error"), "consent_required", "anyone can be that client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_remembered_for_whom_it_was_given_and_for_no_more(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.approves(&app, "write:tenants").await;
    let is_asked = async |person: &Person, query: &[(&str, &str)]| {
        person.visits(query).await.status == StatusCode::OK
    };
    assert!(!is_asked(ada, &app.request("write:tenants")).await);
    assert!(!is_asked(ada, &app.request("read:tenants")).await, "write covers read");
    assert!(!is_asked(ada, &app.request("read:tenants/acme")).await);
    assert!(is_asked(ada, &app.request("read:users")).await);
    assert!(is_asked(ada, &app.request("write:tenants read:users")).await);
    assert!(is_asked(ada, &with(&app.request("read:tenants"), "prompt", &["consent"])).await);

    // A second consent adds to the first.
    ada.decides(&app.request("read:users"), "allow").await;
    assert!(!is_asked(ada, &app.request(CLIENT_SCOPES)).await);

    let other_app = world.confidential_app().await;
    assert!(is_asked(ada, &other_app.request("read:tenants")).await);
    let bob = world.member("bob@example.com", Role::Member).await;
    bob.logs_in().await;
    assert!(is_asked(&bob, &app.request("read:tenants")).await);

    let public = world.public_app().await;
    ada.decides(&public.request("read:tenants"), "allow").await;
    assert!(is_asked(ada, &public.request("read:tenants")).await, "anyone can be that client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_told_to_the_application_and_not_remembered_as_a_yes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let redirected = world.owner.decides(&app.request("read:tenants"), "deny").await;
    assert!(redirected.location.starts_with(&format!("{REDIRECT_URI}?error=access_denied&")));
    assert_eq!((redirected.get("state"), redirected.get("iss")), ("xyz", &*world.server.issuer));
    assert_eq!(redirected.get("code"), "");
    assert_asks(&world.owner.visits(&app.request("read:tenants")).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_belongs_to_several_organizations_picks_one_and_its_role_counts(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    let second = world.second_organization("Second & Sons", Role::Viewer).await;
    ada.logs_in().await;
    let scope = "write:tenants read:users";
    let page = ada.visits(&app.request(scope)).await;
    assert_asks(&page);
    for option in [world.organization, second] {
        assert!(page.text.contains(&format!("<option value=\"{option}\">")), "{page:?}");
    }
    assert!(page.text.contains("Second &#38; Sons"), "{page:?}");

    let request = app.request(scope);
    let request =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&request).finish();
    let picks = async |organization: &str| {
        let form = [("request", &*request), ("organization", organization), ("decision", "allow")];
        ada.posts("/oauth/authorize/consent", &form).await
    };
    let redirected = Redirected::of(&picks(&second.to_string()).await);
    let (given, claims) = token(&app, &redirected).await;
    assert_eq!(claims["org"], second.to_string());
    assert_eq!(given, "read:tenants read:users", "a viewer can't hand out the right to write");
    let redirected = Redirected::of(&picks(&world.organization.to_string()).await);
    let (given, claims) = token(&app, &redirected).await;
    assert_eq!(claims["org"], world.organization.to_string());
    assert!(given.contains("write:tenants"), "{given}");

    // An organization of somebody else's, one that does not exist, and what is none.
    let (app_db, now) = (&world.server.app.db, world.server.app.clock.now());
    let foreign = portcullis::tenancy::insert_organization(app_db.writer(), now, "Foreign");
    let foreign = foreign.await.unwrap().to_string();
    let unknown = entity::OrganizationId::new(entity::Timestamp(0)).to_string();
    for organization in [foreign, unknown] {
        let redirected = Redirected::of(&picks(&organization).await);
        assert_eq!(redirected.get("error"), "access_denied");
        assert_eq!(redirected.get("iss"), world.server.issuer);
    }
    for organization in ["", "org_", "Example", &world.api.id.to_string()] {
        assert_is_error_page(&picks(organization).await, StatusCode::BAD_REQUEST);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_allows_more_than_their_role(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let viewer = world.member("vic@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    let page = viewer.visits(&app.request("write:tenants read:users")).await;
    assert!(page.text.contains("See your users") && page.text.contains("See your tenants"));
    assert!(!page.text.contains("Create and change your tenants"), "{page:?}");
    let redirected = viewer.decides(&app.request("write:tenants read:users"), "allow").await;
    assert_eq!(token(&app, &redirected).await.0, "read:tenants read:users");
    let redirected = viewer.decides(&app.request("write:users"), "allow").await;
    assert_eq!(redirected.get("error"), "invalid_scope", "the client may not either");

    // With nothing left to allow there is nothing to ask.
    let stranger = world.stranger("sam@example.com").await;
    stranger.logs_in().await;
    let redirected = Redirected::of(&stranger.visits(&app.request("read:tenants")).await);
    assert_eq!(redirected.get("error"), "access_denied");
    assert_eq!((redirected.get("state"), redirected.get("iss")), ("xyz", &*world.server.issuer));
    let silent = with(&app.request("read:tenants"), "prompt", &["none"]);
    let redirected = Redirected::of(&stranger.visits(&silent).await);
    assert_eq!(redirected.get("error"), "access_denied");
    let request = app.request("read:tenants");
    let answer = posts_consent(&stranger, &world, &request, "allow", &[]).await;
    assert_eq!(Redirected::of(&answer).get("error"), "access_denied");
}

/// Posts what the consent page would, whether or not it was shown.
async fn posts_consent(
    person: &Person,
    world: &World,
    query: &[(&str, &str)],
    decision: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let request = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let organization = world.organization.to_string();
    let form = [("request", &*request), ("organization", &organization), ("decision", decision)];
    person.posts_with("/oauth/authorize/consent", &form, headers).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_counts_only_from_our_own_page_by_whoever_is_logged_in(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    let request = app.request("read:tenants");
    // Nobody is logged in: log in, and be asked.
    let login = posts_consent(ada, &world, &request, "allow", &[]).await;
    assert_leads_to_login(&login);
    assert_eq!(ada.follows(&login).await.status, StatusCode::OK);

    ada.logs_in().await;
    for forged in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
    ] {
        let answer = posts_consent(ada, &world, &request, "allow", &forged).await;
        assert_is_error_page(&answer, StatusCode::FORBIDDEN);
    }
    assert_asks(&ada.visits(&request).await);

    // What was altered on its way through the page is checked anew.
    let evil = with(&request, "redirect_uri", &["https://evil.example/"]);
    let answer = posts_consent(ada, &world, &evil, "allow", &[]).await;
    assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
    let more = with(&request, "scope", &["admin"]);
    let redirected = Redirected::of(&posts_consent(ada, &world, &more, "allow", &[]).await);
    assert_eq!(redirected.get("error"), "invalid_scope");
    let plain = with(&request, "code_challenge_method", &["plain"]);
    let redirected = Redirected::of(&posts_consent(ada, &world, &plain, "allow", &[]).await);
    assert_eq!(redirected.get("error"), "invalid_request");
    for decision in ["", "maybe"] {
        let answer = posts_consent(ada, &world, &request, decision, &[]).await;
        assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
    }
    assert_is_error_page(
        &ada.posts("/oauth/authorize/consent", &[]).await,
        StatusCode::BAD_REQUEST,
    );
    let ours = [("sec-fetch-site", "same-origin"), ("origin", world.server.issuer.as_str())];
    let redirected = Redirected::of(&posts_consent(ada, &world, &request, "allow", &ours).await);
    assert!(!redirected.get("code").is_empty(), "{redirected:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_gets_no_answer_at_all(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.approves(&app, "read:tenants").await;
    let server = &world.server.app;
    let id = app.id.parse().unwrap();
    assert!(clients::revoke(&server.db, server.clock.now(), &By::operator(), id).await.unwrap());
    // The log is in force once this process has read it, which it is told to do by whoever revokes over HTTP.
    server.revocations.catch_up().await;
    let answer = ada.visits(&app.request("read:tenants")).await;
    assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
    let answer = posts_consent(ada, &world, &app.request("read:tenants"), "allow", &[]).await;
    assert_is_error_page(&answer, StatusCode::BAD_REQUEST);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn pages_can_not_be_framed_and_lead_only_where_they_must(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world
        .registers(|new| {
            new.name = "<script>alert(1)</script>\"'><b>&amp; \u{202e}evil";
            new.redirect_uris = ["https://app.example.com:8443/cb", "http://127.0.0.1/cb"]
                .map(str::to_owned)
                .to_vec();
        })
        .await;
    let ada = &world.owner;
    ada.logs_in().await;
    for (uri, target) in [
        ("https://app.example.com:8443/cb", "https://app.example.com:8443"),
        ("http://127.0.0.1:51004/cb", "http://127.0.0.1:51004"),
    ] {
        let query = with(&app.request("read:tenants"), "redirect_uri", &[uri]);
        let query = with(&query, "state", &["\"><script>alert(2)</script>"]);
        let page = ada.visits(&query).await;
        assert_asks(&page);
        assert_cannot_be_framed_or_scripted(&page);
        let policy = page.header("content-security-policy");
        assert!(policy.ends_with(&format!("form-action 'self' {target}")), "{policy}");
        assert!(!page.text.contains("<script") && !page.text.contains("<b>"), "{page:?}");
        assert!(page.text.contains("&#60;script&#62;alert(1)"), "{page:?}");
        // What turns the reading direction around must not reach the words around it.
        for (at, _) in page.text.match_indices('\u{202e}') {
            let before = &page.text[..at];
            let is_isolated =
                before.rfind("<bdi").unwrap_or(0) > before.rfind("</bdi>").unwrap_or(0);
            let is_title = before.contains("<title>") && !before.contains("</title>");
            assert!(is_isolated || is_title, "{page:?}");
        }
    }
    assert_cannot_be_framed_or_scripted(&ada.gets("/account").await);
    assert_cannot_be_framed_or_scripted(&ada.gets("/login").await);
    assert_is_error_page(&ada.gets("/no/such/page").await, StatusCode::NOT_FOUND);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_script_of_another_origin_reads_what_authorize_says(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let url = world.server.url("/oauth/authorize");
    let url = url::Url::parse_with_params(&url, app.request("read:tenants")).unwrap();
    for method in [reqwest::Method::GET, reqwest::Method::OPTIONS] {
        let request = ada
            .browser
            .request(method, url.clone())
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "GET");
        let answer = Answer::of(request.send().await.unwrap()).await;
        let mut names = answer.headers.keys();
        assert!(names.all(|name| !name.as_str().starts_with("access-control-")), "{answer:?}");
    }
}

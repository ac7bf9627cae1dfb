//! `POST /oauth/token`: who gets tokens for what, what they look like, and every refusal.

use std::time::Duration;

use portcullis::audit::By;
use portcullis::clients::{self, GrantType};
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::json;

use crate::harness::actors::{VERIFIER, claims, http, introspect, jose_header};
use crate::harness::world::{AUDIENCE, REDIRECT_URI};
use crate::harness::{Answer, Application, Database, Server, World};

const TOKEN: &str = "/oauth/token";

fn basic(app: &Application) -> (&str, &str) {
    (&app.id, app.secret.as_deref().unwrap())
}

/// What every answer of the endpoint says about keeping it.
fn assert_kept_by_nobody(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    assert_eq!(answer.header("pragma"), "no-cache", "{answer:?}");
    assert!(answer.header("content-type").starts_with("application/json"), "{answer:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_code_becomes_tokens_as_the_rfcs_have_them(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:users read:tenants").await;
    let answer = app.redeems(&code).await;

    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_kept_by_nobody(&answer);
    assert_eq!(answer.json["token_type"], "Bearer");
    assert_eq!(answer.json["expires_in"], 600);
    assert_eq!(answer.json["scope"], "read:tenants read:users");
    assert!(answer.member("refresh_token").starts_with("pc_rt_"));
    let members = ["access_token", "token_type", "expires_in", "refresh_token", "scope"];
    assert_eq!(answer.json.as_object().unwrap().len(), members.len(), "{answer:?}");

    let token = answer.member("access_token");
    let header = jose_header(token);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    assert!(header["kid"].is_string());
    let (claims, now) = (claims(token), world.server.app.clock.now().unix_seconds());
    assert_eq!(claims["iss"], world.server.issuer);
    assert_eq!(claims["sub"], world.owner.id(&world.server).await.to_string());
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(now), &json!(now + 600)));
    assert!(claims["jti"].as_str().unwrap().starts_with("tok_"));
    assert_eq!(claims["client_id"], app.id);
    assert_eq!(claims["scope"], "read:tenants read:users");
    assert_eq!(claims["org"], world.organization.to_string());
    assert!(claims["grant"].as_str().unwrap().starts_with("gnt_"));

    let next = app.refreshes(answer.member("refresh_token")).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
    assert_kept_by_nobody(&next);
    assert_ne!(next.member("refresh_token"), answer.member("refresh_token"));
    let renewed = crate::harness::actors::claims(next.member("access_token"));
    assert_ne!(renewed["jti"], claims["jti"]);
    for same in ["iss", "sub", "aud", "client_id", "scope", "org", "grant"] {
        assert_eq!(renewed[same], claims[same], "{same}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_acts_for_itself_is_its_own_subject_and_gets_no_refresh_token(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world
        .registers(|new| {
            new.grant_types = vec![GrantType::ClientCredentials];
            new.redirect_uris = vec![];
        })
        .await;
    let answer = app.acts_for_itself("write:tenants").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_kept_by_nobody(&answer);
    assert!(answer.json.get("refresh_token").is_none(), "RFC 6749 §4.4.3");
    let claims = claims(answer.member("access_token"));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(app.id), &json!(app.id)));
    assert_eq!(claims["scope"], "write:tenants");
    assert_eq!(claims["org"], world.organization.to_string());
    assert!(claims["grant"].as_str().unwrap().starts_with("gnt_"));

    let by_default = app.posts(TOKEN, &[("grant_type", "client_credentials")]).await;
    assert_eq!(by_default.json["scope"], "read:tenants");
    for scope in ["write:users", "read:nothing", "read tenants:", "admin", "read:tenants admin"] {
        assert_eq!(app.acts_for_itself(scope).await.refusal(), "400 invalid_scope", "{scope}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_proves_itself_in_one_way_only(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let public = world.public_app().await;
    let (id, secret) = basic(&app);
    let itself = ("grant_type", "client_credentials");

    let by_header = app.posts_with_basic(TOKEN, (id, secret), &[itself]).await;
    assert_eq!(by_header.status, StatusCode::OK, "{by_header:?}");
    // RFC 6749 §2.3.1: both parts are form-encoded.
    let encoded = (id.replace('_', "%5F"), secret.replace('_', "%5f"));
    let by_header = app.posts_with_basic(TOKEN, (&encoded.0, &encoded.1), &[itself]).await;
    assert_eq!(by_header.status, StatusCode::OK, "{by_header:?}");
    let named_too = app.posts_with_basic(TOKEN, (id, secret), &[itself, ("client_id", id)]).await;
    assert_eq!(named_too.status, StatusCode::OK, "{named_too:?}");
    let by_body = app.posts(TOKEN, &[itself]).await;
    assert_eq!(by_body.status, StatusCode::OK, "{by_body:?}");

    let last = if secret.ends_with('x') { 'y' } else { 'x' };
    let wrong = format!("{}{last}", &secret[..secret.len() - 1]);
    let another = world.confidential_app().await;
    let nobody = "app_01h455vb4pex5vsknk084sn02q";
    for (name, password) in [
        (id, wrong.as_str()),
        (id, ""),
        (id, another.secret.as_deref().unwrap()),
        (nobody, secret),
        ("", ""),
        ("%zz", "%zz"),
        (&public.id, secret),
    ] {
        let refused = app.posts_with_basic(TOKEN, (name, password), &[itself]).await;
        assert_eq!(refused.refusal(), "401 invalid_client", "{name}");
        assert!(refused.header("www-authenticate").starts_with("Basic realm="), "{refused:?}");
        assert_kept_by_nobody(&refused);
    }
    let header = app.http.post(world.server.url(TOKEN)).header("authorization", "Basic !!!");
    let refused = Answer::of(header.form(&[itself]).send().await.unwrap()).await;
    assert_eq!(refused.refusal(), "401 invalid_client");
    assert!(refused.header("www-authenticate").starts_with("Basic "), "{refused:?}");

    for form in [
        vec![itself, ("client_id", id), ("client_secret", wrong.as_str())],
        vec![itself, ("client_id", nobody), ("client_secret", secret)],
        vec![itself, ("client_id", id)],
        vec![itself, ("client_id", id), ("client_secret", "")],
        vec![itself, ("client_id", "x"), ("client_secret", "y")],
        vec![itself, ("client_secret", secret)],
        vec![itself],
    ] {
        let refused = app.posts_as_it_is(TOKEN, &form).await;
        assert_eq!(refused.refusal(), "401 invalid_client", "{form:?}");
        assert_eq!(refused.header("www-authenticate"), "", "Basic was not tried");
        assert_kept_by_nobody(&refused);
    }
    for form in [
        vec![itself, ("client_id", id), ("client_secret", secret)],
        vec![itself, ("client_secret", secret)],
        vec![itself, ("client_id", &another.id)],
    ] {
        let refused = app.posts_with_basic(TOKEN, (id, secret), &form).await;
        assert_eq!(refused.refusal(), "400 invalid_request", "{form:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_proves_itself_by_the_verifier_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let public = world.public_app().await;
    let confidential = world.confidential_app().await;
    let code = world.owner.approves(&public, "read:tenants").await;
    let with_a_secret = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
        ("client_id", &public.id),
        ("client_secret", confidential.secret.as_deref().unwrap()),
    ];
    let refused = public.posts_as_it_is(TOKEN, &with_a_secret).await;
    assert_eq!(refused.refusal(), "401 invalid_client");

    let tokens = public.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let next = public.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
    let itself = public.acts_for_itself("read:tenants").await;
    assert_eq!(itself.refusal(), "400 unauthorized_client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_gets_nothing_and_its_tokens_are_dead(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, server) = (world.confidential_app().await, &world.server);
    let code = world.owner.approves(&app, "read:tenants").await;
    let unused = world.owner.approves_again(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let own = app.acts_for_itself("read:tenants").await;
    let id = app.id.parse().unwrap();
    let now = server.app.clock.now();
    assert!(clients::revoke(&server.app.db, now, &By::operator(), id).await.unwrap());
    server.app.revocations.catch_up().await;

    assert_eq!(app.redeems(&unused).await.refusal(), "401 invalid_client");
    let refresh_token = tokens.member("refresh_token");
    assert_eq!(app.refreshes(refresh_token).await.refusal(), "401 invalid_client");
    assert_eq!(app.acts_for_itself("").await.refusal(), "401 invalid_client");
    for token in [&tokens, &own] {
        let told = introspect(server, &world.credential, token.member("access_token")).await;
        assert_eq!(told.text, r#"{"active":false}"#);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_can_not_be_read_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let itself = ("grant_type", "client_credentials");
    for (form, refusal) in [
        (vec![], "400 invalid_request"),
        (vec![("grant_type", "")], "400 invalid_request"),
        (vec![itself, itself], "400 invalid_request"),
        (vec![itself, ("scope", "read:tenants"), ("scope", "read:users")], "400 invalid_request"),
        (vec![itself, ("client_id", &app.id)], "400 invalid_request"),
        (vec![("grant_type", "password")], "400 unsupported_grant_type"),
        (vec![("grant_type", "implicit")], "400 unsupported_grant_type"),
        (vec![("grant_type", "Client_Credentials")], "400 unsupported_grant_type"),
        (vec![("grant_type", "authorization_code")], "400 invalid_request"),
        (vec![("grant_type", "authorization_code"), ("code", "")], "400 invalid_request"),
        (
            vec![("grant_type", "authorization_code"), ("code", "a"), ("code", "b")],
            "400 invalid_request",
        ),
        (vec![("grant_type", "refresh_token")], "400 invalid_request"),
        (
            vec![("grant_type", "refresh_token"), ("refresh_token", "a"), ("refresh_token", "a")],
            "400 invalid_request",
        ),
    ] {
        let refused = app.posts(TOKEN, &form).await;
        assert_eq!(refused.refusal(), refusal, "{form:?}");
        assert_kept_by_nobody(&refused);
        assert!(!refused.member("error_description").is_empty());
    }
    // What nobody asked for is ignored (RFC 6749 §3.2).
    let ignored = app.posts(TOKEN, &[itself, ("audience", "x"), ("audience", "y")]).await;
    assert_eq!(ignored.status, StatusCode::OK, "{ignored:?}");

    let url = world.server.url(TOKEN);
    let form = "application/x-www-form-urlencoded";
    let credentials = format!("client_id={}&client_secret={}", app.id, basic(&app).1);
    for (content_type, body, refusal) in [
        ("application/json", json!({ "grant_type": "client_credentials" }).to_string(), 400),
        ("text/plain", format!("grant_type=client_credentials&{credentials}"), 400),
        (form, format!("grant_type=%FF&{credentials}"), 400),
        (form, format!("grant_type=%zz&{credentials}"), 400),
        (form, format!("grant_type=client_credentials&{credentials}{}", "&a=b".repeat(200)), 400),
        (form, format!("grant_type={}&{credentials}", "x".repeat(64 * 1024)), 413),
    ] {
        let request = http().post(&url).header("content-type", content_type).body(body);
        let refused = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(refused.refusal(), format!("{refusal} invalid_request"), "{content_type}");
    }
    let request = http().post(&url).body(format!("grant_type=client_credentials&{credentials}"));
    let refused = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(refused.refusal(), "400 invalid_request", "there was no content type");
    let in_the_url = format!("{url}?grant_type=client_credentials&{credentials}");
    let refused = http().post(in_the_url).header("content-type", form).send().await.unwrap();
    assert_eq!(Answer::of(refused).await.refusal(), "400 invalid_request", "body only");
    let got = http().get(&url).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_to_the_grant_types_that_it_is_registered_for(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let one_time =
        world.registers(|new| new.grant_types = vec![GrantType::AuthorizationCode]).await;
    let script = world
        .registers(|new| {
            new.grant_types = vec![GrantType::ClientCredentials];
            new.redirect_uris = vec![];
        })
        .await;
    let code = world.owner.approves(&one_time, "read:tenants").await;
    let tokens = one_time.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    assert!(tokens.json.get("refresh_token").is_none(), "{tokens:?}");
    assert_eq!(one_time.refreshes("pc_rt_x").await.refusal(), "400 unauthorized_client");
    assert_eq!(one_time.acts_for_itself("").await.refusal(), "400 unauthorized_client");
    assert_eq!(script.redeems("x").await.refusal(), "400 unauthorized_client");
    assert_eq!(script.refreshes("pc_rt_x").await.refusal(), "400 unauthorized_client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_the_request_that_it_was_made_for_and_no_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let another = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants").await;
    let redeems = async |app: &Application, changes: &[(&str, Option<&str>)]| {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changes {
            form.retain(|(known, _)| known != name);
            form.extend(value.map(|value| (*name, value)));
        }
        app.posts(TOKEN, &form).await
    };
    let other_verifier = "x".repeat(43);
    for changes in [
        ("code", Some("unknown")),
        ("code", Some("é\u{0}")),
        ("redirect_uri", Some("https://app.example.com/callback/")),
        ("redirect_uri", Some("https://evil.example.com/callback")),
        ("code_verifier", Some(other_verifier.as_str())),
        ("code_verifier", Some(&VERIFIER[1..])),
        ("code_verifier", Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")),
        ("code_verifier", None),
    ] {
        let refused = redeems(&app, &[changes]).await;
        assert_eq!(refused.refusal(), "400 invalid_grant", "{changes:?}");
    }
    assert_eq!(redeems(&another, &[]).await.refusal(), "400 invalid_grant");
    // None of this has spent the code. PKCE binds it to the request, so the redirect URI may be left out.
    let tokens = redeems(&app, &[("redirect_uri", None)]).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    // Another client's attempt with a code that was used does not end this client's grant.
    assert_eq!(redeems(&another, &[]).await.refusal(), "400 invalid_grant");
    assert_eq!(app.introspects(tokens.member("access_token")).await.json["active"], true);
    assert_eq!(redeems(&app, &[]).await.refusal(), "400 invalid_grant");
    assert_eq!(app.introspects(tokens.member("access_token")).await.json["active"], false);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_code_lives_for_a_minute(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let in_time = world.owner.approves(&app, "read:tenants").await;
    world.server.passes(Duration::from_millis(59_999));
    assert_eq!(app.redeems(&in_time).await.status, StatusCode::OK);
    let too_late = world.owner.approves_again(&app, "read:tenants").await;
    world.server.passes(Duration::from_secs(60));
    assert_eq!(app.redeems(&too_late).await.refusal(), "400 invalid_grant");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn pkce_can_not_be_stripped_from_a_request_unnoticed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.classic_app().await;
    let without: Vec<_> = app
        .request("read:tenants")
        .into_iter()
        .filter(|(name, _)| !name.starts_with("code_challenge"))
        .collect();
    world.owner.logs_in().await;
    let code = world.owner.answers(&without).await;
    assert_eq!(app.redeems(&code).await.refusal(), "400 invalid_grant", "a verifier came along");
    let form = [("grant_type", "authorization_code"), ("code", code.as_str())];
    assert_eq!(app.posts(TOKEN, &form).await.refusal(), "400 invalid_request", "no redirect_uri");
    let form = [form[0], form[1], ("redirect_uri", REDIRECT_URI)];
    assert_eq!(app.posts(TOKEN, &form).await.status, StatusCode::OK);

    // The same client may use PKCE, and is then held to it.
    let code = world.owner.approves_again(&app, "read:tenants").await;
    let form = [form[0], ("code", code.as_str()), form[2]];
    assert_eq!(app.posts(TOKEN, &form).await.refusal(), "400 invalid_grant");
    assert_eq!(app.redeems(&code).await.status, StatusCode::OK);
}

/// The calls of issue 2, taken from the documentation of older products.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_older_documentation_work_as_written(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world
        .registers(|new| {
            new.requires_pkce = false;
            new.audiences[0].allowed = "read:tenants write:users".parse().unwrap();
        })
        .await;
    let curl = async |path: &str, data: &[String]| {
        let request = http()
            .post(world.server.url(path))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(data.join("&"));
        Answer::of(request.send().await.unwrap()).await
    };
    let (id, secret) = basic(&app);
    let credentials = [format!("client_id={id}"), format!("client_secret={secret}")];
    let call = |data: &[&str]| {
        let data = data.iter().map(|it| (*it).to_owned());
        data.chain(credentials.clone()).collect::<Vec<String>>()
    };

    let owner = &world.owner;
    owner.logs_in().await;
    let asked = format!(
        "client_id={id}&redirect_uri={REDIRECT_URI}&response_type=code&scope=read:tenants write:users"
    );
    let page = owner.gets(&format!("/oauth/authorize?{asked}")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let organization = world.organization.to_string();
    let form =
        [("request", asked.as_str()), ("organization", &organization), ("decision", "allow")];
    let answer = owner.posts("/oauth/authorize/consent", &form).await;
    let redirected = crate::harness::Redirected::of(&answer);
    assert!(redirected.location.starts_with("https://app.example.com/callback?code="));
    assert!(!redirected.parameters.contains_key("state"), "{redirected:?}");
    assert_eq!(redirected.get("iss"), world.server.issuer);

    let code = format!("code={}", redirected.get("code"));
    let redirect_uri = format!("redirect_uri={REDIRECT_URI}");
    let data = call(&["grant_type=authorization_code", &code, &redirect_uri]);
    let tokens = curl("/oauth/token", &data).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    assert_eq!(tokens.json["scope"], "read:tenants write:users");
    let refresh_token = format!("refresh_token={}", tokens.member("refresh_token"));
    let tokens = curl("/oauth/token", &call(&["grant_type=refresh_token", &refresh_token])).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");

    let token = tokens.member("access_token");
    assert_eq!(introspect(&world.server, &world.credential, token).await.json["active"], true);
    let revoked = curl("/oauth/revoke", &call(&[&format!("token={token}")])).await;
    assert_eq!(revoked.status, StatusCode::OK, "{revoked:?}");
    let told = introspect(&world.server, &world.credential, token).await;
    assert_eq!(told.text, r#"{"active":false}"#);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_scope_gets_the_default_scopes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "").await;
    let tokens = app.redeems(&code).await;
    assert_eq!(tokens.json["scope"], "read:tenants");
    assert_eq!(claims(tokens.member("access_token"))["scope"], "read:tenants");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_may_narrow_the_scope_and_never_widens_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "write:tenants read:users").await;
    let tokens = app.redeems(&code).await;
    assert_eq!(tokens.json["scope"], "read:users write:tenants");
    let refreshes = async |token: &str, scope: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
        app.posts(TOKEN, &form).await
    };
    let first = tokens.member("refresh_token");
    for wider in ["write:users", "admin:tenants", "admin", "read:users read:nothing", "a b:", " "] {
        assert_eq!(refreshes(first, wider).await.refusal(), "400 invalid_scope", "{wider}");
    }
    // Nothing was spent by asking for too much.
    let narrowed = refreshes(first, "read:tenants").await;
    assert_eq!(narrowed.status, StatusCode::OK, "{narrowed:?}");
    assert_eq!(narrowed.json["scope"], "read:tenants");
    assert_eq!(claims(narrowed.member("access_token"))["scope"], "read:tenants");
    let narrower = refreshes(narrowed.member("refresh_token"), "read:tenants/acme").await;
    assert_eq!(narrower.json["scope"], "read:tenants/acme");
    let whole = app.refreshes(narrower.member("refresh_token")).await;
    assert_eq!(whole.json["scope"], "read:users write:tenants", "the grant is as it was");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_one_resource_that_the_client_may_ask_for(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let itself = ("grant_type", "client_credentials");
    let good = app.posts(TOKEN, &[itself, ("resource", AUDIENCE)]).await;
    assert_eq!(claims(good.member("access_token"))["aud"], AUDIENCE);
    let (right, wrong) = (("resource", AUDIENCE), ("resource", "https://other.example.com"));
    let own = ("resource", world.server.issuer.as_str());
    for resources in [&[wrong][..], &[own], &[right, wrong], &[wrong, right], &[("resource", "x")]]
    {
        let form = [&[itself], resources].concat();
        assert_eq!(app.posts(TOKEN, &form).await.refusal(), "400 invalid_target", "{form:?}");
    }

    let code = world.owner.approves(&app, "read:tenants").await;
    let redeems = async |resources: &[(&str, &str)]| {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        app.posts(TOKEN, &[&form[..], resources].concat()).await
    };
    assert_eq!(redeems(&[wrong]).await.refusal(), "400 invalid_target");
    assert_eq!(redeems(&[right, wrong]).await.refusal(), "400 invalid_target");
    let tokens = redeems(&[right]).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let refreshes = async |resources: &[(&str, &str)]| {
        let token = tokens.member("refresh_token");
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        app.posts(TOKEN, &[&form[..], resources].concat()).await
    };
    assert_eq!(refreshes(&[wrong]).await.refusal(), "400 invalid_target");
    assert_eq!(refreshes(&[right, wrong]).await.refusal(), "400 invalid_target");
    assert_eq!(refreshes(&[right]).await.status, StatusCode::OK);

    let mut query = app.request("read:tenants");
    query.extend([right, wrong]);
    let refused = world.owner.decides(&query, "allow").await;
    assert_eq!(refused.get("error"), "invalid_target");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn tokens_reach_no_further_than_the_user_does_when_they_are_made(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let before = bob.approves(&app, "write:tenants").await;
    let between = bob.approves_again(&app, "write:tenants").await;
    let tokens = app.redeems(&before).await;
    assert_eq!(tokens.json["scope"], "write:tenants");

    world.puts(&bob, Some(Role::Viewer)).await;
    assert_eq!(app.redeems(&between).await.json["scope"], "read:tenants");
    let narrowed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(narrowed.json["scope"], "read:tenants");
    let asking_for_more = [
        ("grant_type", "refresh_token"),
        ("refresh_token", narrowed.member("refresh_token")),
        ("scope", "write:tenants"),
    ];
    let narrowed = app.posts(TOKEN, &asking_for_more).await;
    assert_eq!(narrowed.json["scope"], "read:tenants", "{narrowed:?}");

    let after = bob.approves_again(&app, "read:tenants").await;
    world.puts(&bob, None).await;
    assert_eq!(app.redeems(&after).await.refusal(), "400 invalid_grant");
    let refresh_token = narrowed.member("refresh_token");
    assert_eq!(app.refreshes(refresh_token).await.refusal(), "400 invalid_grant");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn browser_apps_reach_the_endpoint_from_the_origins_of_their_redirect_uris(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.public_app().await;
    let asks = async |method: Method, path: &str, origin: &str| {
        let request = http()
            .request(method, world.server.url(path))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,authorization");
        Answer::of(request.send().await.unwrap()).await
    };
    let known = "https://app.example.com";
    for path in ["/oauth/token", "/oauth/revoke"] {
        let allowed = asks(Method::OPTIONS, path, known).await;
        assert_eq!(allowed.status, StatusCode::OK);
        assert_eq!(allowed.header("access-control-allow-origin"), known);
        assert_eq!(allowed.header("access-control-allow-methods"), "POST");
        assert!(allowed.header("access-control-allow-headers").contains("content-type"));
        assert_eq!(allowed.header("access-control-allow-credentials"), "", "no cookies here");
        for stranger in [
            "https://evil.example.com",
            "http://app.example.com",
            "https://app.example.com:1",
            "null",
        ] {
            let refused = asks(Method::OPTIONS, path, stranger).await;
            assert_eq!(refused.header("access-control-allow-origin"), "", "{stranger}");
        }
    }
    // The refusal itself can be read by the app, too.
    let form = [("grant_type", "authorization_code"), ("code", "x"), ("client_id", &app.id)];
    let request = http().post(world.server.url(TOKEN)).header("origin", known).form(&form);
    let refused = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
    assert_eq!(refused.header("access-control-allow-origin"), known);
    assert!(refused.header("vary").contains("origin"), "{refused:?}");

    for path in ["/oauth/jwks", "/.well-known/oauth-authorization-server"] {
        let open = asks(Method::GET, path, "https://evil.example.com").await;
        assert_eq!(open.status, StatusCode::OK);
        assert_eq!(open.header("access-control-allow-origin"), "*", "{path}");
    }
    for path in ["/oauth/authorize", "/login", "/oauth/introspect", "/v1/api-keys"] {
        for method in [Method::GET, Method::OPTIONS] {
            let closed = asks(method, path, known).await;
            assert_eq!(closed.header("access-control-allow-origin"), "", "{path}");
        }
    }
    // A client that is gone takes its origin along.
    let id = app.id.parse().unwrap();
    let now = world.server.app.clock.now();
    clients::revoke(&world.server.app.db, now, &By::operator(), id).await.unwrap();
    let refused = asks(Method::OPTIONS, TOKEN, known).await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_can_be_cached(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let url = |server: &Server| server.url("/.well-known/oauth-authorization-server");
    let first = Answer::of(http().get(url(&world.server)).send().await.unwrap()).await;
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    assert_eq!(first.member("issuer"), world.server.issuer);
    let etag = first.header("etag");
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    let asks = async |method: Method, known: &str| {
        let request = http().request(method, url(&world.server)).header("if-none-match", known);
        Answer::of(request.send().await.unwrap()).await
    };
    for method in [Method::GET, Method::HEAD] {
        let known = asks(method.clone(), etag).await;
        assert_eq!((known.status, known.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(
            (known.header("etag"), known.header("cache-control")),
            (etag, "public, max-age=300")
        );
        let other = asks(method.clone(), "\"x\"").await;
        assert_eq!((other.status, other.header("etag")), (StatusCode::OK, etag));
        let text = if method == Method::GET { first.text.as_str() } else { "" };
        assert_eq!(other.text, text);
    }
    // Another issuer is another document.
    let other = Server::start(database).await.unwrap();
    let other = Answer::of(http().get(url(&other)).send().await.unwrap()).await;
    assert_ne!(other.header("etag"), etag);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn metadata_can_be_read_from_any_origin_in_its_path_form_too(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let under_a_path = |settings: &mut portcullis::config::Settings| {
        settings.issuer = format!("http://{}/auth", settings.listen);
    };
    let Some(server) = Server::start_with(database, under_a_path).await else { return };
    let root = server.url("").replace("/auth", "");
    for path in [
        "/.well-known/oauth-authorization-server/auth",
        "/auth/.well-known/oauth-authorization-server",
    ] {
        let request = http().get(format!("{root}{path}")).header("origin", "https://any.example");
        let read = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(read.json["issuer"], server.issuer, "{path}");
        assert_eq!(read.header("access-control-allow-origin"), "*", "{path}");
    }
}

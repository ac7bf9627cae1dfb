//! `POST /oauth/introspect` (RFC 7662): who may ask, what they are told, and what they are not.

use std::time::Duration;

use portcullis::audit::By;
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;

use crate::harness::actors::{claims, http, introspect};
use crate::harness::{Answer, Database, World};

const INTROSPECT: &str = "/oauth/introspect";
const INACTIVE: &str = r#"{"active":false}"#;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_server_is_told_what_an_access_token_says(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let token = tokens.member("access_token");

    let told = introspect(&world.server, &world.credential, token).await;
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!(told.header("cache-control"), "no-store");
    let mut expected = claims(token);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(told.json, expected);

    // The same, by Basic with the resource server's id, or in the body.
    let id = world.api.id.to_string();
    let form = [("token", token), ("token_type_hint", "access_token")];
    let by_basic = app.posts_with_basic(INTROSPECT, (&id, &world.credential), &form).await;
    assert_eq!(by_basic.json, expected);
    let form = [form[0], ("client_id", id.as_str()), ("client_secret", &world.credential)];
    assert_eq!(app.posts_as_it_is(INTROSPECT, &form).await.json, expected);

    world.server.passes(Duration::from_secs(600));
    let told = introspect(&world.server, &world.credential, token).await;
    assert_eq!(told.text, INACTIVE, "it has expired");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_of_its_own_tokens(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, another) = (world.confidential_app().await, world.confidential_app().await);
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let (access, refresh) = (tokens.member("access_token"), tokens.member("refresh_token"));
    assert_eq!(app.introspects(access).await.json["active"], true);
    let told = app.introspects(refresh).await;
    let grant = claims(access)["grant"].clone();
    let expected = json!({
        "active": true, "token_type": "refresh_token", "iss": world.server.issuer,
        "client_id": app.id, "sub": world.owner.id(&world.server).await.to_string(),
        "org": world.organization.to_string(), "grant": grant, "scope": "read:tenants",
        "exp": world.server.app.clock.now().unix_seconds() + 30 * 24 * 60 * 60,
    });
    assert_eq!(told.json, expected);
    for token in [access, refresh] {
        assert_eq!(another.introspects(token).await.text, INACTIVE);
    }
    // A resource server that took "active" for "may call" would accept a refresh token as an access token.
    assert_eq!(introspect(&world.server, &world.credential, refresh).await.text, INACTIVE);

    let next = app.refreshes(refresh).await;
    assert_eq!(app.introspects(refresh).await.text, INACTIVE, "it is spent");
    let refresh = next.member("refresh_token");
    assert_eq!(app.introspects(refresh).await.json["active"], true);
    app.revokes(refresh).await;
    assert_eq!(app.introspects(refresh).await.text, INACTIVE);
    assert_eq!(app.introspects(access).await.text, INACTIVE);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dead_foreign_or_garbage_is_inactive_and_nothing_more(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let own = app.acts_for_itself("read:tenants").await;
    let token = own.member("access_token");
    let (_, other_api) = world.second_api("https://other.example.com", world.api.algorithm).await;
    assert_eq!(introspect(&world.server, &other_api, token).await.text, INACTIVE);

    let key = world.api_key(&["read:tenants"]).await;
    assert_eq!(app.introspects(&key.secret).await.text, INACTIVE, "a client asks about a key");
    // A key that means nothing to the API that asks is foreign to it (RFC 7662 §4).
    let elsewhere = world.api_key(&["write:api-keys"]).await;
    let told = introspect(&world.server, &world.credential, &elsewhere.secret).await;
    assert_eq!(told.text, INACTIVE);

    let mut parts: Vec<&str> = token.split('.').collect();
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    parts[0] = unsigned;
    let unsigned = [parts.join("."), format!("{unsigned}.{}.", parts[1])];
    let credential = world.credential.as_str();
    let secret = app.secret.as_deref().unwrap();
    for garbage in [
        "x",
        "a.b.c",
        "...",
        "é\u{0}",
        &token[..token.len() - 1],
        &unsigned[0],
        &unsigned[1],
        &"x".repeat(20_000),
        &format!("{}0", key.secret),
        // Secrets of ours that are no tokens.
        credential,
        secret,
        &app.id,
    ] {
        let told = introspect(&world.server, credential, garbage).await;
        assert_eq!((told.status, told.text.as_str()), (StatusCode::OK, INACTIVE), "{garbage}");
        assert_eq!(app.introspects(garbage).await.text, INACTIVE, "{garbage}");
    }
    app.revokes(token).await;
    let told = introspect(&world.server, credential, token).await;
    assert_eq!(told.text, INACTIVE);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_worth_what_its_creator_may_do_now(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ask = async |secret: &str| introspect(&world.server, &world.credential, secret).await;
    let bob = world.member("bob@example.com", Role::Owner).await;
    let key = world.api_key_of(&bob, Role::Owner, &["write:tenants", "read:users"], None).await;
    let told = ask(&key.secret).await;
    let expected = json!({
        "active": true, "token_type": "api_key", "iss": world.server.issuer, "sub": key.id,
        "api_key": key.id, "org": world.organization.to_string(),
        "creator": bob.id(&world.server).await.to_string(), "scope": "read:users write:tenants",
        "owner": bob.id(&world.server).await.to_string(),
        "iat": world.server.app.clock.now().unix_seconds(),
    });
    assert_eq!(told.json, expected);

    world.puts(&bob, Some(Role::Viewer)).await;
    assert_eq!(ask(&key.secret).await.json["scope"], "read:tenants read:users");
    world.puts(&bob, Some(Role::Member)).await;
    assert_eq!(ask(&key.secret).await.json["scope"], "read:users write:tenants");
    world.puts(&bob, None).await;
    assert_eq!(ask(&key.secret).await.text, INACTIVE);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_ends_by_its_date_or_by_revocation(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ask = async |secret: &str| introspect(&world.server, &world.credential, secret).await;
    let end = world.server.app.clock.now() + Duration::from_secs(60);
    let brief = world.api_key_of(&world.owner, Role::Owner, &["read:tenants"], Some(end)).await;
    let lasting = world.api_key(&["read:tenants"]).await;
    assert_eq!(ask(&brief.secret).await.json["exp"], end.unix_seconds());
    world.server.passes(Duration::from_secs(60));
    assert_eq!(ask(&brief.secret).await.text, INACTIVE);
    assert_eq!(ask(&lasting.secret).await.json["active"], true);
    let (app, id) = (&world.server.app, lasting.id.parse().unwrap());
    let now = app.clock.now();
    portcullis::api_keys::revoke(&app.db, now, &By::operator(), None, id, None).await.unwrap();
    app.revocations.catch_up().await;
    assert_eq!(ask(&lasting.secret).await.text, INACTIVE);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_ask_is_answered(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, public) = (world.confidential_app().await, world.public_app().await);
    let own = app.acts_for_itself("read:tenants").await;
    let token = ("token", own.member("access_token"));
    let key = world.api_key(&["admin"]).await;

    let nobody = app.posts_as_it_is(INTROSPECT, &[token]).await;
    assert_eq!(nobody.refusal(), "401 invalid_client");
    assert!(nobody.header("www-authenticate").starts_with("Bearer "), "{nobody:?}");
    let cut = &world.credential[..world.credential.len() - 1];
    for credential in [cut, "x", &key.secret, token.1, app.secret.as_deref().unwrap()] {
        let refused = introspect(&world.server, credential, token.1).await;
        assert_eq!(refused.refusal(), "401 invalid_client", "{credential}");
        assert!(refused.header("www-authenticate").starts_with("Bearer "), "{refused:?}");
    }
    let (id, other_id) = (world.api.id.to_string(), "api_01h455vb4pex5vsknk084sn02q");
    for (name, secret) in [
        (id.as_str(), "wrong"),
        (other_id, world.credential.as_str()),
        (&app.id, world.credential.as_str()),
        (&app.id, "wrong"),
        (&public.id, ""),
    ] {
        let refused = app.posts_with_basic(INTROSPECT, (name, secret), &[token]).await;
        assert_eq!(refused.refusal(), "401 invalid_client", "{name}");
        assert!(refused.header("www-authenticate").starts_with("Basic "), "{refused:?}");
    }
    for form in [
        vec![token, ("client_id", public.id.as_str())],
        vec![token, ("client_id", &app.id), ("client_secret", "wrong")],
        vec![token, ("client_id", &id)],
    ] {
        let refused = app.posts_as_it_is(INTROSPECT, &form).await;
        assert_eq!(refused.refusal(), "401 invalid_client", "{form:?}");
    }
    let both = http().post(world.server.url(INTROSPECT)).bearer_auth(&world.credential);
    let form = [token, ("client_id", &id), ("client_secret", &world.credential)];
    let refused = Answer::of(both.form(&form).send().await.unwrap()).await;
    assert_eq!(refused.refusal(), "400 invalid_request");
    for form in [vec![], vec![("token", "")], vec![token, token]] {
        assert_eq!(app.posts(INTROSPECT, &form).await.refusal(), "400 invalid_request");
    }
    let large = "x".repeat(64 * 1024);
    let refused = app.posts(INTROSPECT, &[("token", &large)]).await;
    assert_eq!(refused.refusal(), "413 invalid_request");
    let got = http().get(world.server.url(INTROSPECT)).bearer_auth(&world.credential);
    assert_eq!(got.send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

//! `POST /oauth/token` with an API key as the subject token (RFC 8693): a short-lived JWT that dies with the key.

use std::time::Duration;

use portcullis::tenancy::Role;
use portcullis_verifier::{RequestContext, Verifier};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;

use crate::harness::actors::{Answer, http, introspect};
use crate::harness::{Caller, Database, World, eventually};

const TOKEN: &str = "/oauth/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const API_KEY: &str = "urn:portcullis:params:oauth:token-type:api-key";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn posts(world: &World, form: &[(&str, &str)]) -> Answer {
    let request = http().post(world.server.url(TOKEN)).form(form);
    Answer::of(request.send().await.unwrap()).await
}

async fn exchanges(world: &World, key: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", GRANT),
        ("subject_token", key),
        ("subject_token_type", API_KEY),
        ("resource", world.api.audience.as_str()),
    ];
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend_from_slice(more);
    posts(world, &form).await
}

async fn is_active(world: &World, token: &str) -> bool {
    introspect(&world.server, &world.credential, token).await.json["active"] == true
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_a_token_with_what_its_key_may_do_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["write:tenants", "read:users", "read:projects"]).await;
    let got = exchanges(&world, &key.secret, &[]).await;
    assert_eq!(got.status, StatusCode::OK, "{got:?}");
    assert_eq!(got.header("cache-control"), "no-store");
    let token = got.member("access_token");
    let expected = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 600, "issued_token_type": ACCESS_TOKEN,
        "scope": "read:users write:tenants",
    });
    assert_eq!(got.json, expected);
    let told = introspect(&world.server, &world.credential, token).await;
    let (now, owner) =
        (world.server.app.clock.now().unix_seconds(), world.owner.id(&world.server).await);
    for (claim, value) in [
        ("sub", json!(key.id)),
        ("client_id", json!(key.id)),
        ("api_key", json!(key.id)),
        ("owner", json!(owner)),
        ("org", json!(world.organization)),
        ("aud", json!(world.api.audience)),
        ("iat", json!(now)),
        ("exp", json!(now + 600)),
        ("scope", json!("read:users write:tenants")),
        ("active", json!(true)),
    ] {
        assert_eq!(told.json[claim], value, "{claim}");
    }
    assert!(told.json["api_key_secret"].as_str().unwrap().starts_with("sec_"));

    // Fewer scopes, on demand; never more.
    let fewer = exchanges(&world, &key.secret, &[("scope", "read:tenants/acme")]).await;
    assert_eq!(fewer.member("scope"), "read:tenants/acme");
    for scope in ["write:users", "admin", "read:projects", "No Scope", "read:tenants write:users"] {
        let refused = exchanges(&world, &key.secret, &[("scope", scope)]).await;
        assert_eq!(refused.refusal(), "400 invalid_scope", "{scope}");
    }
    // Whoever speaks of an audience means the same, and a client may authenticate besides.
    let named = [("resource", ""), ("audience", world.api.audience.as_str())];
    assert_eq!(exchanges(&world, &key.secret, &named).await.status, StatusCode::OK);
    let app = world.confidential_app().await;
    let client =
        [("client_id", app.id.as_str()), ("client_secret", app.secret.as_deref().unwrap())];
    assert_eq!(exchanges(&world, &key.secret, &client).await.status, StatusCode::OK);
    let wrong = [("client_id", app.id.as_str()), ("client_secret", "wrong")];
    assert_eq!(exchanges(&world, &key.secret, &wrong).await.refusal(), "401 invalid_client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_key_or_no_exchange_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["read:tenants"]).await;
    let app = world.confidential_app().await;
    let token = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    let elsewhere = world.api_key(&["write:api-keys"]).await;
    let revoked = world.api_key(&["read:tenants"]).await;
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    assert_eq!(
        admin.deletes(&format!("/v1/api-keys/{}", revoked.id)).await.status,
        StatusCode::NO_CONTENT
    );
    let cut = &key.secret[..key.secret.len() - 1];
    let mut texts = Vec::new();
    for subject in ["x", cut, &token, &world.credential, &elsewhere.secret, &revoked.secret] {
        let refused = exchanges(&world, subject, &[]).await;
        assert_eq!(refused.refusal(), "400 invalid_request", "{subject}");
        texts.push(refused.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "they are told apart: {texts:?}");
    for (form, refusal) in [
        ([("subject_token", "")], "400 invalid_request"),
        ([("subject_token_type", "")], "400 invalid_request"),
        ([("subject_token_type", ACCESS_TOKEN)], "400 invalid_request"),
        (
            [("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
            "400 invalid_request",
        ),
        ([("actor_token", "x")], "400 invalid_request"),
        ([("resource", "")], "400 invalid_request"),
        ([("resource", "https://other.example.com")], "400 invalid_target"),
        ([("resource", "a\0b")], "400 invalid_target"),
        ([("audience", "https://other.example.com")], "400 invalid_request"),
    ] {
        assert_eq!(exchanges(&world, &key.secret, &form).await.refusal(), refusal, "{form:?}");
    }
    let twice = [("grant_type", GRANT), ("subject_token", "x"), ("subject_token", "x")];
    assert_eq!(posts(&world, &twice).await.refusal(), "400 invalid_request");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_its_own_organization_alone_may_use_is_to_others_like_none(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let edit = json!({ "is_shared": false });
    let edited = admin.patches(&format!("/v1/resource-servers/{}", world.api.id), &edit).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    let eve = world.stranger("eve@example.com").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let theirs = world.api_key_in(elsewhere, &eve, Role::Owner, &["read:tenants"], None).await;
    let own = world.api_key(&["read:tenants"]).await;
    let nowhere = [("resource", "https://nowhere.example.com")];
    let unknown = exchanges(&world, &own.secret, &nowhere).await;
    assert_eq!(unknown.refusal(), "400 invalid_target");
    for stranger in [theirs.secret.as_str(), "x"] {
        let refused = exchanges(&world, stranger, &[]).await;
        assert_eq!((refused.status, &refused.text), (unknown.status, &unknown.text));
    }
    assert_eq!(exchanges(&world, &own.secret, &[]).await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_token_dies_with_the_key(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let verifier = Verifier::discover(&world.server.issuer)
        .audience(&world.api.audience)
        .credential(world.credential.clone())
        .build()
        .await
        .unwrap();
    let token_for = async |secret: &str| {
        let got = exchanges(&world, secret, &[]).await;
        got.member("access_token").to_owned()
    };
    let key = world.api_key(&["read:tenants"]).await;
    let token = token_for(&key.secret).await;
    let header = format!("Bearer {token}");
    let context = RequestContext::default();
    let script = verifier.verify(Some(&header), &context).await.unwrap();
    assert_eq!((script.subject(), script.api_key()), (&*key.id, Some(&*key.id)));
    assert_eq!(script.owner(), Some(&*world.owner.id(&world.server).await.to_string()));
    assert!(is_active(&world, &token).await);
    admin.deletes(&format!("/v1/api-keys/{}", key.id)).await;
    assert!(!is_active(&world, &token).await);
    eventually(async || verifier.verify(Some(&header), &context).await.is_err()).await;

    // A member who may do less takes the tokens of their keys along.
    let bob = world.member("bob@example.com", Role::Owner).await;
    let bobs = world.api_key_of(&bob, Role::Owner, &["write:tenants"], None).await;
    world.server.passes(Duration::from_secs(5));
    let token = token_for(&bobs.secret).await;
    assert!(is_active(&world, &token).await);
    let demoted = format!("/v1/members/{}", bob.id(&world.server).await);
    assert_eq!(admin.patches(&demoted, &json!({ "role": "viewer" })).await.status, StatusCode::OK);
    assert!(!is_active(&world, &token).await);
    world.server.passes(Duration::from_secs(5));
    let token = token_for(&bobs.secret).await;
    let told = introspect(&world.server, &world.credential, &token).await;
    assert_eq!(told.json["scope"], "read:tenants");

    // With the one secret that was exchanged, and with an edit that takes something away.
    let rotated = world.api_key(&["read:tenants", "read:users"]).await;
    let older = token_for(&rotated.secret).await;
    let path = format!("/v1/api-keys/{}", rotated.id);
    let newer = admin.posts(&format!("{path}/rotate"), &json!({})).await;
    let newer = token_for(newer.member("secret")).await;
    assert!(is_active(&world, &older).await, "its grace is a day");
    let newest = admin.posts(&format!("{path}/rotate"), &json!({ "grace_seconds": 0 })).await;
    assert!(!is_active(&world, &older).await && !is_active(&world, &newer).await);
    world.server.passes(Duration::from_secs(5));
    let newest = token_for(newest.member("secret")).await;
    assert!(is_active(&world, &newest).await);
    let edited = admin.patches(&path, &json!({ "scopes": ["read:users"] })).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    assert!(!is_active(&world, &newest).await);

    // And it lives no longer than the key.
    let end = world.server.app.clock.now() + Duration::from_secs(60);
    let brief = world.api_key_of(&world.owner, Role::Owner, &["read:tenants"], Some(end)).await;
    assert_eq!(exchanges(&world, &brief.secret, &[]).await.json["expires_in"], 60);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_token_works_from_the_networks_of_the_key_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let bound_to = async |network: &str| {
        let wanted = json!({ "name": "ci", "scopes": ["read:tenants", "read:projects"], "allowed_ips": [network] });
        admin.posts("/v1/api-keys", &wanted).await.member("secret").to_owned()
    };
    let elsewhere = bound_to("192.0.2.0/24").await;
    assert_eq!(exchanges(&world, &elsewhere, &[]).await.refusal(), "400 invalid_request");
    let here = bound_to("127.0.0.0/8").await;
    let token = exchanges(&world, &here, &[]).await.member("access_token").to_owned();
    let verifier = Verifier::discover(&world.server.issuer)
        .audience(&world.api.audience)
        .credential(world.credential.clone())
        .build()
        .await
        .unwrap();
    let from = async |address: Option<&str>| {
        let client_address = address.map(|text| text.parse().unwrap());
        let context = RequestContext { client_address, ..RequestContext::default() };
        verifier.verify(Some(&format!("Bearer {token}")), &context).await.is_ok()
    };
    assert!(from(Some("127.0.0.1")).await);
    assert!(!from(Some("192.0.2.7")).await);
    assert!(!from(None).await);

    // The management API takes such tokens too, for the key's own sake.
    let issuer = world.server.issuer.as_str();
    let got = exchanges(&world, &here, &[("resource", issuer)]).await;
    let script = Caller::with(&world.server, got.member("access_token"));
    assert_eq!(script.gets("/v1/projects").await.status, StatusCode::OK);
    assert_eq!(script.gets("/v1/clients").await.status, StatusCode::FORBIDDEN);
}

//! The main job, end to end: an app gets tokens, a script has a key, an API accepts both, and revoking stops each.

use portcullis_verifier::{Rejection, RequestContext, Verifier};
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::claims;
use crate::harness::world::AUDIENCE;
use crate::harness::{Database, World};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_accepts_a_token_and_a_key_until_each_is_revoked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let token = tokens.member("access_token");
    assert_eq!(claims(token)["org"], world.organization.to_string());
    let key = world.api_key(&["write:tenants"]).await;

    let verifier = Verifier::discover(&world.server.issuer)
        .audience(AUDIENCE)
        .credential(world.credential.as_str())
        .build()
        .await
        .unwrap();
    let asks = async |credential: &str| {
        verifier.verify(Some(&format!("Bearer {credential}")), &RequestContext::default()).await
    };
    let caller = asks(token).await.unwrap();
    assert!(caller.require("read:tenants").is_ok() && caller.require("write:tenants").is_err());
    let caller = asks(&key.secret).await.unwrap();
    assert!(caller.require("write:tenants/acme").is_ok() && caller.require("read:users").is_err());
    assert_eq!(caller.api_key(), Some(key.id.as_str()));

    assert_eq!(app.revokes(token).await.status, StatusCode::OK);
    eventually(async || matches!(asks(token).await, Err(Rejection::InvalidToken(_)))).await;
    assert!(asks(&key.secret).await.is_ok(), "the key has nothing to do with the token");

    let admin = world.api_key(&["write:api-keys"]).await;
    let revoke = app
        .http
        .delete(world.server.url(&format!("/v1/api-keys/{}", key.id)))
        .bearer_auth(&admin.secret);
    assert_eq!(revoke.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    eventually(async || matches!(asks(&key.secret).await, Err(Rejection::InvalidToken(_)))).await;
}

/// Asks until it is so, for ten seconds at most.
pub async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), asking).await.unwrap();
}

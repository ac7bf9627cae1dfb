//! What somebody may do now bounds what they have made and allowed, also in an API that asks nobody: the log brings it.

use std::time::Duration;

use portcullis::tenancy::Role;
use portcullis_verifier::{RequestContext, Verifier};
use rstest::rstest;
use serde_json::json;

use crate::harness::world::AUDIENCE;
use crate::harness::{Caller, Database, World, eventually};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_sees_a_demotion_without_asking_for_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let bob = world.member("bob@example.com", Role::Member).await;
    let key = world.api_key_of(&bob, Role::Member, &["write:tenants"], None).await;
    let app = world.confidential_app().await;
    bob.logs_in().await;
    let tokens = app.redeems(&bob.answers(&app.request("write:tenants")).await).await;
    let others = world.api_key(&["write:tenants"]).await;
    let verifier = Verifier::discover(&world.server.issuer)
        .audience(AUDIENCE)
        .credential(world.credential.as_str())
        .build()
        .await
        .unwrap();
    let may = async |credential: &str, scope: &str| {
        let header = format!("Bearer {credential}");
        let caller = verifier.verify(Some(&header), &RequestContext::default()).await;
        caller.is_ok_and(|caller| caller.require(scope).is_ok())
    };
    let token = tokens.member("access_token");
    for credential in [&key.secret, token, &others.secret] {
        assert!(may(credential, "write:tenants").await, "it is known from here on");
    }

    let path = format!("/v1/members/{}", bob.id(&world.server).await);
    let demoted = admin.patches(&path, &json!({ "role": "viewer" })).await;
    assert_eq!(demoted.status, 200, "{demoted:?}");
    eventually(async || !may(&key.secret, "write:tenants").await).await;
    assert!(may(&key.secret, "read:tenants").await, "what is left of it");
    eventually(async || !may(token, "write:tenants").await).await;
    assert!(!may(token, "read:tenants").await, "the token says more than is true");
    assert!(may(&others.secret, "write:tenants").await, "a sibling lives on");
    world.server.passes(Duration::from_secs(3));
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refreshed.member("scope"), "read:tenants");
    let token = refreshed.member("access_token");
    assert!(may(token, "read:tenants").await && !may(token, "write:tenants").await);

    // So it is when it is the role that changes.
    let role = json!({ "name": "Keeper", "scopes": ["write:tenants"] });
    let role = admin.posts("/v1/roles", &role).await.member("id").to_owned();
    admin.patches(&path, &json!({ "role": role })).await;
    eventually(async || may(&key.secret, "write:tenants").await).await;
    let narrowed =
        admin.patches(&format!("/v1/roles/{role}"), &json!({ "scopes": ["read:tenants"] })).await;
    assert_eq!(narrowed.status, 200, "{narrowed:?}");
    eventually(async || !may(&key.secret, "write:tenants").await).await;
    assert!(may(&key.secret, "read:tenants").await);
}

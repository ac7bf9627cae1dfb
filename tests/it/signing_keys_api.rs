//! `/v1/signing-keys`: seen and rotated by the organization that runs the installation, and by nobody else.

use std::time::Duration;

use portcullis::janitor;
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::http;
use crate::harness::{Answer, Database, World};

const KEYS: &str = "/v1/signing-keys";

async fn calls(world: &World, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    let mut request = http().request(method, world.server.url(path)).bearer_auth(key);
    if !body.is_null() {
        request = request.json(body);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn gets(world: &World, key: &str, path: &str) -> Answer {
    calls(world, key, Method::GET, path, &Value::Null).await
}

async fn rotates(world: &World, key: &str, algorithm: &str) -> Answer {
    let body = json!({ "algorithm": algorithm });
    calls(world, key, Method::POST, &format!("{KEYS}/rotate"), &body).await
}

/// The ids and states of the keys, newest first.
fn states(list: &Answer) -> Vec<(String, String)> {
    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let items = list.json["items"].as_array().unwrap();
    items.iter().map(|key| (text(key, "id"), text(key, "state"))).collect()
}

async fn published(world: &World) -> Vec<String> {
    let jwks = Answer::of(http().get(world.server.url("/oauth/jwks")).send().await.unwrap()).await;
    let keys = jwks.json["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_answers_with_the_keys_that_changed_and_is_in_force_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["write:signing-keys"]).await.secret;
    let before = states(&gets(&world, &key, KEYS).await);
    assert_eq!(before.len(), 2, "one that signs and one to come");
    let of = |state: &str| before.iter().find(|it| it.1 == state).unwrap().0.clone();
    let (active, upcoming) = (of("active"), of("upcoming"));

    world.server.passes(Duration::from_secs(5));
    let rotated = rotates(&world, &key, "ES256").await;
    assert_eq!(rotated.status, StatusCode::OK, "{rotated:?}");
    let changed = &rotated.json;
    assert_eq!(
        (&changed["retiring"]["id"], &changed["active"]["id"]),
        (&json!(active), &json!(upcoming))
    );
    assert_eq!(changed["retiring"]["state"], "retiring");
    assert_eq!(changed["active"]["state"], "active");
    assert_eq!(changed["upcoming"]["state"], "upcoming");
    assert!(
        changed["retiring"]["retires_at"].is_string() && changed["active"]["retires_at"].is_null()
    );
    for name in ["retiring", "active", "upcoming"] {
        let kid = changed[name]["kid"].as_str().unwrap().to_owned();
        assert!(published(&world).await.contains(&kid), "{name} is published");
        let path = format!("{KEYS}/{}", changed[name]["id"].as_str().unwrap());
        assert_eq!(gets(&world, &key, &path).await.json, changed[name]);
        assert!(changed[name].get("public_jwk").is_none());
    }

    world.server.passes(Duration::from_secs(25 * 60 * 60));
    janitor::sweep(&world.server.app).await;
    let after = states(&gets(&world, &key, KEYS).await);
    assert!(after.contains(&(active, "retired".to_owned())), "{after:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_without_a_key_gets_its_first(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["admin"]).await.secret;
    let first = rotates(&world, &key, "EdDSA").await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    assert_eq!(first.json["retiring"], Value::Null);
    assert_eq!(first.json["active"]["algorithm"], "EdDSA");
    let second = rotates(&world, &key, "EdDSA").await;
    assert_eq!(second.json["retiring"]["id"], first.json["active"]["id"]);
    assert_eq!(second.json["active"]["id"], first.json["upcoming"]["id"]);

    let page = gets(&world, &key, &format!("{KEYS}?limit=2")).await;
    assert_eq!(states(&page).len(), 2);
    let next = page.member("next_cursor");
    let rest = gets(&world, &key, &format!("{KEYS}?limit=100&cursor={next}")).await;
    assert_eq!(states(&rest).len(), 3, "{rest:?}");
    assert_eq!(rest.json["next_cursor"], Value::Null);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_run_the_installation_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let key = world.api_key_in(elsewhere, &world.owner, Role::Owner, &["admin"], None).await;
    assert_eq!(gets(&world, &key.secret, KEYS).await.status, StatusCode::FORBIDDEN);
    assert_eq!(rotates(&world, &key.secret, "ES256").await.status, StatusCode::FORBIDDEN);
    let reader = world.api_key(&["read:signing-keys"]).await.secret;
    assert_eq!(rotates(&world, &reader, "ES256").await.status, StatusCode::FORBIDDEN);

    let admin = world.api_key(&["admin"]).await.secret;
    for wrong in [json!({}), json!({ "algorithm": "HS256" }), json!({ "algorithm": null })] {
        let path = format!("{KEYS}/rotate");
        let answer = calls(&world, &admin, Method::POST, &path, &wrong).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {answer:?}");
        assert_eq!(answer.json["errors"][0]["field"], "algorithm", "{answer:?}");
    }
    let nothing = gets(&world, &admin, &format!("{KEYS}/sig_01h455vb4pex5vsknk084sn02q")).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_rotation_publishes_more_keys_than_a_resource_server_takes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["write:signing-keys"]).await.secret;
    let mut rotations = 0;
    let refused = loop {
        let answer = rotates(&world, &key, "EdDSA").await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        rotations += 1;
    };
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert!((20..40).contains(&rotations), "{rotations}");
    // Of an algorithm without a key there is still the first, and the signer reads them all.
    assert_eq!(rotates(&world, &key, "RS256").await.status, StatusCode::OK);
    world.server.app.signer.reload(&world.server.app.db).await.unwrap();
    assert!(published(&world).await.len() <= 64);

    world.server.passes(Duration::from_secs(25 * 60 * 60));
    janitor::sweep(&world.server.app).await;
    assert_eq!(rotates(&world, &key, "EdDSA").await.status, StatusCode::OK);
}

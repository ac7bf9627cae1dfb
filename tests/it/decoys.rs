//! Decoys: known to few, good for nothing, and loud.

use std::time::{Duration, Instant};

use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::json;

use crate::alerts::{events, raised, world_with};
use crate::harness::actors::introspect;
use crate::harness::caller::ids;
use crate::harness::{Answer, Caller, Database, Hook, Mailbox, World};

const KEYS: &str = "/v1/api-keys";

/// A decoy of the owner's: its id and its secret.
async fn decoy(world: &World) -> (String, String) {
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let wanted = json!({ "name": "backup", "scopes": ["admin"], "is_decoy": true });
    let made = admin.posts(KEYS, &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.json["is_decoy"], true);
    (made.member("id").to_owned(), made.member("secret").to_owned())
}

/// A key of the right form that was never made.
fn unknown_key() -> String {
    use secrecy::ExposeSecret as _;
    let prefix = "pc_live".parse().unwrap();
    portcullis_verifier::key::generate(&prefix).unwrap().expose_secret().to_owned()
}

/// What of an answer can tell two of them apart.
fn told(answer: &Answer) -> (StatusCode, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    // What is left of the caller's own quota is another with every call.
    headers.retain(|(name, _)| !name.starts_with("ratelimit"));
    headers.sort();
    (answer.status, headers, answer.text.clone())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_right_sees_makes_or_ends_a_decoy(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (id, _) = decoy(&world).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let viewers = [
        world.api_key(&["read:api-keys", "write:api-keys", "admin:api-keys"]).await.secret,
        world.api_key(&["read", "write"]).await.secret,
        world.api_key_of(&bob, Role::Member, &["write"], None).await.secret,
    ];
    let unknown = "key_01h455vb4pex5vsknk084sn02q";
    for secret in &viewers {
        let viewer = Caller::with(&world.server, secret);
        for query in ["", "?status=active", "?name=backup", "?limit=1"] {
            let listed = viewer.gets(&format!("{KEYS}{query}")).await;
            assert!(!listed.text.contains(&id), "{query}: {listed:?}");
            assert!(!listed.text.contains("\"is_decoy\":true"), "{query}: {listed:?}");
        }
        for (method, path, body) in [
            (Method::GET, "", json!(null)),
            (Method::DELETE, "", json!(null)),
            (Method::POST, "/rotate", json!({})),
            (Method::POST, "/revoke", json!({})),
            (Method::PATCH, "", json!({ "name": "x" })),
        ] {
            let at = |id: &str| format!("{KEYS}/{id}{path}");
            let refused = viewer.calls(method.clone(), &at(&id), &body).await;
            let nothing = viewer.calls(method.clone(), &at(unknown), &body).await;
            assert_eq!(refused.status, StatusCode::NOT_FOUND, "{method} {path}: {refused:?}");
            assert_eq!(told(&refused), told(&nothing), "{method} {path}");
        }
        let many = json!({ "created_by": world.owner.id(&world.server).await, "dry_run": true });
        let many = viewer.posts("/v1/api-keys:revoke", &many).await;
        assert!(many.status == StatusCode::OK && !many.text.contains(&id), "{many:?}");
        let wanted = json!({ "name": "x", "scopes": ["read:tenants"], "is_decoy": true });
        let refused = viewer.posts(KEYS, &wanted).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        assert!(refused.header("www-authenticate").contains("admin:decoys"), "{refused:?}");
    }
    let handed = Caller::with(&world.server, &viewers[0]);
    let owner = json!({ "owner": world.organization });
    let refused = handed.posts(&format!("{KEYS}/{id}/hand-over"), &owner).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");

    let watcher = world.api_key(&["read:api-keys", "write:api-keys", "admin:decoys"]).await;
    let watcher = Caller::with(&world.server, &watcher.secret);
    assert!(ids(&watcher.gets(KEYS).await, "id").contains(&id.as_str()));
    let read = watcher.gets(&format!("{KEYS}/{id}")).await;
    assert_eq!((read.status, &read.json["is_decoy"]), (StatusCode::OK, &json!(true)));
    let others = watcher.gets(KEYS).await;
    assert_eq!(others.text.matches("\"is_decoy\":true").count(), 1, "{others:?}");
    assert_eq!(watcher.deletes(&format!("{KEYS}/{id}")).await.status, StatusCode::NO_CONTENT);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_a_decoy_rings_within_two_seconds_and_its_user_learns_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let (mut mailbox, mut hook) = (Mailbox::open().await, Hook::open().await);
    let Some(world) = world_with(database, Some(&mailbox), Some(&hook)).await else { return };
    let (id, secret) = decoy(&world).await;
    let unknown = Caller::with(&world.server, &unknown_key()).gets(KEYS).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);

    let used = Instant::now();
    let refused = Caller::with(&world.server, &secret).gets(KEYS).await;
    assert_eq!(told(&refused), told(&unknown), "nothing tells a decoy from no key at all");
    assert_eq!(events(&world, &id).await, ["api_key.decoy_used"], "before the answer");
    let (mail, received) = tokio::join!(mailbox.next(), hook.next());
    assert!(used.elapsed() < Duration::from_secs(2), "{:?}", used.elapsed());
    assert_eq!(mail.to, ["ada@example.com"]);
    assert!(mail.header("subject").contains("backup"), "{mail:?}");
    assert!(mail.text.contains(&id) && mail.text.contains("127.0.0.1"), "{}", mail.text);
    assert!(!mail.text.contains(&secret));
    let body = received.json();
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("api_key.decoy_used"), &json!(id)));
    assert_eq!(body["data"]["detail"]["address"], "127.0.0.1");
    assert!(!received.body.contains(&secret));

    // Where else it is asked about it is unknown too.
    let asked = introspect(&world.server, &world.credential, &secret).await;
    let stranger = introspect(&world.server, &world.credential, &unknown_key()).await;
    assert_eq!(told(&asked), told(&stranger));
    assert_eq!(asked.text, "{\"active\":false}");
    assert_eq!(raised(&world, "api_key.decoy_used").await, 2, "a mail and a post, and no more");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_trying_is_told_of_once_an_hour(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (id, secret) = decoy(&world).await;
    let tries = async || {
        let asked = introspect(&world.server, &world.credential, &secret).await;
        assert_eq!(asked.text, "{\"active\":false}");
        events(&world, &id).await.len()
    };
    let minute = Duration::from_secs(60);
    for (passes, told) in [(Duration::ZERO, 1), (minute * 30, 1), (minute * 29, 1), (minute, 2)] {
        world.server.passes(passes);
        assert_eq!(tries().await, told);
    }
    // Once it is revoked it watches no more.
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    admin.deletes(&format!("{KEYS}/{id}")).await;
    world.server.passes(minute * 60);
    let before = events(&world, &id).await.len();
    assert_eq!(tries().await, before);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_first_uses_at_once_one_rings(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (id, secret) = decoy(&world).await;
    let uses = (0..16).map(|_| introspect(&world.server, &world.credential, &secret));
    for asked in futures::future::join_all(uses).await {
        assert_eq!(asked.text, "{\"active\":false}");
    }
    assert_eq!(events(&world, &id).await, ["api_key.decoy_used"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_a_decoy_is_not_used(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (id, _) = decoy(&world).await;
    world.server.passes(Duration::from_secs(200 * 24 * 60 * 60));
    portcullis::janitor::sweep(&world.server.app).await;
    assert!(events(&world, &id).await.is_empty());
}

//! Keys of another system: whoever holds one goes on using it, and every row that is wrong is named.

use std::time::{Duration, Instant};

use futures::future::join_all;
use portcullis::config::Settings;
use portcullis::tenancy::Role;
use portcullis_verifier::key::{self, Prefix};
use portcullis_verifier::{RequestContext, Verifier};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::actors::{http, introspect};
use crate::harness::caller::wrong_fields;
use crate::harness::{Answer, Caller, Database, Server, World, eventually};

const IMPORT: &str = "/v1/api-keys:import";
const KEYS: &str = "/v1/api-keys";

async fn world(database: Database) -> Option<World> {
    let with_prefix = |settings: &mut Settings| {
        settings.api_keys.imported_prefixes =
            vec!["sk_old_".to_owned(), "zz-".to_owned(), "SG.".to_owned()];
    };
    let server = Server::start_with(database, with_prefix).await?;
    Some(World::around(server).await)
}

async fn admin(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// A secret that begins with `sk_old_`, and its hash.
fn secret() -> (String, String) {
    let secret = key::generate(&"sk_old".parse::<Prefix>().unwrap()).unwrap();
    let secret = secret.expose_secret().to_owned();
    let hash = hex(&key::digest(&secret));
    (secret, hash)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn row(hash: &str) -> Value {
    json!({ "sha256": hash, "name": "imported", "scopes": ["read:tenants"] })
}

fn rows(keys: &[Value]) -> Value {
    json!({ "prefix": "sk_old_", "keys": keys })
}

async fn count(world: &World) -> u64 {
    entity::api_key::Entity::find().count(world.server.app.db.reader()).await.unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_an_imported_key_goes_on_using_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let bob = world.member("bob@example.com", Role::Member).await.id(&world.server).await;
    let project = admin.posts("/v1/projects", &json!({ "name": "p" })).await;
    let ((first, hash), (second, other), (_, third)) = (secret(), secret(), secret());
    let wanted = rows(&[
        json!({
            "sha256": hash.to_uppercase(), "name": " ci ", "description": "d", "labels": { "a": "b" },
            "scopes": ["write:tenants", "read:tenants", "read:users"], "project": project.json["id"],
            "allowed_ips": ["192.0.2.0/24"], "environment": "test", "requests_per_minute": 7,
            "expires_at": "2999-01-01T00:00:00Z", "created_at": "2020-02-02T02:02:02Z",
            "start": &first[..12], "end": &first[first.len() - 4..], "owner": bob.to_string(),
        }),
        row(&other),
        json!({
            "sha256": third, "name": "x", "scopes": ["read"], "owner": world.organization.to_string(),
        }),
    ]);
    let imported = admin.posts(IMPORT, &wanted).await;
    assert_eq!(imported.status, StatusCode::CREATED, "{imported:?}");
    assert_eq!(imported.json["imported"], 3);
    let ids: Vec<&str> =
        imported.json["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let key = admin.gets(&format!("{KEYS}/{}", ids[0])).await.json;
    let owner = world.owner.id(&world.server).await.to_string();
    let expected = json!({
        "id": ids[0], "organization": world.organization.to_string(), "project": project.json["id"],
        "name": "ci", "description": "d", "labels": { "a": "b" },
        "scopes": ["read:users", "write:tenants"], "allowed_ips": ["192.0.2.0/24"],
        "environment": "test", "brand": null, "requests_per_minute": 7, "status": "active",
        "hint": format!("{}…{}", &first[..12], &first[first.len() - 4..]), "created_by": owner,
        "owner": bob.to_string(), "created_at": "2020-02-02T02:02:02Z",
        "expires_at": "2999-01-01T00:00:00Z", "revoked_at": null, "revoked_reason": null,
        "last_used_at": null, "last_used_from": null, "rotating_until": null, "older_secret": null,
        "version": 1, "is_decoy": false,
    });
    assert_eq!(key, expected);
    let plain = admin.gets(&format!("{KEYS}/{}", ids[1])).await.json;
    assert_eq!((&plain["hint"], &plain["owner"]), (&json!("sk_old_…"), &json!(owner)));
    let now = world.server.app.clock.now().to_string();
    assert_eq!((&plain["created_at"], &plain["expires_at"]), (&json!(now), &Value::Null));
    let of_all = admin.gets(&format!("{KEYS}/{}", ids[2])).await.json;
    assert_eq!(of_all["owner"], world.organization.to_string());

    let told = introspect(&world.server, &world.credential, &second).await;
    assert_eq!((&told.json["active"], &told.json["api_key"]), (&json!(true), &json!(ids[1])));
    // It is a key like any other: what it gets next is a secret of ours, and the old one ends.
    let rotated =
        admin.posts(&format!("{KEYS}/{}/rotate", ids[1]), &json!({ "grace_seconds": 0 })).await;
    assert!(rotated.member("secret").starts_with("pc_live_"), "{rotated:?}");
    let told = introspect(&world.server, &world.credential, &second).await;
    assert_eq!(told.json["active"], false, "{told:?}");
    let told = introspect(&world.server, &world.credential, rotated.member("secret")).await;
    assert_eq!(told.json["api_key"], ids[1]);
    for id in &ids {
        let events = format!("/v1/audit-events?target={id}&action=api_key.imported");
        assert_eq!(admin.gets(&events).await.json["items"].as_array().unwrap().len(), 1);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_row_is_named_and_none_is_imported(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let there = world.api_key_in(elsewhere, &world.owner, Role::Owner, &["admin"], None).await;
    let there = Caller::with(&world.server, &there.secret);
    let foreign = there.posts("/v1/projects", &json!({ "name": "p" })).await;
    let stranger = world.stranger("eve@example.com").await.id(&world.server).await;
    let before = count(&world).await;
    let with = |member: &str, value: Value| {
        let mut row = row(&secret().1);
        row[member] = value;
        row
    };
    let future = world.server.app.clock.now() + Duration::from_secs(1);
    for (member, value, field) in [
        ("sha256", json!("ab"), "sha256"),
        ("sha256", json!("g".repeat(64)), "sha256"),
        ("name", json!(""), "name"),
        ("description", json!("\u{0}"), "description"),
        ("labels", json!({ "": "x" }), "labels"),
        ("scopes", json!([]), "scopes"),
        ("scopes", json!(["read:tenants", "read:nothing"]), "scopes[1]"),
        ("scopes", json!(["Read"]), "scopes[0]"),
        ("project", foreign.json["id"].clone(), "project"),
        ("allowed_ips", json!(["10.0.0.1/8"]), "allowed_ips[0]"),
        ("environment", json!("moon"), "environment"),
        ("requests_per_minute", json!(0), "requests_per_minute"),
        ("expires_at", json!("2001-01-01T00:00:00Z"), "expires_at"),
        ("created_at", json!(future), "created_at"),
        ("created_at", json!("1960-01-01T00:00:00Z"), "created_at"),
        ("start", json!("sk_old_123456"), "start"),
        ("start", json!("pk_"), "start"),
        ("start", json!("sk_old_ü"), "start"),
        ("end", json!("12345"), "end"),
        ("owner", json!(stranger), "owner"),
        ("owner", json!(elsewhere), "owner"),
        ("owner", json!("usr_01h455vb4pex5vsknk084sn02q"), "owner"),
    ] {
        let wanted = rows(&[row(&secret().1), with(member, value.clone()), row(&secret().1)]);
        let refused = admin.posts(IMPORT, &wanted).await;
        assert_eq!(wrong_fields(&refused), [format!("keys[1].{field}")], "{member} {value}");
    }
    for (member, value, field) in [
        ("sha256", json!(5), "keys[1].sha256"),
        ("project", json!("p"), "keys[1].project"),
        ("secret", json!("x"), "secret"),
    ] {
        let wanted = rows(&[row(&secret().1), with(member, value)]);
        assert_eq!(wrong_fields(&admin.posts(IMPORT, &wanted).await), [field]);
    }
    for (wrong, field) in [
        (rows(&[]), "keys"),
        (json!({ "prefix": "sk_old_" }), "keys"),
        (json!({ "keys": [row(&secret().1)] }), "prefix"),
        (json!({ "prefix": "sk", "keys": [row(&secret().1)] }), "prefix"),
        (json!({ "prefix": "sk_old_ü", "keys": [row(&secret().1)] }), "prefix"),
        (json!({ "prefix": "sk_new_", "keys": [row(&secret().1)] }), "prefix"),
    ] {
        let refused = admin.posts(IMPORT, &wrong).await;
        assert_eq!(wrong_fields(&refused), [field], "{wrong}");
        let is_unlisted = wrong["prefix"] == "sk_new_";
        assert_eq!(refused.text.contains("api_keys.imported_prefixes"), is_unlisted, "{refused:?}");
    }
    // All at once, and not without end.
    let all: Vec<Value> =
        (0..60).map(|_| json!({ "sha256": "x", "name": "", "scopes": ["read:tenants"] })).collect();
    let refused = admin.posts(IMPORT, &rows(&all)).await;
    let fields = wrong_fields(&refused);
    assert_eq!((fields.len(), fields[0], fields[99]), (101, "keys[0].sha256", "keys[49].name"));
    assert_eq!(refused.json["errors"][100], json!({ "field": "keys", "message": "and 20 more" }));
    assert_eq!(count(&world).await, before);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_is_known_is_taken_whoever_has_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let there = world.api_key_in(elsewhere, &world.owner, Role::Owner, &["admin"], None).await;
    let own = world.api_key(&["read:tenants"]).await;
    let revoked = world.api_key(&["read:tenants"]).await;
    admin.deletes(&format!("{KEYS}/{}", revoked.id)).await;
    let before = count(&world).await;
    let hash = |secret: &str| hex(&key::digest(secret));
    let twice = secret().1;
    let wanted = rows(&[
        row(&hash(&own.secret)),
        row(&hash(&there.secret)),
        row(&twice),
        row(&hash(&revoked.secret)),
        row(&twice.to_uppercase()),
    ]);
    let refused = admin.posts(IMPORT, &wanted).await;
    let fields = ["keys[0].sha256", "keys[1].sha256", "keys[3].sha256", "keys[4].sha256"];
    assert_eq!(wrong_fields(&refused), fields);
    let messages = refused.json["errors"].as_array().unwrap().iter();
    assert!(messages.clone().all(|error| error["message"] == "is taken"), "{refused:?}");
    assert!(!refused.text.contains(&there.id) && !refused.text.contains(&own.id));
    assert_eq!(count(&world).await, before);

    // Of several who bring the same keys at once, in whatever order, one has them.
    let mut hashes: Vec<String> = (0..40).map(|_| secret().1).collect();
    let calls = (0..6).map(|at| {
        hashes.rotate_left(at * 7);
        if at % 2 == 0 {
            hashes.reverse();
        }
        let body = rows(&hashes.iter().map(|hash| row(hash)).collect::<Vec<_>>());
        let (admin, there) = (&admin, Caller::with(&world.server, &there.secret));
        async move { if at % 2 == 0 { admin } else { &there }.posts(IMPORT, &body).await }
    });
    let answers = join_all(calls).await;
    let (won, lost): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(won.len(), 1, "{answers:?}");
    for refused in lost {
        assert_eq!(wrong_fields(refused).len(), 40, "{refused:?}");
    }
    assert_eq!(count(&world).await, before + 40);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_of_the_whole_organization_imports_and_within_their_reach(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let wide = admin(&world).await;
    let wanted = rows(&[row(&secret().1)]);
    let bob = world.member("bob@example.com", Role::Member).await;
    let member = world.api_key_of(&bob, Role::Member, &["write"], None).await;
    let project = wide.posts("/v1/projects", &json!({ "name": "p" })).await;
    let confined = json!({ "name": "x", "scopes": ["admin"], "project": project.json["id"] });
    let confined = wide.posts(KEYS, &confined).await;
    let writer = world.api_key(&["write:api-keys", "read:tenants"]).await;
    for credential in [&member.secret, confined.member("secret"), &writer.secret] {
        let refused = Caller::with(&world.server, credential).posts(IMPORT, &wanted).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    }
    let narrow = world.api_key(&["admin:api-keys", "read:tenants"]).await;
    let narrow = Caller::with(&world.server, &narrow.secret);
    let mut more = row(&secret().1);
    more["scopes"] = json!(["read:tenants", "write:tenants"]);
    let refused = narrow.posts(IMPORT, &rows(&[more])).await;
    assert_eq!(wrong_fields(&refused), ["keys[0].scopes[1]"]);
    assert_eq!(narrow.posts(IMPORT, &wanted).await.status, StatusCode::CREATED);
    // No person, no owner.
    let app = world.management_app().await;
    let machine = app.acts_for_itself("admin").await;
    let machine = Caller::with(&world.server, machine.member("access_token"));
    let refused = machine.posts(IMPORT, &rows(&[row(&secret().1)])).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_sent_again_is_made_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let before = count(&world).await;
    let many: Vec<Value> = (0..300).map(|_| row(&secret().1)).collect();
    let wanted = rows(&many);
    assert!(wanted.to_string().len() < 64 * 1024);
    let first = admin.posts_once("once", IMPORT, &wanted).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let again = admin.posts_once("once", IMPORT, &wanted).await;
    assert_eq!((again.status, &again.json), (StatusCode::CREATED, &first.json));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(count(&world).await, before + 300);
    let other = admin.posts_once("once", IMPORT, &rows(&[row(&secret().1)])).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
}

/// Ten thousand in one call, each with what a real one has, and all of them revoked in one call.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_come_in_one_call_and_go_in_one_call(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let before = count(&world).await;
    let hash = |at: usize| hex(&key::digest(&format!("sk_old_{at}")));
    let full = |at: usize| {
        json!({
            "sha256": hash(at), "name": format!("Key {at}"), "description": "x".repeat(200),
            "labels": { "customer": format!("c{at}"), "moved": "yes" },
            "scopes": ["read:tenants", format!("write:tenants/c{at}")],
            "start": "sk_old_abcd1", "end": "wxyz", "created_at": "2020-02-02T02:02:02Z",
        })
    };
    let all: Vec<Value> = (0..10_000).map(full).collect();
    let body = rows(&all);
    let size = body.to_string().len();
    assert!(size > 4 * 1024 * 1024 && size < 8 * 1024 * 1024, "{size}");
    let began = Instant::now();
    let imported = admin.posts_once("large", IMPORT, &body).await;
    eprintln!("{database:?}: {size} bytes, imported in {:?}", began.elapsed());
    assert_eq!(
        (imported.status, &imported.json["imported"]),
        (StatusCode::CREATED, &json!(10_000))
    );
    assert_eq!(count(&world).await, before + 10_000);
    let again = admin.posts_once("large", IMPORT, &body).await;
    assert_eq!(again.json, imported.json);
    let began = Instant::now();
    let refused = admin.posts(IMPORT, &body).await;
    eprintln!("{database:?}: all refused as taken in {:?}", began.elapsed());
    assert_eq!(wrong_fields(&refused).len(), 101);
    let one_more = admin.posts(IMPORT, &rows(&[full(10_000)])).await;
    assert_eq!(one_more.status, StatusCode::CREATED, "{one_more:?}");

    let too_many: Vec<Value> = (0..10_001).map(|at| row(&hash(20_000 + at))).collect();
    assert_eq!(wrong_fields(&admin.posts(IMPORT, &rows(&too_many)).await), ["keys"]);
    let too_large = format!("{}{body}", " ".repeat(8 * 1024 * 1024 - size + 1));
    let request = admin.asks(Method::POST, IMPORT).header("content-type", "application/json");
    let refused = Answer::of(request.body(too_large).send().await.unwrap()).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE, "{refused:?}");
    assert!(refused.text.contains("8192 KiB"), "{refused:?}");

    let label = json!({ "label": { "name": "moved" }, "reason": "Moved on", "dry_run": true });
    let would = admin.posts("/v1/api-keys:revoke", &label).await;
    let expected = [json!(10_000), json!(true)];
    assert_eq!([&would.json["revoked"], &would.json["has_more"]], [&expected[0], &expected[1]]);
    let label = json!({ "label": { "name": "moved" }, "reason": "Moved on" });
    let began = Instant::now();
    let revoked = admin.posts("/v1/api-keys:revoke", &label).await;
    eprintln!("{database:?}: revoked in {:?}", began.elapsed());
    assert_eq!([&revoked.json["revoked"], &revoked.json["has_more"]], [&expected[0], &expected[1]]);
    assert_eq!(revoked.json["keys"].as_array().unwrap().len(), 100);
    assert_eq!(revoked.json["keys"], would.json["keys"], "the oldest first");
    let rest = admin.posts("/v1/api-keys:revoke", &label).await;
    assert_eq!([&rest.json["revoked"], &rest.json["has_more"]], [&json!(1), &json!(false)]);
    let log = entity::revocation::Entity::find()
        .filter(entity::revocation::Column::Kind.eq("revoked"))
        .filter(entity::revocation::Column::Subject.starts_with("key_"));
    assert_eq!(log.count(world.server.app.db.reader()).await.unwrap(), 10_001);
    let events = entity::audit_event::Entity::find()
        .filter(entity::audit_event::Column::Action.eq("api_key.revoked"));
    assert_eq!(events.count(world.server.app.db.reader()).await.unwrap(), 10_001);
}

/// Their checksum is not ours, if they have one; a resource server learns from the metadata which to ask about.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_of_whatever_form_works_everywhere(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let (plain, dotted) =
        ("zz-4f9d2c1b7e6a5038", "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc");
    let import = async |prefix: &str, text: &str| {
        let mut row = row(&hex(&key::digest(text)));
        row["scopes"] = json!(["read:tenants", "read:projects"]);
        let wanted = json!({ "prefix": prefix, "keys": [row] });
        assert_eq!(admin.posts(IMPORT, &wanted).await.status, StatusCode::CREATED);
    };
    import("zz-", plain).await;
    import("SG.", dotted).await;
    let verifier = Verifier::discover(&world.server.issuer)
        .audience(&world.api.audience)
        .credential(world.credential.clone())
        .build()
        .await
        .unwrap();
    let accepts = async |text: &str| {
        let header = format!("Bearer {text}");
        verifier.verify(Some(&header), &RequestContext::default()).await.is_ok()
    };
    for text in [plain, dotted] {
        assert!(accepts(text).await, "{text}");
        let told = introspect(&world.server, &world.credential, text).await;
        assert_eq!(told.json["active"], true, "{text}");
        let script = Caller::with(&world.server, text);
        assert_eq!(script.gets("/v1/projects").await.status, StatusCode::OK, "{text}");
        let wrong = format!("{}x", &text[..text.len() - 1]);
        assert!(!accepts(&wrong).await, "{wrong}");
        let script = Caller::with(&world.server, &wrong);
        assert_eq!(script.gets("/v1/projects").await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    // One that leaks is ended by whoever finds it.
    let found = json!({ "credentials": [plain] });
    let url = world.server.url("/v1/credentials:revoke");
    let told = Answer::of(http().post(url).json(&found).send().await.unwrap()).await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{told:?}");
    eventually(async || !accepts(plain).await).await;
    assert!(accepts(dotted).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_counts_as_unused_from_when_it_was_imported(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let admin = admin(&world).await;
    let (_, hash) = secret();
    let mut old = row(&hash);
    old["created_at"] = json!("2020-02-02T02:02:02Z");
    let imported = admin.posts(IMPORT, &rows(&[old])).await;
    let id = imported.json["ids"][0].as_str().unwrap();
    let app = &world.server.app;
    let told = async || {
        portcullis::janitor::sweep(app).await;
        let events =
            admin.gets(&format!("/v1/audit-events?target={id}&action=api_key.unused")).await;
        events.json["items"].as_array().unwrap().len()
    };
    assert_eq!(told().await, 0);
    world.server.passes(Duration::from_secs(91 * 24 * 60 * 60));
    assert_eq!(told().await, 1);
}

//! Keys and clients that are in nobody's memory, asked about by many at once: one statement answers all of them, and
//! each gets its own answer. So does the writing down of how keys were used.

use std::time::Duration;

use futures::future::join_all;
use portcullis::api_keys::Pace;
use portcullis::tenancy::Role;
use portcullis_verifier::key;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::harness::actors::{claims, introspect};
use crate::harness::caller::Caller;
use crate::harness::world::Key;
use crate::harness::{Answer, Database, World};

const VERIFY: &str = "/v1/api-keys/verify";

fn made_up() -> String {
    key::generate(&"pc_live".parse().unwrap()).unwrap().expose_secret().to_owned()
}

fn id_of(key: &Key) -> entity::ApiKeyId {
    key.id.parse().unwrap()
}

/// What the API is told of all these keys, asked about at the same moment.
async fn told_of(world: &World, keys: &[&str]) -> Vec<Answer> {
    // The API itself is in memory, so that the keys alone are looked up.
    introspect(&world.server, &world.credential, "x").await;
    let api = Caller::with(&world.server, &world.credential);
    let asked = keys.iter().map(|key| {
        let request = api.asks(Method::POST, VERIFY).json(&json!({ "key": key }));
        tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await })
    });
    join_all(asked.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_keys_gets_its_own_verdict(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let good = join_all((0..20).map(|_| world.api_key(&["read:tenants"]))).await;
    let expected: Vec<String> = good.iter().map(|key| key.id.clone()).collect();

    let revoked = world.api_key(&["read:tenants"]).await;
    let gone = admin.deletes(&format!("/v1/api-keys/{}", revoked.id)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{gone:?}");
    let viewer = world.member("viewer@example.com", Role::Viewer).await;
    let left = world.member("left@example.com", Role::Member).await;
    let keeper = world.member("keeper@example.com", Role::Member).await;
    let of = async |person, role| world.api_key_of(person, role, &["write:tenants"], None).await;
    let (narrowed, orphaned) = (of(&viewer, Role::Member).await, of(&left, Role::Member).await);
    let kept = of(&keeper, Role::Member).await;
    world.puts(&left, None).await;
    let role = json!({ "name": "Keeper", "scopes": ["read:tenants/eu"] });
    let role = admin.posts("/v1/roles", &role).await.member("id").to_owned();
    let path = format!("/v1/members/{}", keeper.id(&world.server).await);
    let moved = admin.patches(&path, &json!({ "role": role })).await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");

    let unknown: Vec<String> = (0..20).map(|_| made_up()).collect();
    let others: [&Key; 4] = [&revoked, &narrowed, &orphaned, &kept];
    let mut keys: Vec<&str> = others.iter().map(|key| key.secret.as_str()).collect();
    for (good, unknown) in good.iter().zip(&unknown) {
        keys.extend([good.secret.as_str(), unknown]);
    }
    let told = told_of(&world, &keys).await;
    let reason = |at: usize| told[at].json["reason"].clone();
    assert_eq!(reason(0), "revoked");
    assert_eq!(told[1].json["api_key"]["scopes"], json!(["read:tenants"]), "{:?}", told[1]);
    assert_eq!(reason(2), "missing_scope");
    assert_eq!(told[3].json["api_key"]["scopes"], json!(["read:tenants/eu"]), "{:?}", told[3]);
    for (at, id) in expected.iter().enumerate() {
        let (good, unknown) = (&told[4 + 2 * at].json, &told[5 + 2 * at].json);
        assert_eq!((&good["valid"], &good["api_key"]["id"]), (&json!(true), &json!(id)));
        assert_eq!((&unknown["valid"], &unknown["reason"]), (&json!(false), &json!("unknown")));
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_lets_nobody_in_and_is_not_remembered(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let keys = join_all((0..20).map(|_| world.api_key(&["read:tenants"]))).await;
    let keys: Vec<&str> = keys.iter().map(|key| key.secret.as_str()).collect();
    let app = &world.server.app;
    let renames = async |from: &str, to: &str| {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        app.db.writer().execute_unprepared(&statement).await.unwrap();
    };
    introspect(&world.server, &world.credential, "x").await;
    renames("api_key_secrets", "lost").await;
    for told in told_of(&world, &keys).await {
        assert_eq!(told.status, StatusCode::INTERNAL_SERVER_ERROR, "{told:?}");
    }
    renames("lost", "api_key_secrets").await;
    for told in told_of(&world, &keys).await {
        assert_eq!(told.json["valid"], true, "{told:?}");
    }
}

/// One key's damaged row is nobody else's trouble.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_an_error_of_its_own_key(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let keys = join_all((0..10).map(|_| world.api_key(&["read:tenants"]))).await;
    let damaged = entity::api_key::ActiveModel {
        id: sea_orm::Set(id_of(&keys[3])),
        scopes: sea_orm::Set("no scope!".to_owned()),
        ..Default::default()
    };
    let app = &world.server.app;
    sea_orm::ActiveModelTrait::update(damaged, app.db.writer()).await.unwrap();
    let keys: Vec<&str> = keys.iter().map(|key| key.secret.as_str()).collect();
    for (at, told) in told_of(&world, &keys).await.iter().enumerate() {
        let expected = if at == 3 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        assert_eq!(told.status, expected, "{told:?}");
        assert_eq!(told.json["valid"] == true, at != 3);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_clients_gets_its_own_tokens(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let (mut apps, mut other) = (Vec::new(), world.confidential_app().await);
    for _ in 0..12 {
        apps.push(world.confidential_app().await);
    }
    // One has the secret of another, and one is deleted.
    other.secret.clone_from(&apps[0].secret);
    let deleted = world.confidential_app().await;
    let gone = admin.deletes(&format!("/v1/clients/{}", deleted.id)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{gone:?}");
    let told = join_all(apps.iter().map(|app| app.acts_for_itself("read:tenants")));
    let refused = join_all([&other, &deleted].map(|app| app.acts_for_itself("read:tenants")));
    let (told, refused) = tokio::join!(told, refused);
    for (app, told) in apps.iter().zip(told) {
        assert_eq!(told.status, StatusCode::OK, "{told:?}");
        assert_eq!(claims(told.member("access_token"))["client_id"], app.id);
    }
    for refused in refused {
        assert_eq!(refused.json["error"], "invalid_client", "{refused:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_many_keys_is_written_down_each_with_its_own(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    use entity::{api_key, api_key_network, api_key_scope_use, api_key_secret};
    let Some(world) = World::on(database).await else { return };
    let app = &world.server.app;
    let api = Caller::with(&world.server, &world.credential);
    let keys = join_all((0..6).map(|_| world.api_key(&["read:tenants"]))).await;
    let uses = async |key: &Key, address: Option<String>, scope: Option<String>| {
        let asked = json!({ "key": key.secret, "client_address": address, "scope": scope });
        let told = api.posts(VERIFY, &asked).await;
        assert_eq!(told.json["valid"], true, "{told:?}");
    };
    for (at, key) in keys.iter().enumerate() {
        uses(key, Some(format!("10.{at}.0.1")), Some(format!("read:tenants/t{at}"))).await;
    }
    app.api_keys.write_uses(&app.db, Pace::AtOnce).await.unwrap();
    let minute = |at: entity::Timestamp| entity::Timestamp(at.0 - at.0 % 60_000);
    let first = minute(app.clock.now());
    world.server.passes(Duration::from_secs(60));
    // One from nobody knows where, one from elsewhere; of the others nothing more is heard.
    uses(&keys[0], None, Some("read:tenants/t0".to_owned())).await;
    uses(&keys[1], Some("10.77.0.1".to_owned()), None).await;
    app.api_keys.write_uses(&app.db, Pace::AtOnce).await.unwrap();
    let second = minute(app.clock.now());

    for (at, key) in keys.iter().enumerate() {
        let last = if at < 2 { second } else { first };
        let from = if at == 1 { "10.77.0.1".to_owned() } else { format!("10.{at}.0.1") };
        let row =
            api_key::Entity::find_by_id(id_of(key)).one(app.db.reader()).await.unwrap().unwrap();
        assert_eq!((row.last_used_at, row.last_used_from.as_ref()), (Some(last), Some(&from)));
        let secrets = api_key_secret::Column::ApiKeyId.eq(id_of(key));
        let secrets = api_key_secret::Entity::find().filter(secrets).all(app.db.reader()).await;
        let secret = secrets.unwrap().pop().unwrap();
        assert_eq!(
            (secret.last_used_at, secret.last_used_from.as_ref()),
            (Some(last), Some(&from))
        );
        let scopes = api_key_scope_use::Column::ApiKeyId.eq(id_of(key));
        let scopes = api_key_scope_use::Entity::find().filter(scopes).all(app.db.reader()).await;
        let scopes: Vec<_> =
            scopes.unwrap().into_iter().map(|row| (row.scope, row.last_used_at)).collect();
        let last = if at == 0 { second } else { first };
        assert_eq!(scopes, [(format!("read:tenants/t{at}"), last)]);
        let networks = api_key_network::Column::ApiKeyId.eq(id_of(key));
        let networks = api_key_network::Entity::find().filter(networks);
        let networks = networks.count(app.db.reader()).await.unwrap();
        assert_eq!(networks, if at == 1 { 2 } else { 1 });
        let events = entity::audit_event::Column::Target.eq(key.id.as_str());
        let events = entity::audit_event::Entity::find().filter(events);
        let events = events.filter(entity::audit_event::Column::Action.eq("api_key.new_network"));
        assert_eq!(events.count(app.db.reader()).await.unwrap(), u64::from(at == 1));
    }
}

/// A key that is asked for ever other scopes fills no table: those that are there are kept true, and no more are added.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_one_key_no_more_than_two_hundred_scopes_are_remembered(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    use entity::api_key_scope_use::{Column, Entity};
    let Some(world) = World::on(database).await else { return };
    let app = &world.server.app;
    let api = Caller::with(&world.server, &world.credential);
    let scopes = &["read:tenants"];
    let (key, other) = (world.api_key(scopes).await, world.api_key(scopes).await);
    let uses = async |key: &Key, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let asked = json!({ "key": key.secret, "scope": format!("read:tenants/t{number}") });
            assert_eq!(api.posts(VERIFY, &asked).await.json["valid"], true);
        }
        app.api_keys.write_uses(&app.db, Pace::AtOnce).await.unwrap();
    };
    for round in 0..5 {
        uses(&key, round * 45..(round + 1) * 45).await;
    }
    let all = async |key: &Key| {
        Entity::find().filter(Column::ApiKeyId.eq(id_of(key))).all(app.db.reader()).await.unwrap()
    };
    assert_eq!(all(&key).await.len(), 200);
    world.server.passes(Duration::from_secs(60));
    // One that is known beside one that is not; and another key, which is not kept from anything by this one.
    uses(&other, 0..2).await;
    uses(&key, 0..1).await;
    uses(&key, 900..901).await;
    let now = app.clock.now();
    let rows = all(&key).await;
    assert_eq!((rows.len(), all(&other).await.len()), (200, 2));
    let latest = rows.iter().filter(|row| now.since(row.last_used_at).as_secs() < 60);
    let latest: Vec<_> = latest.map(|row| row.scope.as_str()).collect();
    assert_eq!(latest, ["read:tenants/t0"]);
}

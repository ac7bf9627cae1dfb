//! Keys that are revoked: with a reason, and many at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use entity::{ApiKeyId, Timestamp};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::wrong_fields;
use crate::harness::{Answer, Caller, Database, World};

const KEYS: &str = "/v1/api-keys";
const MANY: &str = "/v1/api-keys:revoke";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn admin(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// A key with more than a name: its id.
async fn makes(caller: &Caller, more: Value) -> String {
    let mut wanted = json!({ "name": "x", "scopes": ["read:tenants"] });
    wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = caller.posts(KEYS, &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.member("id").to_owned()
}

async fn status(caller: &Caller, id: &str) -> String {
    caller.gets(&format!("{KEYS}/{id}")).await.member("status").to_owned()
}

/// The ids that an answer tells of, which must be as many as it says.
fn told(answer: &Answer) -> BTreeSet<String> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let ids = answer.json["keys"].as_array().unwrap().iter();
    let ids: BTreeSet<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(
        (&answer.json["revoked"], &answer.json["has_more"]),
        (&json!(ids.len()), &json!(false))
    );
    ids
}

fn set(ids: &[&String]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).clone()).collect()
}

async fn last_used(world: &World, key: &str, at: Timestamp) {
    let row = entity::api_key::ActiveModel {
        id: Set(key.parse().unwrap()),
        last_used_at: Set(Some(at)),
        ..Default::default()
    };
    row.update(world.server.app.db.writer()).await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_revoked_for_a_reason(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants"]).await;
    let there = format!("{KEYS}/{}/revoke", key.id);
    for wrong in [json!("x".repeat(501)), json!("a\nb"), json!("\u{0}"), json!(5)] {
        let refused = admin.posts(&there, &json!({ "reason": wrong })).await;
        assert_eq!(wrong_fields(&refused), ["reason"], "{wrong}");
    }
    assert_eq!(wrong_fields(&admin.posts(&there, &json!({ "why": "x" })).await), ["why"]);
    assert_eq!(status(&admin, &key.id).await, "active");

    let revoked =
        admin.posts(&there, &json!({ "reason": " It was in a public repository " })).await;
    assert_eq!(revoked.status, StatusCode::OK, "{revoked:?}");
    assert_eq!(revoked.member("status"), "revoked");
    assert_eq!(revoked.member("revoked_reason"), "It was in a public repository");
    let asked = introspect(&world.server, &world.credential, &key.secret).await;
    assert_eq!(asked.json, json!({ "active": false }));
    // There is no other reason later, and no way back.
    world.server.passes(DAY);
    let again = admin.posts(&there, &json!({ "reason": "Another" })).await;
    assert_eq!((again.status, &again.json), (StatusCode::OK, &revoked.json));
    assert_eq!(admin.deletes(&format!("{KEYS}/{}", key.id)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(admin.gets(&format!("{KEYS}/{}", key.id)).await.json, revoked.json);
    let events = format!("/v1/audit-events?target={}&action=api_key.revoked", key.id);
    let events = admin.gets(&events).await;
    let events = events.json["items"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["detail"], json!({ "reason": "It was in a public repository" }));

    // Nothing needs to be said.
    let silent = world.api_key(&["read:tenants"]).await;
    let revoked = admin.posts(&format!("{KEYS}/{}/revoke", silent.id), &json!({})).await;
    assert_eq!(
        (revoked.member("status"), &revoked.json["revoked_reason"]),
        ("revoked", &Value::Null)
    );
    // Of somebody else's there is nothing to be known.
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let foreign = world.api_key_in(elsewhere, &world.owner, Role::Owner, &["read"], None).await;
    let unknown =
        admin.posts(&format!("{KEYS}/key_01h455vb4pex5vsknk084sn02q/revoke"), &json!({})).await;
    let refused = admin.posts(&format!("{KEYS}/{}/revoke", foreign.id), &json!({})).await;
    assert_eq!((refused.status, &refused.text), (StatusCode::NOT_FOUND, &unknown.text));
    let alive = introspect(&world.server, &world.credential, &foreign.secret).await;
    assert_eq!(alive.json["active"], true, "{alive:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_revoked_by_who_made_them_where_they_belong_and_what_they_bear(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let bobs = world.api_key_of(&bob, Role::Member, &["write"], None).await;
    let of_bob = Caller::with(&world.server, &bobs.secret);
    let bob = bob.id(&world.server).await;
    let project = admin.posts("/v1/projects", &json!({ "name": "p" })).await;
    let project = project.member("id").to_owned();
    let team = |value: &str| json!({ "labels": { "team": value } });
    let in_project = makes(&admin, json!({ "project": project })).await;
    let bobs_in_project = makes(&of_bob, json!({ "project": project })).await;
    let billing = makes(&admin, team("billing")).await;
    let capital = makes(&admin, team("Billing")).await;
    let shipping = makes(&admin, team("shipping")).await;
    // Neither a value nor a longer name that looks like the label is it.
    let decoys = [
        makes(&admin, json!({ "labels": { "note": "\"team\":\"billing\"" } })).await,
        makes(&admin, json!({ "labels": { "x-team": "billing", "note": "team" } })).await,
        makes(&admin, team("billing2")).await,
        makes(&admin, json!({ "labels": { "billing": "team" } })).await,
    ];
    let dry = async |criteria: Value| {
        let mut wanted = criteria;
        wanted["dry_run"] = json!(true);
        told(&admin.posts(MANY, &wanted).await)
    };
    assert_eq!(dry(json!({ "project": project })).await, set(&[&in_project, &bobs_in_project]));
    assert_eq!(dry(json!({ "created_by": bob })).await, set(&[&bobs.id, &bobs_in_project]));
    let both = json!({ "created_by": bob, "project": project });
    assert_eq!(dry(both).await, set(&[&bobs_in_project]));
    let exact = json!({ "label": { "name": "team", "value": "billing" } });
    assert_eq!(dry(exact.clone()).await, set(&[&billing]));
    let any = json!({ "label": { "name": "team" } });
    assert_eq!(dry(any.clone()).await, set(&[&billing, &capital, &shipping, &decoys[2]]));
    assert_eq!(dry(json!({ "label": { "name": "tea" } })).await, set(&[]));
    assert_eq!(dry(json!({ "label": { "name": "team", "value": "" } })).await, set(&[]));
    let none = json!({ "label": { "name": "team", "value": "billing" }, "project": project });
    assert_eq!(dry(none).await, set(&[]));
    // It only said so.
    assert_eq!(status(&admin, &billing).await, "active");

    let mut wanted = any.clone();
    wanted["reason"] = json!("The teams are gone");
    let revoked = admin.posts(MANY, &wanted).await;
    assert_eq!(revoked.json["dry_run"], false);
    assert_eq!(told(&revoked), set(&[&billing, &capital, &shipping, &decoys[2]]));
    for id in [&billing, &capital, &shipping, &decoys[2]] {
        let key = admin.gets(&format!("{KEYS}/{id}")).await;
        assert_eq!(
            (key.member("status"), key.member("revoked_reason")),
            ("revoked", "The teams are gone")
        );
        let events = format!("/v1/audit-events?target={id}&action=api_key.revoked");
        let events = admin.gets(&events).await;
        let event = &events.json["items"][0];
        assert_eq!(event["detail"], json!({ "reason": "The teams are gone" }));
        let log = entity::revocation::Entity::find()
            .filter(entity::revocation::Column::Subject.eq(id.as_str()))
            .filter(entity::revocation::Column::Kind.eq("revoked"));
        assert!(log.one(world.server.app.db.reader()).await.unwrap().is_some(), "{id}");
    }
    assert_eq!(status(&admin, &decoys[0]).await, "active");
    assert_eq!(
        told(&admin.posts(MANY, &any).await),
        set(&[]),
        "what is revoked is not revoked again"
    );
    // From the answer on.
    told(&admin.posts(MANY, &json!({ "created_by": bob })).await);
    assert_eq!(of_bob.gets(KEYS).await.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_uses_are_revoked_once_they_were_here_for_as_long(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let with_prefix = |settings: &mut portcullis::config::Settings| {
        settings.api_keys.imported_prefixes = vec!["sk_".to_owned()];
    };
    let Some(server) = crate::harness::Server::start_with(database, with_prefix).await else {
        return;
    };
    let world = World::around(server).await;
    let old = world.api_key(&["admin"]).await;
    let used = world.api_key(&["read:tenants"]).await;
    world.server.passes(80 * DAY);
    let admin = admin(&world).await;
    // Made long ago elsewhere, it came here today: whether anybody uses it is not known yet.
    let import = json!({ "prefix": "sk_", "keys": [{
        "sha256": "ab".repeat(32), "name": "imported", "scopes": ["read:tenants"],
        "created_at": "2001-01-01T00:00:00Z",
    }] });
    let imported = admin.posts("/v1/api-keys:import", &import).await;
    let imported = imported.json["ids"][0].as_str().unwrap().to_owned();
    world.server.passes(10 * DAY);
    let now = world.server.app.clock.now();
    last_used(&world, &used.id, now - 89 * DAY).await;
    let unused = async |days: u32, dry_run: bool| {
        told(&admin.posts(MANY, &json!({ "unused_days": days, "dry_run": dry_run })).await)
    };
    assert_eq!(unused(90, true).await, set(&[]), "to the day, and no sooner");
    world.server.passes(Duration::from_millis(1));
    assert_eq!(unused(90, true).await, set(&[&old.id]));
    world.server.passes(DAY);
    assert_eq!(unused(90, true).await, set(&[&old.id, &used.id]));
    assert_eq!(unused(12, true).await, set(&[&old.id, &used.id]));
    let own = world.owner.id(&world.server).await;
    assert_eq!(unused(11, true).await.len(), 4, "the calling key too, for nothing records its use");
    assert!(unused(11, true).await.contains(&imported));
    assert_eq!(unused(90, false).await, set(&[&old.id, &used.id]));
    let both = json!({ "unused_days": 90, "created_by": own });
    assert_eq!(told(&admin.posts(MANY, &both).await), set(&[]));
    assert_eq!(status(&admin, &imported).await, "active");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_revokes_more_than_they_mean_or_may(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let all = json!({ "labels": { "all": "yes" } });
    let bystander = makes(&admin, all.clone()).await;
    for (wrong, field) in [
        (json!({}), "body"),
        (json!({ "reason": "x" }), "body"),
        (json!({ "dry_run": true }), "body"),
        (json!({ "created_by": null, "project": null, "unused_days": null }), "body"),
        (json!({ "unused_days": 0 }), "unused_days"),
        (json!({ "unused_days": 3651 }), "unused_days"),
        (json!({ "unused_days": -1 }), "unused_days"),
        (json!({ "label": { "name": "" } }), "label.name"),
        (json!({ "label": { "name": "a\"b" } }), "label.name"),
        (json!({ "label": { "name": "all", "value": "\u{0}" } }), "label.value"),
        (json!({ "label": { "name": "all", "value": "x".repeat(101) } }), "label.value"),
        (json!({ "label": {} }), "name"),
        (json!({ "label": "all" }), "label"),
        (json!({ "unused_days": 1, "reason": "x".repeat(501) }), "reason"),
        (json!({ "unused_days": 1, "reason": "x".repeat(501), "dry_run": true }), "reason"),
        (json!({ "created_by": "key_01h455vb4pex5vsknk084sn02q" }), "created_by"),
        (json!({ "owner": "x" }), "owner"),
    ] {
        assert_eq!(wrong_fields(&admin.posts(MANY, &wrong).await), [field], "{wrong}");
    }
    let reader = world.api_key(&["read:api-keys"]).await;
    let reader = Caller::with(&world.server, &reader.secret);
    let refused = reader.posts(MANY, &json!({ "unused_days": 1, "dry_run": true })).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");

    // Another organization's keys are not there, whatever they bear and whoever made them.
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let there = world.api_key_in(elsewhere, &world.owner, Role::Owner, &["admin"], None).await;
    let there = Caller::with(&world.server, &there.secret);
    let foreign = makes(&there, all).await;
    let label = json!({ "label": { "name": "all" } });
    let their_project = there.posts("/v1/projects", &json!({ "name": "p" })).await;
    let owner = world.owner.id(&world.server).await;
    let mut wanted = json!({ "created_by": owner, "dry_run": true });
    let found = told(&admin.posts(MANY, &wanted).await);
    assert!(found.contains(&bystander) && !found.contains(&foreign), "{found:?}");
    wanted = json!({ "project": their_project.json["id"] });
    assert_eq!(told(&admin.posts(MANY, &wanted).await), set(&[]));

    // Whoever is confined to a project reaches its keys alone.
    let mut keys = Vec::new();
    for name in ["a", "b"] {
        let project = admin.posts("/v1/projects", &json!({ "name": name })).await;
        let project = project.member("id").to_owned();
        let key = json!({ "labels": { "all": "yes" }, "project": project });
        keys.push((makes(&admin, key).await, project));
    }
    let confined = json!({
        "name": "confined", "scopes": ["write:api-keys"], "project": keys[0].1,
    });
    let confined = admin.posts(KEYS, &confined).await;
    let confined = Caller::with(&world.server, confined.member("secret"));
    let of_the_other = json!({ "project": keys[1].1, "label": { "name": "all" } });
    assert_eq!(told(&confined.posts(MANY, &of_the_other).await), set(&[]));
    assert_eq!(wrong_fields(&confined.posts(MANY, &json!({})).await), ["body"]);
    assert_eq!(told(&confined.posts(MANY, &label).await), set(&[&keys[0].0]));
    assert_eq!(told(&admin.posts(MANY, &label).await), set(&[&bystander, &keys[1].0]));
    assert_eq!(status(&there, &foreign).await, "active");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_at_once_each_key_is_revoked_by_one(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let mut made = BTreeSet::new();
    for _ in 0..20 {
        made.insert(makes(&admin, json!({ "labels": { "race": "yes" } })).await);
    }
    let wanted = json!({ "label": { "name": "race" } });
    let calls = (0..5).map(|_| admin.posts(MANY, &wanted));
    let answers = futures::future::join_all(calls).await;
    let mut revoked: Vec<String> = answers.iter().flat_map(told).collect();
    revoked.sort_unstable();
    assert_eq!(revoked, made.into_iter().collect::<Vec<_>>(), "each once");
    let first: ApiKeyId = revoked[0].parse().unwrap();
    let events = format!("/v1/audit-events?target={first}&action=api_key.revoked");
    assert_eq!(admin.gets(&events).await.json["items"].as_array().unwrap().len(), 1);
}

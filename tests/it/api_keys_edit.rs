//! Keys that are edited: what changes, who may change it, and what is told beforehand of what it takes away.

use std::time::Duration;

use entity::{ApiKeyId, Timestamp};
use futures::future::join_all;
use portcullis::tenancy::Role;
use portcullis_verifier::key;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, Set,
};
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::wrong_fields;
use crate::harness::{Answer, Caller, Database, World};

const KEYS: &str = "/v1/api-keys";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn path(id: &str) -> String {
    format!("{KEYS}/{id}")
}

async fn admin(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// What the log says of a subject: kind, and whether access tokens from before are refused.
async fn log_of(world: &World, subject: &str) -> Vec<(String, bool)> {
    let rows = entity::revocation::Entity::find()
        .filter(entity::revocation::Column::Subject.eq(subject))
        .order_by_asc(entity::revocation::Column::Seq)
        .all(world.server.app.db.reader())
        .await
        .unwrap();
    rows.into_iter().map(|row| (row.kind, row.issued_before.is_some())).collect()
}

/// A call with the key that required this scope.
async fn uses(world: &World, key: &str, scope: &str, at: Timestamp) {
    let row = entity::api_key_scope_use::ActiveModel {
        api_key_id: Set(key.parse().unwrap()),
        scope: Set(scope.to_owned()),
        last_used_at: Set(at),
    };
    row.insert(world.server.app.db.writer()).await.unwrap();
}

async fn comes_from(world: &World, key: &str, network: &str) {
    let row = entity::api_key_network::ActiveModel {
        api_key_id: Set(key.parse().unwrap()),
        network: Set(network.to_owned()),
        first_used_at: Set(world.server.app.clock.now()),
    };
    row.insert(world.server.app.db.writer()).await.unwrap();
}

async fn last_used(world: &World, key: &str, at: Timestamp, from: &str) {
    let row = entity::api_key::ActiveModel {
        id: Set(key.parse().unwrap()),
        last_used_at: Set(Some(at)),
        last_used_from: Set(Some(from.to_owned())),
        ..Default::default()
    };
    row.update(world.server.app.db.writer()).await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_what_it_names_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants", "read:users"]).await;
    let there = path(&key.id);
    let before = admin.gets(&there).await;
    let told = async || introspect(&world.server, &world.credential, &key.secret).await.json;
    assert_eq!(told().await["scope"], "read:tenants read:users");

    let named = json!({ "name": " nightly ", "description": "Reports", "labels": { "team": "a" } });
    let edited = admin.patches_as_read(&before, &there, &named).await;
    assert_eq!((edited.status, edited.header("etag")), (StatusCode::OK, "\"2\""), "{edited:?}");
    let mut expected = before.json.clone();
    for (member, value) in [
        ("name", json!("nightly")),
        ("description", json!("Reports")),
        ("labels", json!({ "team": "a" })),
        ("version", json!(2)),
    ] {
        expected[member] = value;
    }
    assert_eq!(admin.gets(&there).await.json, expected);
    expected["warnings"] = json!([]);
    assert_eq!(edited.json, expected);
    assert_eq!(admin.gets(&format!("{KEYS}?name=night")).await.json["items"][0]["id"], key.id);
    assert_eq!(log_of(&world, &key.id).await, [("changed".to_owned(), false)]);

    // What was made with more ends with it.
    let narrowed = admin.patches(&there, &json!({ "scopes": ["read:tenants/acme"] })).await;
    assert_eq!(narrowed.json["scopes"], json!(["read:tenants/acme"]), "{narrowed:?}");
    assert_eq!(told().await["scope"], "read:tenants/acme");
    assert_eq!(log_of(&world, &key.id).await[1], ("changed".to_owned(), true));
    let widened = json!({ "scopes": ["read:tenants", "write:users"] });
    assert_eq!(admin.patches(&there, &widened).await.status, StatusCode::OK);
    assert_eq!(told().await["scope"], "read:tenants write:users");
    assert_eq!(log_of(&world, &key.id).await[2], ("changed".to_owned(), false));

    let bound = json!({ "allowed_ips": ["192.0.2.0/24"], "requests_per_minute": 30 });
    let bound = admin.patches(&there, &bound).await;
    assert_eq!(bound.json["allowed_ips"], json!(["192.0.2.0/24"]), "{bound:?}");
    assert_eq!(bound.json["requests_per_minute"], 30);
    assert_eq!(told().await["active"], false, "where it is used from is not known");
    assert_eq!(log_of(&world, &key.id).await[3], ("changed".to_owned(), true));
    let opened = json!({ "allowed_ips": null, "requests_per_minute": null });
    let opened = admin.patches(&there, &opened).await;
    assert_eq!(opened.json["allowed_ips"], json!(["0.0.0.0/0", "::/0"]), "{opened:?}");
    assert_eq!(opened.json["requests_per_minute"], Value::Null);
    assert_eq!(told().await["active"], true);

    let end = world.server.app.clock.now() + DAY;
    let ending = admin.patches(&there, &json!({ "expires_at": end })).await;
    assert_eq!(ending.json["expires_at"], end.to_string(), "{ending:?}");
    assert_eq!(told().await["exp"], end.unix_seconds());
    assert_eq!(log_of(&world, &key.id).await.last().unwrap(), &("changed".to_owned(), true));
    let endless = admin.patches(&there, &json!({ "expires_at": null })).await;
    assert_eq!(endless.json["expires_at"], Value::Null, "{endless:?}");
    assert_eq!(told().await["exp"], Value::Null);

    let events = admin.gets(&format!("/v1/audit-events?target={}", key.id)).await;
    let changes: Vec<&Value> = events.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["action"] == "api_key.changed")
        .map(|event| &event["detail"])
        .collect();
    assert_eq!(changes.len(), 7, "{events:?}");
    let scopes = json!({ "from": "read:tenants read:users", "to": "read:tenants/acme" });
    for detail in
        [json!({ "name": true, "description": true, "labels": true }), json!({ "scopes": scopes })]
    {
        assert!(changes.contains(&&detail), "{detail} is not in {changes:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_can_not_be_is_refused_by_the_name_of_the_field(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants"]).await;
    let there = path(&key.id);
    let before = admin.gets(&there).await;
    let project = admin.posts("/v1/projects", &json!({ "name": "p" })).await;
    for (wrong, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a\u{0}" }), "name"),
        (json!({ "description": "x".repeat(501) }), "description"),
        (json!({ "labels": { "a b": "x" } }), "labels"),
        (json!({ "scopes": [] }), "scopes"),
        (json!({ "scopes": ["read:tenants", "x:nothing"] }), "scopes[1]"),
        (json!({ "scopes": ["Read"] }), "scopes[0]"),
        (json!({ "allowed_ips": [] }), "allowed_ips"),
        (json!({ "allowed_ips": ["10.0.0.1/8"] }), "allowed_ips[0]"),
        (json!({ "requests_per_minute": 0 }), "requests_per_minute"),
        (json!({ "requests_per_minute": 1_000_001 }), "requests_per_minute"),
        (json!({ "requests_per_minute": 1.5 }), "requests_per_minute"),
        (json!({ "expires_at": "2001-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "soon" }), "expires_at"),
        (json!({ "project": project.json["id"] }), "project"),
        (json!({ "environment": "test" }), "environment"),
        (json!([]), "body"),
    ] {
        for dry_run in ["", "?dry_run=true"] {
            let refused = admin.patches(&format!("{there}{dry_run}"), &wrong).await;
            assert_eq!(wrong_fields(&refused), [field], "{wrong}{dry_run}: {refused:?}");
        }
    }
    for wrong in ["?dry_run=yes", "?dryrun=true", "?dry_run=", "?dry_run=true&dry_run=true"] {
        let refused = admin.patches(&format!("{there}{wrong}"), &json!({ "name": "x" })).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {refused:?}");
    }
    let all = json!({ "name": "", "scopes": ["a", "b"], "requests_per_minute": 0 });
    let fields = ["name", "scopes[0]", "scopes[1]", "requests_per_minute"];
    assert_eq!(wrong_fields(&admin.patches(&there, &all).await), fields);
    assert_eq!(admin.gets(&there).await.json, before.json, "nothing of it did anything");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_editors_of_a_key_do_not_overwrite_one_another(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants"]).await;
    let there = path(&key.id);
    let read = admin.gets(&there).await;
    let answers =
        join_all(
            (0..6).map(|at| {
                let (admin, read, there) = (&admin, &read, &there);
                async move {
                    admin.patches_as_read(read, there, &json!({ "name": format!("{at}") })).await
                }
            }),
        )
        .await;
    let (won, lost): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(lost.iter().all(|it| it.status == StatusCode::PRECONDITION_FAILED), "{lost:?}");
    assert_eq!(admin.gets(&there).await.json["name"], won[0].json["name"]);

    let tagged = async |tag: &str, query: &str| {
        let request = admin.asks(Method::PATCH, &format!("{there}{query}")).header("if-match", tag);
        let request = request.json(&json!({ "name": "tagged" }));
        Answer::of(request.send().await.unwrap()).await
    };
    for query in ["?dry_run=true", ""] {
        for stale in ["\"1\"", "\"99\"", "nonsense"] {
            assert_eq!(tagged(stale, query).await.status.as_u16(), 412, "{stale}{query}");
        }
        assert_eq!(tagged("\"2\"", query).await.status, StatusCode::OK, "{query}");
    }
    assert_eq!(tagged("*", "").await.json["version"], 4);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_widens_a_key_must_be_able_to_do_what_it_may(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let writer = world.api_key_of(&bob, Role::Member, &["write"], None).await;
    let bob = Caller::with(&world.server, &writer.secret);
    let end = world.server.app.clock.now() + DAY;
    let owner = &world.owner;
    let key = world.api_key_of(owner, Role::Owner, &["admin:api-keys", "write:tenants"], Some(end));
    let there = path(&key.await.id);
    let limits = json!({ "allowed_ips": ["10.0.0.0/8"], "requests_per_minute": 100 });
    assert_eq!(admin.patches(&there, &limits).await.status, StatusCode::OK);

    // It was made for more than Bob may do. He may say something else of it, and narrow it.
    let later = end + DAY;
    for opening in [
        json!({ "allowed_ips": ["10.0.0.0/8", "192.0.2.0/24"] }),
        json!({ "allowed_ips": null }),
        json!({ "expires_at": later }),
        json!({ "expires_at": null }),
        json!({ "requests_per_minute": 101 }),
        json!({ "requests_per_minute": null }),
        json!({ "scopes": ["admin:api-keys"], "expires_at": null }),
    ] {
        for dry_run in ["", "?dry_run=true"] {
            let refused = bob.patches(&format!("{there}{dry_run}"), &opening).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{opening}: {refused:?}");
        }
    }
    for (more, field) in [
        (json!({ "scopes": ["admin:api-keys", "*:tenants"] }), "scopes[1]"),
        (json!({ "scopes": ["admin"] }), "scopes[0]"),
        (json!({ "scopes": ["write:members", "write:tenants"] }), "scopes[0]"),
    ] {
        assert_eq!(wrong_fields(&bob.patches(&there, &more).await), [field], "{more}");
    }
    assert_eq!(admin.gets(&there).await.json["version"], 2, "nothing of it did anything");
    for fine in [
        json!({ "name": "renamed", "labels": { "seen": "yes" } }),
        json!({ "allowed_ips": ["10.1.0.0/16"], "requests_per_minute": 99 }),
        json!({ "expires_at": end - Duration::from_secs(60) }),
        // What is put on it he may do himself; what it had stays.
        json!({ "scopes": ["admin:api-keys", "write:tenants", "read:projects"] }),
        json!({ "scopes": ["write:api-keys", "write:tenants"] }),
        // It is no more than he may do now.
        json!({ "expires_at": later, "allowed_ips": null, "requests_per_minute": null }),
    ] {
        let edited = bob.patches(&there, &fine).await;
        assert_eq!(edited.status, StatusCode::OK, "{fine}: {edited:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_a_living_key_of_ones_own_is_edited(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let end = world.server.app.clock.now() + DAY;
    let expiring = world.api_key_of(&world.owner, Role::Owner, &["read"], Some(end)).await;
    let revoked = world.api_key(&["read"]).await;
    admin.deletes(&path(&revoked.id)).await;
    world.server.passes(DAY);
    for dead in [&expiring, &revoked] {
        for query in ["", "?dry_run=true"] {
            let there = format!("{}{query}", path(&dead.id));
            let refused = admin.patches(&there, &json!({ "expires_at": null })).await;
            assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
        }
    }
    // Another organization's, another project's, and none.
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let owner = &world.owner;
    let foreign = world.api_key_in(elsewhere, owner, Role::Owner, &["read"], None).await;
    let mut projects = Vec::new();
    for name in ["a", "b"] {
        let project = admin.posts("/v1/projects", &json!({ "name": name })).await;
        let scopes = ["write:api-keys", "read:tenants"];
        let wanted = json!({ "name": name, "scopes": scopes, "project": project.json["id"] });
        projects.push(admin.posts(KEYS, &wanted).await);
    }
    let confined = Caller::with(&world.server, projects[0].member("secret"));
    let unknown =
        confined.patches(&path("key_01h455vb4pex5vsknk084sn02q"), &json!({ "name": "x" })).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    for query in ["", "?dry_run=true"] {
        for id in [&foreign.id, projects[1].member("id")] {
            let there = format!("{}{query}", path(id));
            let refused = confined.patches(&there, &json!({ "name": "x" })).await;
            assert_eq!((refused.status, &refused.text), (unknown.status, &unknown.text), "{id}");
        }
    }
    let there = path(&foreign.id);
    assert_eq!(admin.patches(&there, &json!({ "name": "x" })).await.text, unknown.text);
    let own = confined.patches(&path(projects[0].member("id")), &json!({ "name": "x" })).await;
    assert_eq!(own.status, StatusCode::OK, "{own:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_an_edit_would_take_away_and_changes_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["write:tenants", "read:users"]).await;
    let there = path(&key.id);
    world.server.passes(40 * DAY);
    let now = world.server.app.clock.now();
    let minute = |ago: Duration| Timestamp((now - ago).0 / 60_000 * 60_000);
    let (recent, latest) = (minute(29 * DAY), minute(DAY));
    uses(&world, &key.id, "read:users", recent).await;
    uses(&world, &key.id, "write:tenants/acme", latest).await;
    uses(&world, &key.id, "read:tenants", minute(DAY)).await;
    uses(&world, &key.id, "write:tenants", minute(31 * DAY)).await;
    // It was lost long ago, and is not lost again.
    uses(&world, &key.id, "admin:users", latest).await;
    for network in ["10.1.0.0/16", "10.2.0.0/16", "192.0.0.0/16", "2001:db8::/32"] {
        comes_from(&world, &key.id, network).await;
    }
    last_used(&world, &key.id, latest, "192.0.2.7").await;
    let before = admin.gets(&there).await;
    assert_eq!(before.json["last_used_at"], latest.to_string());
    assert_eq!(before.json["last_used_from"], "192.0.2.7");
    let events = async || {
        let found = entity::audit_event::Entity::find();
        found.count(world.server.app.db.reader()).await.unwrap()
    };
    let (log, trail) = (log_of(&world, &key.id).await, events().await);

    let wanted = json!({
        "scopes": ["read:tenants"], "allowed_ips": ["10.0.0.0/8", "192.0.3.0/24", "::/0"],
    });
    let trial = admin.patches(&format!("{there}?dry_run=true"), &wanted).await;
    assert_eq!(trial.status, StatusCode::OK, "{trial:?}");
    assert_eq!(trial.header("etag"), "\"1\"", "that of the key as it is");
    assert_eq!(trial.json["key"]["scopes"], json!(["read:tenants"]));
    assert_eq!(trial.json["key"]["version"], 2);
    assert_eq!(
        trial.json["would_lose"],
        json!([
            { "scope": "write:tenants/acme", "last_used_at": latest },
            { "scope": "read:users", "last_used_at": recent },
        ])
    );
    assert_eq!(
        trial.json["would_lose_networks"],
        json!([
            { "network": "192.0.2.7/32", "lost": "all" },
            { "network": "192.0.0.0/16", "lost": "part" },
        ])
    );
    let warnings = trial.json["warnings"].as_array().unwrap();
    for word in ["::/0 allows", "`read:users`", "acme`", "192.0.2.7/32", "a part of 192.0.0.0/16"] {
        let said = warnings.iter().any(|it| it.as_str().unwrap().contains(word));
        assert!(said, "{word} is not in {warnings:?}");
    }
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert_eq!(admin.gets(&there).await.json, before.json);
    assert_eq!(log_of(&world, &key.id).await, log);
    assert_eq!(events().await, trail);

    // An edit that takes nothing away that was used warns of nothing.
    let harmless = json!({ "scopes": ["write:tenants", "read:users", "read:projects"] });
    let harmless = admin.patches(&format!("{there}?dry_run=true"), &harmless).await;
    for member in ["would_lose", "would_lose_networks", "warnings"] {
        assert_eq!(harmless.json[member], json!([]), "{harmless:?}");
    }
    // The edit itself says the same.
    let edited = admin.patches(&there, &wanted).await;
    assert_eq!(edited.json["warnings"], trial.json["warnings"], "{edited:?}");
    let mut expected = trial.json["key"].clone();
    expected["warnings"] = trial.json["warnings"].clone();
    assert_eq!(edited.json, expected);

    // A month later nothing of it matters but the networks, of which only the first use is known.
    world.server.passes(30 * DAY);
    let none = json!({ "scopes": ["read:projects"], "allowed_ips": ["203.0.113.0/24"] });
    let none = admin.patches(&format!("{there}?dry_run=true"), &none).await;
    assert_eq!(none.json["would_lose"], json!([]), "{none:?}");
    let networks = none.json["would_lose_networks"].as_array().unwrap();
    assert_eq!(networks.len(), 4, "{networks:?}");
    assert!(networks.iter().all(|it| it["lost"] == "all" && it["network"] != "192.0.2.7/32"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_edited_while_it_is_revoked_stays_revoked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    for _ in 0..4 {
        let key = world.api_key(&["read:tenants"]).await;
        let there = path(&key.id);
        let edits = join_all((0..4).map(|at| {
            let (admin, there) = (&admin, &there);
            async move { admin.patches(there, &json!({ "name": format!("{at}") })).await }
        }));
        let (edits, revoked) = futures::join!(edits, admin.deletes(&there));
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
        let expected = [StatusCode::OK, StatusCode::CONFLICT];
        assert!(edits.iter().all(|edit| expected.contains(&edit.status)), "{edits:?}");
        let after = admin.gets(&there).await;
        assert_eq!(after.json["status"], "revoked");
        let made = edits.iter().filter(|edit| edit.status == StatusCode::OK).count();
        assert_eq!(after.json["version"], 1 + made, "an edit is all there or not at all");
        let late = admin.patches(&there, &json!({ "name": "late" })).await;
        assert_eq!(late.status, StatusCode::CONFLICT, "{late:?}");
    }
}

// What else a key bears

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_limit_and_a_brand_of_its_own(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let makes = async |more: Value| {
        let mut wanted = json!({ "name": "x", "scopes": ["read:tenants"] });
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        admin.posts(KEYS, &wanted).await
    };
    let made = makes(json!({ "requests_per_minute": 1_000_000, "brand": "pc" })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(
        (&made.json["requests_per_minute"], &made.json["brand"]),
        (&json!(1_000_000), &json!("pc"))
    );
    assert_eq!(admin.gets(&path(made.member("id"))).await.json["requests_per_minute"], 1_000_000);
    for (wrong, field) in [
        (json!({ "requests_per_minute": 0 }), "requests_per_minute"),
        (json!({ "requests_per_minute": 1_000_001 }), "requests_per_minute"),
        (json!({ "requests_per_minute": -5 }), "requests_per_minute"),
        (json!({ "requests_per_minute": "many" }), "requests_per_minute"),
        (json!({ "brand": "op365_sk" }), "brand"),
        (json!({ "brand": "" }), "brand"),
    ] {
        assert_eq!(wrong_fields(&makes(wrong.clone()).await), [field], "{wrong}");
    }
    // A brand that is not in force any more gives way to the first one.
    let row = entity::api_key::ActiveModel {
        id: Set(made.member("id").parse::<ApiKeyId>().unwrap()),
        brand: Set(Some("gone".to_owned())),
        ..Default::default()
    };
    row.update(world.server.app.db.writer()).await.unwrap();
    let rotated = admin.posts(&format!("{}/rotate", path(made.member("id"))), &json!({})).await;
    assert!(rotated.member("secret").starts_with("pc_live_"), "{rotated:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_still_uses_the_older_secret_is_seen_until_it_ends(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants"]).await;
    let there = path(&key.id);
    assert_eq!(admin.gets(&there).await.json["older_secret"], Value::Null);
    let rotate = json!({ "grace_seconds": 3600 });
    let rotated = admin.posts(&format!("{there}/rotate"), &rotate).await;
    let until = rotated.json["rotating_until"].clone();
    let unused = json!({ "works_until": until, "last_used_at": null, "last_used_from": null });
    assert_eq!(rotated.json["older_secret"], unused, "{rotated:?}");
    let digest = key::digest(&key.secret).to_vec();
    let now = world.server.app.clock.now();
    entity::api_key_secret::Entity::update_many()
        .set(entity::api_key_secret::ActiveModel {
            last_used_at: Set(Some(now)),
            last_used_from: Set(Some("192.0.2.7".to_owned())),
            ..Default::default()
        })
        .filter(entity::api_key_secret::Column::Digest.eq(digest))
        .exec(world.server.app.db.writer())
        .await
        .unwrap();
    let used = json!({ "works_until": until, "last_used_at": now, "last_used_from": "192.0.2.7" });
    assert_eq!(admin.gets(&there).await.json["older_secret"], used);
    world.server.passes(Duration::from_secs(3600));
    assert_eq!(admin.gets(&there).await.json["older_secret"], Value::Null);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_exchanged_for_a_secret_that_ends_at_once_ends_with_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants"]).await;
    let rotates = async |grace: u64| {
        let wanted = json!({ "grace_seconds": grace });
        let rotated = admin.posts(&format!("{}/rotate", path(&key.id)), &wanted).await;
        assert_eq!(rotated.status, StatusCode::CREATED, "{rotated:?}");
        rotated.member("secret").to_owned()
    };
    let log_of_secret = async |secret: &str| {
        let digest = key::digest(secret).to_vec();
        let row = entity::api_key_secret::Entity::find()
            .filter(entity::api_key_secret::Column::Digest.eq(digest))
            .one(world.server.app.db.reader())
            .await
            .unwrap();
        log_of(&world, &row.unwrap().id.to_string()).await
    };
    let revoked = [("revoked".to_owned(), false)];
    let first = key.secret.clone();
    let second = rotates(3600).await;
    assert_eq!(log_of_secret(&first).await, [], "it works on");
    let third = rotates(60).await;
    assert_eq!(log_of_secret(&first).await, revoked, "its grace was cut short");
    assert_eq!(log_of_secret(&second).await, []);
    world.server.passes(Duration::from_secs(60));
    // What has ended by itself is not ended again.
    let fourth = rotates(0).await;
    assert_eq!(log_of_secret(&second).await, []);
    assert_eq!(log_of_secret(&third).await, revoked, "at once");
    assert_eq!(log_of_secret(&fourth).await, []);
}

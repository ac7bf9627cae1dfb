//! `POST /v1/api-keys/verify`: the verdict over a key, for those whom it concerns; and what is remembered of keys in use.

use std::time::Duration;

use portcullis::api_keys::Pace;
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use sea_orm::{ConnectionTrait, EntityTrait as _, TransactionTrait as _};
use serde_json::{Value, json};

use crate::harness::actors::{Answer, http, introspect};
use crate::harness::caller::{Caller, wrong_fields};
use crate::harness::{Database, World, eventually};

const VERIFY: &str = "/v1/api-keys/verify";

/// A key made over the API, with its id and secret.
async fn made(admin: &Caller, body: Value) -> (String, String) {
    let made = admin.posts("/v1/api-keys", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    (made.member("id").to_owned(), made.member("secret").to_owned())
}

/// Everything about the company's keys, and the API as it asks about them.
async fn admin_and_api(world: &World) -> (Caller, Caller) {
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    (admin, Caller::with(&world.server, &world.credential))
}

fn reason(verdict: &Answer) -> &str {
    assert_eq!(verdict.status, StatusCode::OK, "{verdict:?}");
    assert_eq!(verdict.json["valid"], false, "{verdict:?}");
    verdict.member("reason")
}

/// What was written down of the refusal, as the owner finds it by the id of the request.
async fn refused_by(world: &World, admin: &Caller, request_id: &str) -> Value {
    let app = &world.server.app;
    app.api_keys.write_uses(&app.db, Pace::AtOnce).await.unwrap();
    let found = admin.gets(&format!("/v1/audit-events?request_id={request_id}")).await;
    let events = found.json["items"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{found:?}");
    assert_eq!(events[0]["action"], "api_key.refused");
    events[0].clone()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_learns_what_a_key_is_good_for(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, api) = admin_and_api(&world).await;
    let labels = json!({ "team": "billing" });
    let scopes = json!(["write:tenants/eu/*", "read:users", "read:api-keys"]);
    let wanted = json!({ "name": "ci", "scopes": scopes, "labels": labels, "expires_at": "2999-01-01T00:00:00Z" });
    let (id, secret) = made(&admin, wanted).await;
    let good = api.posts(VERIFY, &json!({ "key": secret, "scope": "read:tenants/eu/acme" })).await;
    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    assert_eq!(good.header("cache-control"), "no-store");
    let owner = world.owner.id(&world.server).await.to_string();
    let expected = json!({
        "valid": true, "reason": null, "request_id": good.header("x-request-id"),
        "api_key": {
            "id": id, "name": "ci", "organization": world.organization.to_string(), "project": null,
            "created_by": owner, "owner": owner, "environment": "live", "labels": labels,
            "scopes": ["read:users", "write:tenants/eu/*"], "expires_at": "2999-01-01T00:00:00Z",
            "is_older_secret": false,
        },
        "rate_limit": {
            "policy": "key", "quota": 1_000_000, "remaining": good.json["rate_limit"]["remaining"],
            "reset_seconds": good.json["rate_limit"]["reset_seconds"], "retry_after_seconds": null,
        },
    });
    assert_eq!(good.json, expected);
    // The catalog of another API is another matter.
    let (_, other) = world.second_api("https://other.example.com", world.api.algorithm).await;
    let other = Caller::with(&world.server, &other);
    let told = other.posts(VERIFY, &json!({ "key": secret })).await;
    assert_eq!(told.json["valid"], true);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_reason_and_the_owner_finds_the_rule_by_the_request(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, api) = admin_and_api(&world).await;
    let key = |more: Value| {
        let mut body = json!({ "name": "ci", "scopes": ["read:tenants/eu/*"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (id, secret) = made(&admin, key(json!({ "allowed_ips": ["192.0.2.0/24"] }))).await;
    let from = |address: &str, scope: &str| json!({ "key": secret, "client_address": address, "scope": scope });

    for (asked, verdict, rule) in [
        (from("203.0.113.9", "read:tenants/eu/a"), "wrong_network", "network"),
        (json!({ "key": secret, "scope": "read:tenants/eu/a" }), "wrong_network", "network"),
        (from("192.0.2.7", "read:tenants/us/a"), "missing_scope", "filter"),
        (from("::ffff:192.0.2.7", "write:tenants/eu/a"), "missing_scope", "scope"),
    ] {
        let told = api.posts(VERIFY, &asked).await;
        assert_eq!(reason(&told), verdict, "{asked}");
        assert_eq!(told.json["api_key"]["id"], id.as_str());
        assert_eq!(told.header("x-request-id"), told.member("request_id"));
        let event = refused_by(&world, &admin, told.member("request_id")).await;
        assert_eq!(
            (event["target"].as_str(), &event["detail"]["rule"]),
            (Some(&*id), &json!(rule))
        );
        assert_eq!(event["detail"]["required"], asked["scope"]);
        let address =
            asked["client_address"].as_str().map(|text| text.trim_start_matches("::ffff:"));
        assert_eq!(event["address"].as_str(), address);
    }

    let soon = world.server.app.clock.now() + Duration::from_secs(60);
    let (_, brief) = made(&admin, key(json!({ "expires_at": soon.to_string() }))).await;
    let (lasting_id, lasting) = made(&admin, key(json!({}))).await;
    let rotated = format!("/v1/api-keys/{lasting_id}/rotate");
    let newer = admin.posts(&rotated, &json!({ "grace_seconds": 60 })).await;
    let newer = newer.member("secret").to_owned();
    let in_grace = api.posts(VERIFY, &json!({ "key": lasting })).await;
    assert_eq!(in_grace.json["api_key"]["is_older_secret"], true, "{in_grace:?}");
    world.server.passes(Duration::from_secs(60));
    let told = api.posts(VERIFY, &json!({ "key": brief })).await;
    assert_eq!(reason(&told), "expired");
    assert_eq!(
        refused_by(&world, &admin, told.member("request_id")).await["detail"]["rule"],
        "expired"
    );
    let told = api.posts(VERIFY, &json!({ "key": lasting })).await;
    assert_eq!(reason(&told), "revoked");
    let event = refused_by(&world, &admin, told.member("request_id")).await;
    assert_eq!(event["detail"]["rule"], "rotated_out");
    assert_eq!(api.posts(VERIFY, &json!({ "key": newer })).await.json["valid"], true);
    admin.deletes(&format!("/v1/api-keys/{lasting_id}")).await;
    let told = api.posts(VERIFY, &json!({ "key": newer })).await;
    assert_eq!(reason(&told), "revoked");
    assert_eq!(
        refused_by(&world, &admin, told.member("request_id")).await["detail"]["rule"],
        "revoked"
    );

    // An owner who leaves takes the reach of the key along.
    let bob = world.member("bob@example.com", Role::Owner).await;
    let bobs = world.api_key_of(&bob, Role::Owner, &["read:tenants"], None).await;
    assert_eq!(api.posts(VERIFY, &json!({ "key": bobs.secret })).await.json["valid"], true);
    world.puts(&bob, None).await;
    let told = api.posts(VERIFY, &json!({ "key": bobs.secret })).await;
    assert_eq!(reason(&told), "missing_scope");
    assert_eq!(
        refused_by(&world, &admin, told.member("request_id")).await["detail"]["rule"],
        "role"
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_somebody_else_is_unknown(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, api) = admin_and_api(&world).await;
    let eve = world.stranger("eve@example.com").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let theirs =
        world.api_key_in(elsewhere, &eve, Role::Owner, &["read:tenants", "admin"], None).await;
    let own = world.api_key(&["read:tenants"]).await;
    let meaningless = world.api_key(&["write:api-keys"]).await;
    let wrong = portcullis_verifier::key::generate(&"pc_live".parse().unwrap()).unwrap();
    use secrecy::ExposeSecret as _;
    let unknown =
        json!({ "valid": false, "reason": "unknown", "api_key": null, "rate_limit": null });
    let told_of = |mut answer: Answer| {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json.as_object_mut().unwrap().remove("request_id");
        answer.json
    };
    for garbage in [
        "x",
        "pc_live_x",
        "é",
        &world.credential,
        wrong.expose_secret(),
        &format!("{}x", own.secret),
    ] {
        assert_eq!(
            told_of(api.posts(VERIFY, &json!({ "key": garbage })).await),
            unknown,
            "{garbage}"
        );
        assert_eq!(
            told_of(admin.posts(VERIFY, &json!({ "key": garbage })).await),
            unknown,
            "{garbage}"
        );
    }
    assert_eq!(told_of(admin.posts(VERIFY, &json!({ "key": theirs.secret })).await), unknown);
    assert_eq!(told_of(api.posts(VERIFY, &json!({ "key": meaningless.secret })).await), unknown);
    let eves = Caller::with(&world.server, &theirs.secret);
    assert_eq!(told_of(eves.posts(VERIFY, &json!({ "key": own.secret })).await), unknown);
    eves.deletes(&format!("/v1/api-keys/{}", theirs.id)).await;
    assert_eq!(told_of(admin.posts(VERIFY, &json!({ "key": theirs.secret })).await), unknown);
    // An API that only its own organization may use knows no keys of others.
    let edit = json!({ "is_shared": false });
    let edited = admin.patches(&format!("/v1/resource-servers/{}", world.api.id), &edit).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    let theirs = world.api_key_in(elsewhere, &eve, Role::Owner, &["read:tenants"], None).await;
    assert_eq!(told_of(api.posts(VERIFY, &json!({ "key": theirs.secret })).await), unknown);
    assert_eq!(api.posts(VERIFY, &json!({ "key": own.secret })).await.json["valid"], true);
    // To be asked about where it is nobody's business is no use of a key.
    let app = &world.server.app;
    app.api_keys.write_uses(&app.db, Pace::AtOnce).await.unwrap();
    for (key, was_used) in [(&meaningless, false), (&theirs, false), (&own, true)] {
        let found =
            portcullis::api_keys::find(app.db.reader(), None, key.id.parse().unwrap()).await;
        assert_eq!(found.unwrap().unwrap().last_use.is_some(), was_used, "{}", key.id);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_verify_is_told_no_more_than_that(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, _) = admin_and_api(&world).await;
    let gateway = Caller::with(&world.server, &world.api_key(&["verify:api-keys"]).await.secret);
    let desk = world.api_key(&["verify:api-keys", "read:api-keys"]).await;
    let desk = Caller::with(&world.server, &desk.secret);
    let (id, secret) =
        made(&admin, json!({ "name": "ci", "scopes": ["read:tenants", "read:projects"] })).await;
    let asked = json!({ "key": secret, "scope": "read:tenants" });
    let told = gateway.posts(VERIFY, &asked).await;
    let nothing = json!({ "valid": true, "reason": null, "api_key": null, "rate_limit": null, "request_id": told.member("request_id") });
    assert_eq!(told.json, nothing);
    let told = gateway.posts(VERIFY, &json!({ "key": secret, "scope": "write:tenants" })).await;
    assert_eq!((&told.json["valid"], &told.json["reason"]), (&json!(false), &Value::Null));
    assert_eq!(desk.posts(VERIFY, &asked).await.json["api_key"]["id"], id.as_str());
    assert_eq!(
        reason(&desk.posts(VERIFY, &json!({ "key": secret, "scope": "admin" })).await),
        "missing_scope"
    );

    // At one API, what means something there.
    let at = |resource: &str| json!({ "key": secret, "resource": resource });
    let told = desk.posts(VERIFY, &at(&world.api.audience)).await;
    assert_eq!(told.json["api_key"]["scopes"], json!(["read:tenants"]));
    let told = desk.posts(VERIFY, &json!({ "key": secret })).await;
    assert_eq!(told.json["api_key"]["scopes"], json!(["read:projects", "read:tenants"]));
    for nowhere in ["https://nowhere.example", "", "a\0b"] {
        let refused = desk.posts(VERIFY, &at(nowhere)).await;
        assert_eq!(wrong_fields(&refused), ["resource"], "{nowhere:?}");
    }

    let reader = Caller::with(&world.server, &world.api_key(&["read"]).await.secret);
    let refused = reader.posts(VERIFY, &asked).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.header("www-authenticate").contains("verify:api-keys"), "{refused:?}");
    let nobody = http().post(world.server.url(VERIFY)).json(&asked).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_is_confined_to_a_project_knows_its_keys_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, _) = admin_and_api(&world).await;
    let project = admin.posts("/v1/projects", &json!({ "name": "One" })).await;
    let in_project = json!({ "name": "x", "scopes": ["read:tenants", "verify:api-keys", "read:api-keys"], "project": project.member("id") });
    let (_, inside) = made(&admin, in_project).await;
    let (_, outside) = made(&admin, json!({ "name": "y", "scopes": ["read:tenants"] })).await;
    let confined = Caller::with(&world.server, &inside);
    assert_eq!(confined.posts(VERIFY, &json!({ "key": inside })).await.json["valid"], true);
    assert_eq!(reason(&confined.posts(VERIFY, &json!({ "key": outside })).await), "unknown");
    assert_eq!(admin.posts(VERIFY, &json!({ "key": outside })).await.json["valid"], true);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused_by_the_name_of_the_field(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (_, api) = admin_and_api(&world).await;
    for (body, field) in [
        (json!({}), "key"),
        (json!({ "key": "" }), "key"),
        (json!({ "key": "x".repeat(513) }), "key"),
        (json!({ "key": 5 }), "key"),
        (json!({ "key": "x", "scope": "No Scope" }), "scope"),
        (json!({ "key": "x", "scope": "" }), "scope"),
        (json!({ "key": "x", "client_address": "here" }), "client_address"),
        (json!({ "key": "x", "resource": "https://other.example.com" }), "resource"),
        (json!({ "key": "x", "resource": "a\0b" }), "resource"),
        (json!({ "key": "x", "more": 1 }), "more"),
    ] {
        assert_eq!(wrong_fields(&api.posts(VERIFY, &body).await), [field], "{body}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_with_a_challenge_and_its_rule_is_found_by_the_request(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, _) = admin_and_api(&world).await;
    let (id, secret) = made(&admin, json!({ "name": "ci", "scopes": ["read:api-keys"] })).await;
    let script = Caller::with(&world.server, &secret);
    assert_eq!(script.gets("/v1/api-keys").await.status, StatusCode::OK);
    let refused = script.gets("/v1/clients").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.header("www-authenticate").contains("scope=\"read:clients\""), "{refused:?}");
    let event = refused_by(&world, &admin, refused.header("x-request-id")).await;
    assert_eq!(event["detail"], json!({ "rule": "scope", "required": "read:clients" }));
    assert_eq!(
        (event["address"].as_str(), event["target"].as_str()),
        (Some("127.0.0.1"), Some(&*id))
    );
    admin.deletes(&format!("/v1/api-keys/{id}")).await;
    let refused = script.gets("/v1/api-keys").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.starts_with("Bearer ") && challenge.contains("invalid_token"), "{challenge}");
    // The body says nothing that would tell a dead key from a wrong one.
    let wrong = Caller::with(&world.server, &format!("{}x", &secret[..secret.len() - 1]));
    assert_eq!(wrong.gets("/v1/api-keys").await.text, refused.text);
    let event = refused_by(&world, &admin, refused.header("x-request-id")).await;
    assert_eq!(event["detail"]["rule"], "revoked");
    // Introspection keeps its counsel, but its owner finds the rule.
    let told = introspect(
        &world.server,
        &world.credential,
        &world.api_key(&["read:tenants"]).await.secret,
    )
    .await;
    assert_eq!(told.json["active"], true);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn use_is_remembered_to_the_minute_with_its_address_secret_and_scopes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, api) = admin_and_api(&world).await;
    let app = &world.server.app;
    let (id, older) = made(&admin, json!({ "name": "ci", "scopes": ["read:tenants"] })).await;
    let found = async || {
        app.api_keys.write_uses(&app.db, Pace::AtOnce).await.unwrap();
        portcullis::api_keys::find(app.db.reader(), None, id.parse().unwrap())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(found().await.last_use, None);
    let uses = async |secret: &str, address: &str| {
        let asked =
            json!({ "key": secret, "client_address": address, "scope": "read:tenants/acme" });
        assert_eq!(api.posts(VERIFY, &asked).await.json["valid"], true);
    };
    // A minute may end while this goes on.
    let minute = || {
        let now = app.clock.now();
        entity::Timestamp(now.0 - now.0 % 60_000)
    };
    let begun = minute();
    uses(&older, "192.0.2.7").await;
    let used = found().await.last_use.unwrap();
    assert_eq!(used.from.as_deref(), Some("192.0.2.7"));
    let first = used.at;
    assert!((begun..=minute()).contains(&first) && first.0 % 60_000 == 0, "{first:?}");
    // A refusal is no use.
    world.server.passes(Duration::from_secs(60));
    api.posts(VERIFY, &json!({ "key": older, "scope": "write:tenants" })).await;
    assert_eq!(found().await.last_use.unwrap().at, first);

    let rotated = admin.posts(&format!("/v1/api-keys/{id}/rotate"), &json!({})).await;
    let begun = minute();
    uses(rotated.member("secret"), "192.0.3.1").await;
    uses(&older, "2001:db8::1").await;
    let key = found().await;
    let older = key.older_secret_use.unwrap();
    assert_eq!((key.last_use.unwrap().at, older.from.as_deref()), (older.at, Some("2001:db8::1")));
    assert!((begun..=minute()).contains(&older.at) && begun > first, "{older:?}");
    let scopes = entity::api_key_scope_use::Entity::find().all(app.db.reader()).await.unwrap();
    let scopes: Vec<&str> = scopes
        .iter()
        .filter(|row| row.api_key_id.to_string() == id)
        .map(|row| row.scope.as_str())
        .collect();
    assert_eq!(scopes, ["read:tenants/acme"]);

    // Where it was used first is no news, another /16 of the same country's size is none either, IPv6 is.
    let news =
        admin.gets(&format!("/v1/audit-events?action=api_key.new_network&target={id}")).await;
    let news: Vec<&Value> =
        news.json["items"].as_array().unwrap().iter().map(|it| &it["detail"]["network"]).collect();
    assert_eq!(news, [&json!("2001:db8::/32")]);
    // And it is told once.
    uses(rotated.member("secret"), "2001:db8:1::1").await;
    uses(rotated.member("secret"), "198.51.100.1").await;
    found().await;
    let news =
        admin.gets(&format!("/v1/audit-events?action=api_key.new_network&target={id}")).await;
    assert_eq!(news.json["items"].as_array().unwrap().len(), 2, "{news:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_memory_costs_no_look_up_until_the_log_names_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, api) = admin_and_api(&world).await;
    let app = &world.server.app;
    let (id, secret) = made(&admin, json!({ "name": "ci", "scopes": ["read:tenants"] })).await;
    let valid = async || api.posts(VERIFY, &json!({ "key": secret })).await.json["valid"].clone();
    assert_eq!(valid().await, true);
    // Behind everybody's back, so that only a look-up would find it out.
    let statement = "UPDATE api_key_secrets SET digest = start".replace(
        "start",
        if app.db.is_postgres() { "decode(md5(id::text), 'hex')" } else { "randomblob(32)" },
    );
    app.db.writer().execute_unprepared(&statement).await.unwrap();
    for _ in 0..10 {
        assert_eq!(valid().await, true);
    }
    let tx = app.db.begin().await.unwrap();
    let subject = portcullis::revocation::Subject::ApiKey(id.parse().unwrap());
    portcullis::revocation::append_changed(&tx, app.clock.now(), &[subject.for_everybody()])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    app.revocations.catch_up().await;
    assert_eq!(valid().await, false);
}

/// How many sessions of the PostgreSQL database wait for a lock at this moment.
async fn waiting_for_locks(connection: &impl ConnectionTrait) -> i64 {
    let waiting = "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event_type = 'Lock'";
    let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, waiting);
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get("", "count").unwrap()
}

/// However many ask for a key at once, one look-up is under way: seen where the database can be made to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_key_is_read_once_however_many_ask() {
    let Some(world) = World::on(Database::Postgres).await else { return };
    let (admin, _) = admin_and_api(&world).await;
    let app = &world.server.app;
    let (_, secret) = made(&admin, json!({ "name": "ci", "scopes": ["read:tenants"] })).await;
    // The API is in memory already, so that only the key is looked up.
    introspect(&world.server, &world.credential, "x").await;
    let lock = app.db.writer().begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE api_key_secrets IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (url, credential) = (world.server.url(VERIFY), world.credential.clone());
            let body = json!({ "key": secret });
            tokio::spawn(async move {
                let request = http().request(Method::POST, url).bearer_auth(credential).json(&body);
                Answer::of(request.send().await.unwrap()).await
            })
        })
        .collect();
    eventually(async || waiting_for_locks(&lock).await > 0).await;
    // Whoever else would read had the time of a hundred questions to begin.
    for _ in 0..100 {
        assert_eq!(waiting_for_locks(&lock).await, 1);
    }
    lock.commit().await.unwrap();
    for answer in asked {
        assert_eq!(answer.await.unwrap().json["valid"], true);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_used_too_often_is_refused_with_what_is_left(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, api) = admin_and_api(&world).await;
    let key = world.api_key(&["read:tenants"]).await;
    let row = entity::api_key::ActiveModel {
        id: sea_orm::Set(key.id.parse().unwrap()),
        requests_per_minute: sea_orm::Set(Some(10)),
        ..Default::default()
    };
    sea_orm::ActiveModelTrait::update(row, world.server.app.db.writer()).await.unwrap();
    let verifies =
        async |cost: u32| api.posts(VERIFY, &json!({ "key": key.secret, "cost": cost })).await;
    let told = verifies(4).await;
    assert_eq!(
        (&told.json["valid"], &told.json["rate_limit"]["remaining"]),
        (&json!(true), &json!(6))
    );
    assert_eq!(verifies(0).await.json["rate_limit"]["remaining"], 6, "to look only");
    // Whoever may not do it is slowed down as well.
    let asked = json!({ "key": key.secret, "scope": "write:tenants", "cost": 1 });
    let told = api.posts(VERIFY, &asked).await;
    assert_eq!(
        (reason(&told), &told.json["rate_limit"]["remaining"]),
        ("missing_scope", &json!(5))
    );
    let told = verifies(7).await;
    assert_eq!(reason(&told), "rate_limited");
    let limit = json!({ "policy": "key", "quota": 10, "remaining": 5, "reset_seconds": 30, "retry_after_seconds": 12 });
    assert_eq!(told.json["rate_limit"], limit);
    let event = refused_by(&world, &admin, told.member("request_id")).await;
    assert_eq!(event["detail"]["rule"], "limit");
    assert_eq!(verifies(5).await.json["valid"], true);
    assert_eq!(reason(&verifies(1).await), "rate_limited");
    assert_eq!(wrong_fields(&verifies(1001).await), ["cost"]);
    // The exchange for a token counts as well.
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", key.secret.as_str()),
        ("subject_token_type", "urn:portcullis:params:oauth:token-type:api-key"),
        ("resource", world.api.audience.as_str()),
    ];
    let refused = http().post(world.server.url("/oauth/token")).form(&form).send().await.unwrap();
    let refused = Answer::of(refused).await;
    assert_eq!(refused.refusal(), "429 temporarily_unavailable");
    assert_eq!(refused.header("retry-after"), "6");
    assert!(refused.header("ratelimit").starts_with("\"key\";r=0;"), "{refused:?}");
    // Time gives it back.
    world.server.passes(Duration::from_secs(6));
    assert_eq!(verifies(1).await.json["valid"], true);
    // For whoever introspects, which is remembered for a minute, there is no limit.
    let told = introspect(&world.server, &world.credential, &key.secret).await;
    assert_eq!(told.json["active"], true);
}

/// Made-up keys with a good checksum are looked up, but whoever is in memory waits for none of that: seen where the
/// database can be made to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_keys_keeps_no_good_one_waiting() {
    let Some(world) = World::on(Database::Postgres).await else { return };
    let (_, api) = admin_and_api(&world).await;
    let app = &world.server.app;
    let good = world.api_key(&["read:tenants"]).await;
    assert_eq!(api.posts(VERIFY, &json!({ "key": good.secret })).await.json["valid"], true);
    let lock = app.db.writer().begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE api_key_secrets IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let wrong = portcullis_verifier::key::generate(&"pc_live".parse().unwrap()).unwrap();
            let body = json!({ "key": secrecy::ExposeSecret::expose_secret(&wrong) });
            let (url, credential) = (world.server.url(VERIFY), world.credential.clone());
            tokio::spawn(async move {
                let request = http().request(Method::POST, url).bearer_auth(credential).json(&body);
                Answer::of(request.send().await.unwrap()).await
            })
        })
        .collect();
    eventually(async || waiting_for_locks(&lock).await > 0).await;
    for _ in 0..50 {
        assert_eq!(api.posts(VERIFY, &json!({ "key": good.secret })).await.json["valid"], true);
    }
    lock.commit().await.unwrap();
    for answer in flood {
        assert_eq!(reason(&answer.await.unwrap()), "unknown");
    }
}

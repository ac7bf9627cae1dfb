//! `/v1/roles`: the built-in ones, and those that organizations make for themselves.

use std::time::Duration;

use portcullis::tenancy::{self, Role, RoleRef};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::{ids, wrong_fields};
use crate::harness::{Caller, Database, World};

const ROLES: &str = "/v1/roles";

async fn owner(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn built_in_roles_come_first_and_pages_go_on_from_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let mut expected: Vec<String> =
        ["owner", "admin", "member", "viewer"].map(str::to_owned).to_vec();
    for name in ["A", "B", "C"] {
        world.server.passes(Duration::from_millis(5));
        let made = owner.posts(ROLES, &json!({ "name": name, "scopes": ["read"] })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        expected.insert(4, made.member("id").to_owned());
    }
    assert_eq!(ids(&owner.gets(ROLES).await, "id"), expected);
    for limit in 1..=8 {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = owner.gets(&format!("{ROLES}?limit={limit}{cursor}")).await;
            let on_it = ids(&page, "id");
            assert!(on_it.len() <= limit, "{page:?}");
            found.extend(on_it.into_iter().map(str::to_owned));
            match page.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "by {limit}");
    }
    let built_in = owner.gets(&format!("{ROLES}/member")).await;
    let expected = json!({
        "id": "member", "organization": null, "name": "member", "scopes": ["write"],
        "built_in": true, "created_at": null, "version": 1,
    });
    assert_eq!(built_in.json, expected);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_made_edited_and_deleted(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let wanted =
        json!({ "name": " Support ", "scopes": ["write:users", "read:users", "read:tenants"] });
    let made = owner.posts_once("one", ROLES, &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let expected = json!({
        "id": made.member("id"), "organization": world.organization.to_string(), "name": "Support",
        "scopes": ["read:tenants", "write:users"], "built_in": false,
        "created_at": made.member("created_at"), "version": 1,
    });
    assert_eq!(made.json, expected);
    let again = owner.posts_once("one", ROLES, &wanted).await;
    assert_eq!((again.status, &again.json), (StatusCode::CREATED, &expected));
    let other = owner.posts_once("one", ROLES, &json!({ "name": "x", "scopes": ["read"] })).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    assert_eq!(owner.posts(ROLES, &wanted).await.status, StatusCode::CONFLICT);

    let there = format!("{ROLES}/{}", made.member("id"));
    let read = owner.gets(&there).await;
    assert_eq!((read.header("etag"), &read.json), ("\"1\"", &expected));
    let edit = json!({ "name": "Help", "scopes": ["read:users"] });
    let edited = owner.patches_as_read(&read, &there, &edit).await;
    assert_eq!((edited.status, edited.member("name")), (StatusCode::OK, "Help"), "{edited:?}");
    assert_eq!(edited.json["scopes"], json!(["read:users"]));
    let late = owner.patches_as_read(&read, &there, &json!({ "name": "Late" })).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{late:?}");
    assert_eq!(owner.posts(ROLES, &wanted).await.status, StatusCode::CREATED);
    let taken = owner.patches(&there, &json!({ "name": "Support" })).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{taken:?}");
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NO_CONTENT);
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NOT_FOUND);
    assert_eq!(owner.gets(&there).await.status, StatusCode::NOT_FOUND);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_can_not_be_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    for (body, field) in [
        (json!({ "scopes": ["read"] }), "name"),
        (json!({ "name": " ", "scopes": ["read"] }), "name"),
        (json!({ "name": "x".repeat(101), "scopes": ["read"] }), "name"),
        (json!({ "name": "a\u{0}", "scopes": ["read"] }), "name"),
        (json!({ "name": "owner", "scopes": ["read"] }), "name"),
        (json!({ "name": "rol_01h455vb4pex5vsknk084sn02q", "scopes": ["read"] }), "name"),
        (json!({ "name": "x" }), "scopes"),
        (json!({ "name": "x", "scopes": [] }), "scopes"),
        (json!({ "name": "x", "scopes": vec!["read"; 101] }), "scopes"),
        (json!({ "name": "x", "scopes": ["read", "Not A Scope"] }), "scopes[1]"),
        (json!({ "name": "x", "scopes": ["read"], "id": "x" }), "id"),
    ] {
        assert_eq!(wrong_fields(&owner.posts(ROLES, &body).await), [field], "{body}");
    }
    // Nobody makes or widens a role beyond what they may do.
    let narrow = world.api_key(&["write:roles", "read:tenants"]).await.secret;
    let narrow = Caller::with(&world.server, &narrow);
    let wide = json!({ "name": "x", "scopes": ["read:tenants", "admin"] });
    assert_eq!(wrong_fields(&narrow.posts(ROLES, &wide).await), ["scopes[1]"]);
    let made = narrow.posts(ROLES, &json!({ "name": "x", "scopes": ["read:tenants"] })).await;
    let there = format!("{ROLES}/{}", made.member("id"));
    let wide = narrow.patches(&there, &json!({ "scopes": ["write:tenants"] })).await;
    assert_eq!(wrong_fields(&wide), ["scopes[0]"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_built_in_or_in_use_stays(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    for name in ["owner", "viewer"] {
        let there = format!("{ROLES}/{name}");
        let edit = json!({ "scopes": ["read:tenants"] });
        assert_eq!(owner.patches(&there, &edit).await.status, StatusCode::CONFLICT);
        assert_eq!(owner.deletes(&there).await.status, StatusCode::CONFLICT);
    }
    let made = owner.posts(ROLES, &json!({ "name": "x", "scopes": ["read:tenants"] })).await;
    let there = format!("{ROLES}/{}", made.member("id"));
    let bob = world.member("bob@example.com", Role::Viewer).await.id(&world.server).await;
    let member = format!("/v1/members/{bob}");
    let given = owner.patches(&member, &json!({ "role": made.member("id") })).await;
    assert_eq!((given.member("role"), given.member("role_name")), (made.member("id"), "x"));
    assert_eq!(owner.deletes(&there).await.status, StatusCode::CONFLICT);
    owner.patches(&member, &json!({ "role": "viewer" })).await;
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NO_CONTENT);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_loses_its_members_lose_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let wanted = json!({ "name": "x", "scopes": ["write:tenants", "read:users"] });
    let role = owner.posts(ROLES, &wanted).await;
    let bob = world.stranger("bob@example.com").await;
    let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
    let (id, given) = (bob.id(&world.server).await, role.member("id").parse::<RoleRef>().unwrap());
    tenancy::insert_membership(db, now, world.organization, id, given).await.unwrap();
    let key = world.api_key_of(&bob, Role::Member, &["write:tenants"], None).await.secret;
    let app = world.confidential_app().await;
    let tokens = app.redeems(&bob.approves(&app, "write:tenants read:users").await).await;

    let there = format!("{ROLES}/{}", role.member("id"));
    let edited = owner.patches(&there, &json!({ "scopes": ["read:tenants"] })).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    let told = introspect(&world.server, &world.credential, &key).await;
    assert_eq!(told.json["scope"], "read:tenants");
    let told = introspect(&world.server, &world.credential, tokens.member("access_token")).await;
    assert_eq!(told.json, json!({ "active": false }));
    world.server.passes(Duration::from_secs(3));
    let fresh = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(fresh.member("scope"), "read:tenants");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn roles_of_others_are_like_none(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let other = world.second_organization("Other", Role::Owner).await;
    let theirs = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
    let theirs = Caller::with(&world.server, &theirs.secret);
    let made = theirs.posts(ROLES, &json!({ "name": "x", "scopes": ["read"] })).await;
    let foreign = format!("{ROLES}/{}", made.member("id"));
    let nowhere = owner.gets(&format!("{ROLES}/rol_01h455vb4pex5vsknk084sn02q")).await;
    for answer in [
        owner.gets(&foreign).await,
        owner.patches(&foreign, &json!({ "name": "mine" })).await,
        owner.deletes(&foreign).await,
        owner.gets(&format!("{ROLES}/king")).await,
    ] {
        assert_eq!((answer.status, &answer.text), (StatusCode::NOT_FOUND, &nowhere.text));
    }
    assert_eq!(ids(&owner.gets(ROLES).await, "id").len(), 4);
    assert_eq!(theirs.gets(&foreign).await.json["name"], Value::from("x"));
}

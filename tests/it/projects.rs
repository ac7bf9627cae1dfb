//! `/v1/projects`: subdivisions of an organization, and the end of what is confined to one.

use std::time::Duration;

use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::{ids, wrong_fields};
use crate::harness::{Caller, Database, World};

const PROJECTS: &str = "/v1/projects";

async fn owner(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_edited_and_deleted(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let wanted = json!({ "name": " Shop ", "description": "Sells" });
    let made = owner.posts_once("one", PROJECTS, &wanted).await;
    assert_eq!((made.status, made.header("etag")), (StatusCode::CREATED, "\"1\""), "{made:?}");
    let expected = json!({
        "id": made.member("id"), "organization": world.organization.to_string(), "name": "Shop",
        "description": "Sells", "created_at": made.member("created_at"), "version": 1,
    });
    assert_eq!(made.json, expected);
    let again = owner.posts_once("one", PROJECTS, &wanted).await;
    assert_eq!((again.status, &again.json), (StatusCode::CREATED, &expected));
    assert_eq!(ids(&owner.gets(PROJECTS).await, "id"), [made.member("id")]);

    let there = format!("{PROJECTS}/{}", made.member("id"));
    let read = owner.gets(&there).await;
    assert_eq!(read.json, expected);
    let edited = owner.patches_as_read(&read, &there, &json!({ "name": "Store" })).await;
    assert_eq!((edited.member("name"), edited.member("description")), ("Store", "Sells"));
    let late = owner.patches_as_read(&read, &there, &json!({ "name": "Late" })).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{late:?}");
    for (body, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "x".repeat(101) }), "name"),
        (json!({ "description": "x".repeat(501) }), "description"),
        (json!({ "id": "x" }), "id"),
    ] {
        assert_eq!(wrong_fields(&owner.patches(&there, &body).await), [field], "{body}");
    }
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NO_CONTENT);
    for answer in [
        owner.gets(&there).await,
        owner.deletes(&there).await,
        owner.patches(&there, &json!({ "name": "x" })).await,
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    }
    assert_eq!(owner.gets(PROJECTS).await.json["items"], Value::Array(Vec::new()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_confined_to_a_project_ends_with_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let made = owner.posts(PROJECTS, &json!({ "name": "Shop" })).await;
    let wanted = json!({
        "name": "x", "scopes": ["read:tenants", "read:projects", "read:members"],
        "project": made.member("id"),
    });
    let key = owner.posts("/v1/api-keys", &wanted).await;
    let confined = Caller::with(&world.server, key.member("secret"));
    // It sees its project and no other, and nothing of the whole organization.
    world.server.passes(Duration::from_millis(5));
    let other = owner.posts(PROJECTS, &json!({ "name": "Other" })).await;
    assert_eq!(ids(&confined.gets(PROJECTS).await, "id"), [made.member("id")]);
    let elsewhere = confined.gets(&format!("{PROJECTS}/{}", other.member("id"))).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    assert_eq!(confined.gets("/v1/members").await.status, StatusCode::FORBIDDEN);

    let there = format!("{PROJECTS}/{}", made.member("id"));
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NO_CONTENT);
    let told = introspect(&world.server, &world.credential, key.member("secret")).await;
    assert_eq!(told.json, json!({ "active": false }));
    assert_eq!(wrong_fields(&owner.posts("/v1/api-keys", &wanted).await), ["project"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn projects_of_others_are_like_none(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let other = world.second_organization("Other", Role::Owner).await;
    let theirs = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
    let theirs = Caller::with(&world.server, &theirs.secret);
    let made = theirs.posts(PROJECTS, &json!({ "name": "Theirs" })).await;
    let foreign = format!("{PROJECTS}/{}", made.member("id"));
    let nowhere = owner.gets(&format!("{PROJECTS}/prj_01h455vb4pex5vsknk084sn02q")).await;
    for answer in [
        owner.gets(&foreign).await,
        owner.patches(&foreign, &json!({ "name": "mine" })).await,
        owner.deletes(&foreign).await,
    ] {
        assert_eq!((answer.status, &answer.text), (StatusCode::NOT_FOUND, &nowhere.text));
    }
    let key =
        |project: &str| json!({ "name": "x", "scopes": ["read:tenants"], "project": project });
    let foreign = owner.posts("/v1/api-keys", &key(made.member("id"))).await;
    let unknown = owner.posts("/v1/api-keys", &key("prj_01h455vb4pex5vsknk084sn02q")).await;
    assert_eq!((wrong_fields(&foreign), &foreign.text), (vec!["project"], &unknown.text));
}

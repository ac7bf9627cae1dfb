//! `/v1/grants`: what was allowed is seen and ended by the organization that it was allowed in.

use std::time::Duration;

use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::{claims, introspect};
use crate::harness::{Answer, Application, Caller, Database, World};
use crate::invitations::{Script, fields, ids, trail};

const GRANTS: &str = "/v1/grants";

/// The grant that tokens descend from.
fn grant_of(tokens: &Answer) -> String {
    claims(tokens.member("access_token"))["grant"].as_str().unwrap().to_owned()
}

async fn lives(world: &World, tokens: &Answer) -> bool {
    let told = introspect(&world.server, &world.credential, tokens.member("access_token")).await;
    told.json["active"].as_bool().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_seen_and_ended(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants read:users write:tenants").await;
    let tokens = app.redeems(&code).await;
    let id = grant_of(&tokens);
    let path = format!("{GRANTS}/{id}");
    let read = admin.gets(&path).await;
    assert_eq!(read.status, StatusCode::OK, "{read:?}");
    let mut expected = json!({
        "id": id, "client": app.id, "user": world.owner.id(&world.server).await.to_string(),
        "organization": world.organization.to_string(), "project": null,
        "resource_server": world.api.id.to_string(), "scopes": ["read:users", "write:tenants"],
        "status": "active", "created_at": read.member("created_at"), "ended_at": null,
        "last_refreshed_at": null,
    });
    assert_eq!(read.json, expected);

    world.server.passes(Duration::from_secs(3));
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    let read = admin.gets(&path).await;
    assert!(read.member("last_refreshed_at") > read.member("created_at"), "{read:?}");
    assert!(lives(&world, &refreshed).await);

    assert_eq!(admin.deletes(&path).await.status, StatusCode::NO_CONTENT);
    assert!(!lives(&world, &refreshed).await && !lives(&world, &tokens).await);
    let refused = app.refreshes(refreshed.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
    let ended = admin.gets(&path).await;
    expected["status"] = json!("ended");
    expected["ended_at"] = json!(ended.member("ended_at"));
    expected["last_refreshed_at"] = read.json["last_refreshed_at"].clone();
    assert_eq!(ended.json, expected);
    world.server.passes(Duration::from_secs(1));
    assert_eq!(admin.deletes(&path).await.status, StatusCode::NO_CONTENT, "once more");
    assert_eq!(admin.gets(&path).await.json, expected, "it ended but once");
    let actions: Vec<String> =
        trail(&world, &id).await.into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["grant.created", "grant.ended"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_and_in_pages(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let one = world.classic_app().await;
    world.server.passes(Duration::from_millis(1));
    let other = world.public_app().await;
    let mut grants = Vec::new();
    for (person, app) in [(&world.owner, &one), (&bob, &one), (&bob, &other)] {
        world.server.passes(Duration::from_millis(1));
        let code = person.approves(app, "read:tenants").await;
        grants.push(grant_of(&app.redeems(&code).await));
    }
    let own = admin.gets(&format!("{GRANTS}?client={}", one.id)).await;
    let items = own.json["items"].as_array().unwrap();
    let own: Vec<&Value> = items.iter().filter(|item| item["user"].is_null()).collect();
    assert_eq!(own.len(), 1, "what the app may do for itself");
    let own = own[0]["id"].as_str().unwrap().to_owned();

    admin.deletes(&format!("{GRANTS}/{}", grants[1])).await;
    let bob = bob.id(&world.server).await;
    let [a, b, c] = [&grants[0], &grants[1], &grants[2]];
    for (query, expected) in [
        (String::new(), vec![c, b, a, &own]),
        ("status=active".to_owned(), vec![c, a, &own]),
        ("status=ended".to_owned(), vec![b]),
        (format!("user={bob}"), vec![c, b]),
        (format!("user={bob}&client={}", one.id), vec![b]),
        (format!("client={}&status=active", one.id), vec![a, &own]),
        (format!("project={}", entity::ProjectId::new(world.server.app.clock.now())), vec![]),
    ] {
        let listed = admin.gets(&format!("{GRANTS}?{query}")).await;
        assert_eq!(ids(&listed), expected, "{query}");
    }
    let first = admin.gets(&format!("{GRANTS}?limit=3")).await;
    assert_eq!(ids(&first), [c, b, a]);
    let next = format!("{GRANTS}?limit=3&cursor={}", first.member("next_cursor"));
    assert_eq!(ids(&admin.gets(&next).await), [&own]);
    for (query, field) in
        [("status=dead", "status"), ("user=x", "user"), ("client=usr_x", "client"), ("a=b", "a")]
    {
        assert_eq!(fields(&admin.gets(&format!("{GRANTS}?{query}")).await), [field], "{query}");
    }

    // Its own grant is ended as any other.
    assert_eq!(admin.deletes(&format!("{GRANTS}/{own}")).await.status, StatusCode::NO_CONTENT);
    let refused = one.acts_for_itself("read:tenants").await;
    assert_eq!(refused.refusal(), "400 unauthorized_client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_did_for_itself_stays_ended_when_the_log_has_forgotten_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let app = world.confidential_app().await;
    let own = grant_of(&app.acts_for_itself("read:tenants").await);
    assert_eq!(admin.deletes(&format!("{GRANTS}/{own}")).await.status, StatusCode::NO_CONTENT);
    world.server.passes(Duration::from_secs(25 * 60 * 60));
    portcullis::janitor::sweep(&world.server.app).await;
    // A server that starts now has never heard of it.
    let later = world.server.beside().await;
    let secret = app.secret.clone();
    let app = Application::new(&later, app.id.clone(), secret, String::new());
    assert_eq!(app.acts_for_itself("read:tenants").await.refusal(), "400 unauthorized_client");
    let path = format!("/v1/clients/{}", app.id);
    assert_eq!(admin.patches(&path, &json!({ "name": "Renamed" })).await.status, StatusCode::OK);
    assert_eq!(app.acts_for_itself("read:tenants").await.refusal(), "400 unauthorized_client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_another_organization_has_is_not_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let tokens = app.redeems(&world.owner.approves(&app, "read:tenants").await).await;
    let other = world.second_organization("Other", Role::Owner).await;
    let key = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
    let stranger = Script::with(&world, key.secret);
    let unknown = entity::GrantId::new(world.server.app.clock.now()).to_string();
    for id in [grant_of(&tokens), unknown, "gnt_x".to_owned(), app.id.clone()] {
        let path = format!("{GRANTS}/{id}");
        for answer in [stranger.gets(&path).await, stranger.deletes(&path).await] {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}: {answer:?}");
        }
    }
    assert!(ids(&stranger.gets(GRANTS).await).is_empty());
    assert!(lives(&world, &tokens).await);
    let member = world.member("bob@example.com", Role::Member).await;
    member.logs_in().await;
    assert_eq!(member.gets(GRANTS).await.status, StatusCode::FORBIDDEN, "it takes an admin");
}

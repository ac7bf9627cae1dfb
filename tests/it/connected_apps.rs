//! Connected apps: people see what they have allowed, and end it, by the API and on a page.

use std::time::Duration;

use futures::future::{join, join_all};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::{claims, introspect};
use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Application, Database, Person, World};
use crate::invitations::{Script, trail};

const APPS: &str = "/v1/me/connected-apps";

async fn lives(world: &World, tokens: &Answer) -> bool {
    let told = introspect(&world.server, &world.credential, tokens.member("access_token")).await;
    told.json["active"].as_bool().unwrap()
}

/// What a person, logged in before, lets the application have.
async fn tokens(person: &Person, app: &Application, scope: &str) -> Answer {
    let tokens = app.redeems(&person.approves_again(app, scope).await).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    tokens
}

/// The same, in an organization that the person chooses.
async fn tokens_in(
    person: &Person,
    app: &Application,
    scope: &str,
    organization: entity::OrganizationId,
) -> Answer {
    let request = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(app.request(scope))
        .finish();
    let organization = organization.to_string();
    let form = [("request", &*request), ("organization", &*organization), ("decision", "allow")];
    let answer = person.posts("/oauth/authorize/consent", &form).await;
    app.redeems(crate::harness::Redirected::of(&answer).get("code")).await
}

fn clients(list: &Answer) -> Vec<&str> {
    let items = list.json["items"].as_array().unwrap_or_else(|| panic!("{list:?}"));
    items.iter().map(|item| item["client"].as_str().unwrap()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_ask_who_they_are(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let user = world.owner.id(&world.server).await.to_string();
    let organization = world.organization.to_string();
    let key = world.api_key(&["read:tenants", "read:members"]).await;
    let me = Script::with(&world, key.secret).gets("/v1/me").await;
    let expected = json!({
        "actor": key.id, "organization": organization, "project": null, "user": user,
        "scopes": ["read:members", "read:tenants"],
    });
    assert_eq!((me.status, me.json), (StatusCode::OK, expected));

    let app = world.management_app().await;
    let token = app.acts_for_itself("read:api-keys").await;
    let me = Script::with(&world, token.member("access_token")).gets("/v1/me").await;
    let expected = json!({
        "actor": app.id, "organization": organization, "project": null, "user": null,
        "scopes": ["read:api-keys"],
    });
    assert_eq!(me.json, expected);

    world.owner.logs_in().await;
    let me = world.owner.gets("/v1/me").await;
    assert_eq!((&me.json["actor"], &me.json["user"]), (&json!(user), &json!(user)));
    assert_eq!(me.json["scopes"], json!(["admin"]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_ended_is_out_everywhere_and_the_others_stay(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, other) =
        (world.confidential_app().await, world.registers(|new| new.name = "Mail").await);
    let second = world.second_organization("Second", Role::Owner).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let ada = &world.owner;
    ada.logs_in().await;
    bob.logs_in().await;
    let here = tokens_in(ada, &app, "read:tenants", world.organization).await;
    world.server.passes(Duration::from_secs(1));
    let there = tokens_in(ada, &app, "write:tenants read:users", second).await;
    assert_eq!(claims(there.member("access_token"))["org"], second.to_string());
    let of_other = tokens(ada, &other, "read:tenants").await;
    let of_bob = tokens(&bob, &app, "read:tenants").await;
    let on_its_way = ada.approves_again(&app, "read:tenants").await;
    world.server.passes(Duration::from_secs(3));

    let script = Script::of_owner(&world, &["write:connected-apps"]).await;
    let listed = script.gets(APPS).await;
    let item = listed.json["items"].as_array().unwrap().iter().find(|it| it["client"] == app.id);
    let item: &Value = item.unwrap_or_else(|| panic!("{listed:?}"));
    let mut named = vec![
        json!({ "id": world.organization.to_string(), "name": "Example" }),
        json!({ "id": second.to_string(), "name": "Second" }),
    ];
    named.sort_by_key(|it| it["id"].to_string());
    let expected = json!({
        "client": app.id, "name": "Dashboard", "organizations": named,
        "scopes": ["read:users", "write:tenants"],
        "first_allowed_at": item["first_allowed_at"], "last_used_at": item["last_used_at"],
    });
    assert_eq!(*item, expected);
    assert!(item["last_used_at"].as_str() > item["first_allowed_at"].as_str(), "{item}");
    assert_eq!(clients(&listed).len(), 2);
    let first = script.gets(&format!("{APPS}?limit=1")).await;
    let rest = script.gets(&format!("{APPS}?cursor={}", first.member("next_cursor"))).await;
    assert_eq!([clients(&first), clients(&rest)].concat(), clients(&listed));

    let path = format!("{APPS}/{}", app.id);
    assert_eq!(script.deletes(&path).await.status, StatusCode::NO_CONTENT);
    for dead in [&here, &there] {
        assert!(!lives(&world, dead).await);
        let refused = app.refreshes(dead.member("refresh_token")).await;
        assert_eq!(refused.refusal(), "400 invalid_grant");
    }
    assert_eq!(app.redeems(&on_its_way).await.refusal(), "400 invalid_grant");
    for alive in [&of_other, &of_bob] {
        assert!(lives(&world, alive).await);
    }
    let refreshed = other.refreshes(of_other.member("refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    let page = ada.visits(&app.request("read:tenants")).await;
    assert_eq!(page.status, StatusCode::OK, "it has to ask again: {page:?}");
    let agreed = ada.visits(&other.request("read:tenants")).await;
    assert_eq!(agreed.status, StatusCode::SEE_OTHER, "the other need not: {agreed:?}");

    assert_eq!(clients(&script.gets(APPS).await), [&other.id]);
    assert_eq!(script.deletes(&path).await.status, StatusCode::NOT_FOUND);
    let unknown = entity::ClientId::new(world.server.app.clock.now());
    for client in [unknown.to_string(), "app_x".to_owned(), "%00".to_owned()] {
        let answer = script.deletes(&format!("{APPS}/{client}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{client}: {answer:?}");
    }
    for dead in [&here, &there] {
        let grant = claims(dead.member("access_token"))["grant"].as_str().unwrap().to_owned();
        assert_eq!(trail(&world, &grant).await.last().unwrap().0, "grant.ended");
    }
    let withdrawn = trail(&world, &app.id).await;
    let withdrawn = withdrawn.iter().filter(|(action, _)| action == "consent.withdrawn");
    assert_eq!(withdrawn.count(), 2, "in either organization");

    // Allowed again, it is back.
    let again = tokens(ada, &app, "read:tenants").await;
    assert!(lives(&world, &again).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_people_have_connected_apps(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.management_app().await;
    let token = app.acts_for_itself("admin").await.member("access_token").to_owned();
    let script = Script::with(&world, token);
    assert_eq!(script.gets("/v1/me").await.status, StatusCode::OK);
    assert_eq!(script.gets(APPS).await.status, StatusCode::FORBIDDEN);
    let path = format!("{APPS}/{}", app.id);
    assert_eq!(script.deletes(&path).await.status, StatusCode::FORBIDDEN);

    // A viewer may see their own, by a session, and end them by the page.
    let viewer = world.member("vic@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    tokens(&viewer, &world.confidential_app().await, "read:tenants").await;
    let listed = viewer.gets(APPS).await;
    assert_eq!(clients(&listed).len(), 1, "{listed:?}");
    assert!(clients(&Script::of_owner(&world, &["admin"]).await.gets(APPS).await).is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_redeemed_while_the_app_is_ended_ends_too(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let script = Script::of_owner(&world, &["write:connected-apps"]).await;
    let path = format!("{APPS}/{}", app.id);
    world.owner.logs_in().await;
    for _ in 0..3 {
        let mut codes = Vec::new();
        for _ in 0..6 {
            codes.push(world.owner.approves_again(&app, "read:tenants").await);
        }
        let redeeming = join_all(codes.iter().map(|code| app.redeems(code)));
        let (answers, ended) = join(redeeming, script.deletes(&path)).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{ended:?}");
        for answer in answers {
            match answer.status {
                StatusCode::OK => assert!(!lives(&world, &answer).await, "it slipped through"),
                _ => assert_eq!(answer.refusal(), "400 invalid_grant"),
            }
        }
        assert!(clients(&script.gets(APPS).await).is_empty());
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_and_ends_them(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.registers(|new| new.name = "Dash <b>board</b>").await;
    let ada = &world.owner;
    let sent = ada.gets("/connected-apps").await;
    assert_eq!(sent.header("location"), "/login?next=%2Fconnected-apps", "{sent:?}");
    let sent = ada.posts("/connected-apps/end", &[("client", &app.id)]).await;
    assert_eq!(sent.header("location"), "/login?next=%2Fconnected-apps%2Fend", "{sent:?}");
    ada.logs_in().await;
    let back = ada.gets("/connected-apps/end").await;
    assert_eq!(back.header("location"), "/connected-apps", "{back:?}");
    assert!(ada.follows(&back).await.text.contains("href=\"/connected-apps\""));
    let empty = ada.gets("/connected-apps").await;
    assert!(empty.text.contains("No application has access"), "{}", empty.text);

    let given = tokens(ada, &app, "read:tenants/acme read:users").await;
    let page = ada.gets("/connected-apps").await;
    for words in [
        "board&#60;/b&#62;",
        "Example",
        "Example API",
        "See your tenants (only acme)",
        "Allowed on",
        "last used on",
        "End access",
        &app.id,
    ] {
        assert!(page.text.contains(words), "{words} is not in {}", page.text);
    }
    assert!(!page.text.contains("<script>") && !page.text.contains("<b>board"), "{}", page.text);

    // Somebody else's form, and nonsense, end nothing of hers.
    let bob = world.member("bob@example.com", Role::Member).await;
    bob.logs_in().await;
    let end = async |person: &Person, client: &str| {
        person.posts("/connected-apps/end", &[("client", client)]).await
    };
    assert_eq!(end(&bob, &app.id).await.header("location"), "/connected-apps");
    assert_eq!(end(ada, "nonsense").await.status, StatusCode::NOT_FOUND);
    let other = world.confidential_app().await;
    assert_eq!(end(ada, &other.id).await.header("location"), "/connected-apps");
    assert!(lives(&world, &given).await);

    let ended = end(ada, &app.id).await;
    assert_eq!(
        (ended.status, ended.header("location")),
        (StatusCode::SEE_OTHER, "/connected-apps?done=ended")
    );
    assert!(!lives(&world, &given).await);
    assert!(ada.gets("/connected-apps").await.text.contains("No application has access"));
    assert_eq!(end(ada, &app.id).await.header("location"), "/connected-apps", "once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_ends_an_app() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants read:users").await;
    let given = app.redeems(&code).await;
    Browser::does(async |browser| {
        browser.goes_to(&world.server.url("/connected-apps")).await;
        browser.photographs("connected-apps-login").await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        assert_eq!(browser.reads("h1").await, "Connected apps");
        let page = browser.reads("main").await;
        assert!(page.contains("Dashboard") && page.contains("See your tenants"), "{page}");
        browser.photographs("connected-apps").await;
        browser.presses("End access").await;
        assert!(browser.reads("main").await.contains("No application has access"));
        browser.photographs("connected-apps-none").await;
        assert!(!lives(&world, &given).await);
    })
    .await;
}

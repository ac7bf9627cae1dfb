//! The console's page about the organization itself.

use std::time::Duration;

use portcullis::tenancy::{self, LeakPolicy, Role};
use reqwest::StatusCode;

use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Database, Redirected, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_changed_by_those_who_may() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let vera = world.member("vera@example.com", Role::Viewer).await;
    for person in [&vera, &world.owner] {
        person.logs_in().await;
    }
    let page = format!("/o/{}/settings", world.organization);
    let before = world.owner.gets(&page).await.text;
    assert!(before.contains("can't be closed") && !before.contains("/settings/close"), "{before}");
    let refused = world
        .owner
        .sends_form(
            &before,
            &page,
            &[("name", ""), ("api_key_requests_per_minute", "many"), ("leak_policy", "revoke")],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Name</a> must have 1 to 100 characters."), "{refused:?}");
    assert!(refused.text.contains("per minute</a> must be from 1 to 1000000."), "{refused:?}");
    assert!(refused.text.contains(r#"value="many""#), "{refused:?}");
    assert!(refused.text.contains(r#"value="revoke" checked"#), "{refused:?}");
    let policy = world.owner.sends_form(&before, &page, &[("name", "x")]).await;
    assert!(policy.text.contains("Leak policy</a> must be chosen."), "{policy:?}");

    let fields =
        [("name", "Example"), ("api_key_requests_per_minute", "600"), ("leak_policy", "revoke")];
    let changed = world.owner.sends_form(&before, &page, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{page}?done=changed"));
    let reader = world.server.app.db.reader();
    let found = tenancy::find_organization(reader, world.organization).await.unwrap().unwrap();
    assert_eq!((found.requests_per_minute, found.leak_policy), (Some(600), LeakPolicy::Revoke));
    // What stayed as it was left no trace.
    let log = format!("/o/{}/audit-log?target={}", world.organization, world.organization);
    let log = world.owner.gets(&log).await.text;
    assert!(log.contains("<code>organization.changed</code>"), "{log}");
    assert!(!log.contains("<code>organization.renamed</code>"), "{log}");
    let stale = world.owner.sends_form(&before, &page, &fields).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");
    let fields =
        [("name", "Renamed"), ("api_key_requests_per_minute", ""), ("leak_policy", "narrow")];
    world.owner.fills_in(&page, &page, &fields).await;
    let found = tenancy::find_organization(reader, world.organization).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.requests_per_minute), ("Renamed", None));

    let shown = vera.gets(&page).await;
    assert!(shown.text.contains("<bdi>Renamed</bdi>"), "{shown:?}");
    assert!(shown.text.contains("Leave it nothing but reading"), "{shown:?}");
    assert!(!shown.text.contains("<form class=\"sheet\""), "{shown:?}");
    assert_eq!(vera.posts(&page, &fields).await.status, StatusCode::FORBIDDEN);
    let stranger = world.stranger("eve@example.com").await;
    stranger.logs_in().await;
    assert_eq!(stranger.gets(&page).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stranger.posts(&page, &fields).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_closed_by_whoever_runs_the_installation() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let theirs = world.second_organization("Second", Role::Viewer).await;
    let stranger = world.stranger("eve@example.com").await;
    let own = world.organization_of(&stranger, "Own").await;
    for person in [&stranger, &world.owner] {
        person.logs_in().await;
    }
    // An owner of an organization does not close it, nor does anybody that which runs the installation.
    let page = format!("/o/{own}/settings");
    assert!(stranger.gets(&page).await.text.contains("Only whoever runs the installation"));
    let close = format!("{page}/close");
    assert_eq!(stranger.gets(&close).await.status, StatusCode::FORBIDDEN);
    let answer = stranger.posts(&close, &[("name", "Own")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    let close = format!("/o/{}/settings/close", world.organization);
    let answer = world.owner.fills_in(&close, &close, &[("name", "Example")]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert!(answer.text.contains("without it nobody could"), "{answer:?}");

    let page = format!("/o/{theirs}/settings");
    assert!(world.owner.gets(&page).await.text.contains("/settings/close"));
    let close = format!("{page}/close");
    let wrong = world.owner.fills_in(&close, &close, &[("name", "First")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    world.server.passes(Duration::from_secs(15 * 60));
    let fields = [("name", "Second"), ("password", "")];
    let unconfirmed = world.owner.fills_in(&close, &close, &fields).await;
    assert!(unconfirmed.text.contains("must be entered again"), "{unconfirmed:?}");
    let right = world.owner.fills_in(&close, &close, &[("name", "Second")]).await;
    assert_eq!(Redirected::of(&right).location, "/");
    assert_eq!(world.owner.gets(&page).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_organization_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(40));
    let second = world.second_organization(&hostile, Role::Admin).await;
    let url = |path: &str| world.server.url(&format!("/o/{second}/settings{path}"));
    Browser::does(async |browser| {
        browser.goes_to(&url("")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.photographs("settings").await;
        browser.fills("api_key_requests_per_minute", "0").await;
        browser.presses("Save").await;
        browser.photographs("settings-refused").await;
        browser.goes_to(&url("/close")).await;
        assert_eq!(browser.reads("h1 bdi").await, hostile);
        browser.photographs("settings-close").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

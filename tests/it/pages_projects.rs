//! The console's pages about projects, and what all pages about an organization have in common.

use portcullis::tenancy::Role;
use reqwest::StatusCode;

use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Database, Redirected, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_changed_and_deleted() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let list = format!("/o/{}/projects", world.organization);
    let empty = world.owner.gets(&list).await;
    assert!(empty.text.contains("No projects yet"), "{empty:?}");

    let new = format!("{list}/new");
    let fields = [("name", "Payments"), ("description", "one\r\ntwo")];
    let page = world.owner.gets(&new).await.text;
    let made = world.owner.sends_form(&page, &new, &fields).await;
    assert_eq!(Redirected::of(&made).location, format!("{list}?done=created"));
    // The browser goes back, or sends it again: there is one project still.
    let again = world.owner.sends_form(&page, &new, &fields).await;
    assert_eq!(Redirected::of(&again).location, format!("{list}?done=created"));
    let other = world.owner.sends_form(&page, &new, &[("name", "Another")]).await;
    assert_eq!(other.status, StatusCode::CONFLICT, "{other:?}");
    let shown = world.owner.gets(&list).await.text;
    assert_eq!(shown.matches("<bdi>Payments</bdi>").count(), 1, "{shown}");

    let one = shown.split(&format!("href=\"{list}/prj_")).nth(1).unwrap();
    let one = format!("{list}/prj_{}", one.split('"').next().unwrap());
    let before = world.owner.gets(&one).await.text;
    let refused =
        world.owner.sends_form(&before, &one, &[("name", " "), ("description", "kept")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Name</a> must have 1 to 100 characters."), "{refused:?}");
    assert!(refused.text.contains("kept</textarea>"), "{refused:?}");
    let changed = world.owner.sends_form(&before, &one, &[("name", "Billing")]).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    // The page from before knows an older version.
    let stale = world.owner.sends_form(&before, &one, &[("name", "Lost")]).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");

    let delete = format!("{one}/delete");
    let wrong = world.owner.fills_in(&delete, &delete, &[("name", "Payments")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    let right = world.owner.fills_in(&delete, &delete, &[("name", "Billing")]).await;
    assert_eq!(Redirected::of(&right).location, format!("{list}?done=deleted"));
    assert_eq!(world.owner.gets(&one).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_organization_are_for_its_members_within_their_role() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let list = format!("/o/{}/projects", world.organization);
    let stranger = world.stranger("eve@example.com").await;
    stranger.logs_in().await;
    assert_eq!(stranger.gets(&list).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stranger.gets("/o/nonsense/projects").await.status, StatusCode::NOT_FOUND);
    assert!(stranger.gets("/").await.text.contains("You belong to no organization yet"));

    let viewer = world.member("vera@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    let page = viewer.gets(&list).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(!page.text.contains("/projects/new"), "{page:?}");
    assert!(!page.text.contains("/audit-log"), "a line leads to what she may not see: {page:?}");
    for answer in [
        viewer.gets(&format!("{list}/new")).await,
        viewer.posts(&format!("{list}/new"), &[("name", "x")]).await,
    ] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert!(answer.text.contains("that role lacks write:projects"), "{answer:?}");
    }
    // One organization needs no choice, several do.
    let to = Redirected::of(&viewer.gets("/").await).location;
    assert_eq!(to, format!("/o/{}", world.organization));
    let second = world.second_organization("Second", Role::Viewer).await;
    world.owner.logs_in().await;
    let home = world.owner.gets("/").await.text;
    assert!(home.contains(&format!("/o/{second}\"")), "{home}");
    // Where somebody is not logged in, they come back to the page that they wanted.
    let nobody = world.stranger("nina@example.com").await;
    let to = Redirected::of(&nobody.gets(&format!("{list}?before=x")).await).location;
    let next = format!("{list}?before=x");
    let expected: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    assert_eq!(to, format!("/login?next={expected}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_projects_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let list = world.server.url(&format!("/o/{}/projects", world.organization));
    Browser::does(async |browser| {
        browser.goes_to(&list).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.photographs("projects-empty").await;
        browser.goes_to(&format!("{list}/new")).await;
        browser.fills("name", "  ").await;
        browser.presses("Make the project").await;
        browser.photographs("project-new-refused").await;
        let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(40));
        for name in ["Payments", &hostile] {
            browser.goes_to(&format!("{list}/new")).await;
            browser
                .client
                .execute("document.getElementById('name').value = arguments[0]", vec![name.into()])
                .await
                .unwrap();
            browser.presses("Make the project").await;
        }
        assert!(browser.reads("tbody").await.contains(&hostile));
        browser.photographs("projects").await;
        browser
            .client
            .find(fantoccini::Locator::Css("tbody a"))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
        browser.photographs("project").await;
        browser
            .client
            .find(fantoccini::Locator::Css("a.alarm"))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
        browser.photographs("project-delete").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

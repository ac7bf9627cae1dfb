//! The console's pages about roles.

use std::time::Duration;

use fantoccini::Locator;
use portcullis::tenancy::{self, Role, RoleRef};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Caller, Database, Person, Redirected, World};

/// Somebody with a role of the organization's own.
async fn member_with(world: &World, email: &str, role: &str) -> Person {
    let person = world.stranger(email).await;
    let app = &world.server.app;
    let (db, now, id) = (app.db.writer(), app.clock.now(), person.id(&world.server).await);
    let role: RoleRef = role.parse().unwrap();
    tenancy::insert_membership(db, now, world.organization, id, role).await.unwrap();
    person
}

/// A role of the organization's own, made by its owner.
async fn own_role(world: &World, name: &str, scopes: &[&str]) -> String {
    let owner = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let made = owner.posts("/v1/roles", &json!({ "name": name, "scopes": scopes })).await;
    made.member("id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_made_changed_and_deleted() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let list = format!("/o/{}/roles", world.organization);
    let shown = world.owner.gets(&list).await.text;
    for words in ["Owner", "Admin", "Member", "Viewer", "alone makes and demotes owners"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let new = format!("{list}/new");
    let page = world.owner.gets(&new).await.text;
    // A scope of two APIs is offered once, with what either says of it.
    assert_eq!(page.matches(r#"value="read:users""#).count(), 1, "{page}");
    assert!(page.contains("Portcullis: See every account of the installation"), "{page}");
    let refused = world
        .owner
        .sends_form(
            &page,
            &new,
            &[
                ("name", ""),
                ("scopes", "read:tenants"),
                ("further_scopes", "read:tenants/acme No!"),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Name</a> must have 1 to 100 characters."), "{refused:?}");
    assert!(refused.text.contains("Further scopes (2)</a> is not a scope"), "{refused:?}");
    assert!(refused.text.contains(r#"value="read:tenants" checked"#), "{refused:?}");
    assert!(refused.text.contains("read:tenants/acme No!</textarea>"), "{refused:?}");
    let none = world.owner.sends_form(&page, &new, &[("name", "Guide")]).await;
    assert!(none.text.contains("Scopes</a> must hold 1 to 100 scopes."), "{none:?}");

    let fields = [("name", "Guide"), ("scopes", "read:tenants"), ("scopes", "read:members")];
    let made = Redirected::of(&world.owner.sends_form(&page, &new, &fields).await).location;
    let again = world.owner.sends_form(&page, &new, &fields).await;
    assert_eq!(Redirected::of(&again).location, made, "a reload makes nothing");
    let taken = world.owner.fills_in(&new, &new, &fields).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(taken.text.contains("has a role of that name already"), "{taken:?}");
    let one = made.strip_suffix("?done=created").unwrap();

    let guide = member_with(&world, "guide@example.com", one.rsplit('/').next().unwrap()).await;
    guide.logs_in().await;
    let members = format!("/o/{}/members", world.organization);
    assert_eq!(guide.gets(&members).await.status, StatusCode::OK);
    let before = world.owner.gets(one).await.text;
    assert!(before.contains("<bdi>guide@example.com</bdi>"), "{before}");
    assert!(before.contains(r#"value="read:members" checked"#), "{before}");
    let fields =
        [("name", "Scout"), ("scopes", "read:tenants"), ("further_scopes", "read:users/acme")];
    let changed = world.owner.sends_form(&before, one, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    // At the next click.
    assert_eq!(guide.gets(&members).await.status, StatusCode::FORBIDDEN);
    let stale = world.owner.sends_form(&before, one, &fields).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");
    let after = world.owner.gets(one).await.text;
    assert!(after.contains("read:users/acme</textarea>"), "{after}");
    assert!(after.contains("See your users (only acme)"), "{after}");

    let delete = format!("{one}/delete");
    let wrong = world.owner.fills_in(&delete, &delete, &[("name", "Guide")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    let used = world.owner.fills_in(&delete, &delete, &[("name", "Scout")]).await;
    assert_eq!(used.status, StatusCode::CONFLICT);
    assert!(used.text.contains("The role is in use"), "{used:?}");
    world.puts(&guide, Some(Role::Viewer)).await;
    let gone = world.owner.fills_in(&delete, &delete, &[("name", "Scout")]).await;
    assert_eq!(Redirected::of(&gone).location, format!("{list}?done=deleted"));
    assert_eq!(world.owner.gets(one).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_for_those_who_may_and_reach_no_further_than_they_do() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let clerk = own_role(&world, "Clerk", &["admin:roles", "read:tenants"]).await;
    let wide = own_role(&world, "Wide", &["write:tenants"]).await;
    let clerk = member_with(&world, "clerk@example.com", &clerk).await;
    let vera = world.member("vera@example.com", Role::Viewer).await;
    let stranger = world.stranger("eve@example.com").await;
    let theirs = world.organization_of(&stranger, "Theirs").await;
    for person in [&clerk, &vera, &stranger, &world.owner] {
        person.logs_in().await;
    }
    let list = format!("/o/{}/roles", world.organization);
    let new = format!("{list}/new");
    // They are offered what they may do themselves, and get no more by a form of their own.
    let page = clerk.gets(&new).await.text;
    assert!(page.contains(r#"value="read:tenants""#), "{page}");
    assert!(!page.contains(r#"value="write:tenants""#) && !page.contains(r#"value="admin""#));
    let fields = [("name", "More"), ("scopes", "write:tenants")];
    let refused = clerk.sends_form(&page, &new, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("is more than you may do yourself"), "{refused:?}");

    let page = vera.gets(&list).await.text;
    assert!(page.contains("<bdi>Clerk</bdi>") && !page.contains("/roles/new"), "{page}");
    let one = format!("{list}/{wide}");
    let page = vera.gets(&one).await.text;
    assert!(page.contains("Create and change your tenants"), "{page}");
    assert!(!page.contains("<form class=\"sheet\""), "{page}");
    for path in [new, one.clone(), format!("{one}/delete")] {
        let answer = vera.posts(&path, &[("name", "Wide")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
    }
    // Built-in roles have a page and no form; others' roles are not found.
    let built_in = world.owner.gets(&format!("{list}/admin")).await;
    assert!(built_in.text.contains("the same in every organization"), "{built_in:?}");
    assert!(!built_in.text.contains("<form class=\"sheet\""), "{built_in:?}");
    for path in [format!("{list}/admin"), format!("{list}/admin/delete")] {
        let answer = world.owner.posts(&path, &[("name", "admin"), ("scopes", "read")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }
    for path in [
        format!("/o/{theirs}/roles/{wide}"),
        format!("/o/{theirs}/roles/{wide}/delete"),
        format!("/o/{theirs}/roles/king"),
    ] {
        assert_eq!(stranger.gets(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let fields = [("name", "Wide"), ("scopes", "read"), ("version", "1")];
    let answer = stranger.posts(&format!("/o/{theirs}/roles/{wide}"), &fields).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_asked_for_before_a_role_changes() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let wide = own_role(&world, "Wide", &["write:tenants"]).await;
    world.owner.logs_in().await;
    let list = format!("/o/{}/roles", world.organization);
    for (path, fields) in [
        (format!("{list}/new"), vec![("name", "New"), ("scopes", "read:tenants")]),
        (format!("{list}/{wide}"), vec![("name", "Wider"), ("scopes", "read:tenants")]),
        (format!("{list}/{wide}/delete"), vec![("name", "Wider")]),
    ] {
        world.server.passes(Duration::from_secs(15 * 60));
        let page = world.owner.gets(&path).await.text;
        let mut without = fields.clone();
        without.push(("password", ""));
        let refused = world.owner.sends_form(&page, &path, &without).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {refused:?}");
        assert!(refused.text.contains("must be entered again"), "{refused:?}");
        let done = world.owner.sends_form(&page, &path, &fields).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{path}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_roles_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(40));
    let role = own_role(&world, &hostile, &["read:tenants/acme", "write:members", "read"]).await;
    member_with(&world, "guide@example.com", &role).await;
    let base = format!("/o/{}/roles", world.organization);
    let url = |path: &str| world.server.url(&format!("{base}{path}"));
    Browser::does(async |browser| {
        browser.goes_to(&url("")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.photographs("roles").await;
        browser.goes_to(&url("/viewer")).await;
        browser.photographs("role-built-in").await;
        browser.goes_to(&url(&format!("/{role}"))).await;
        assert_eq!(browser.reads("h1 bdi").await, hostile);
        browser.photographs("role").await;
        browser.goes_to(&url(&format!("/{role}/delete"))).await;
        browser.photographs("role-delete").await;
        world.server.passes(Duration::from_secs(15 * 60));
        browser.goes_to(&url("/new")).await;
        browser.fills("name", "Guide").await;
        let scope = Locator::Css("input[value='read:tenants']");
        browser.client.find(scope).await.unwrap().click().await.unwrap();
        browser.fills("further_scopes", "No!").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Make the role").await;
        browser.photographs("role-new-refused").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

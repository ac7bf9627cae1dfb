//! The console's pages about members and invitations.

use std::time::Duration;

use entity::UserId;
use fantoccini::Locator;
use portcullis::audit::By;
use portcullis::identity::{NewUser, create_user};
use portcullis::tenancy::{self, Role};
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Database, Mailbox, Person, Redirected, Server, World};

const AFTER_A_WHILE: Duration = Duration::from_secs(15 * 60);

/// The page about a member.
fn page_of(world: &World, user: UserId) -> String {
    format!("/o/{}/members/{user}", world.organization)
}

async fn gives(world: &World, actor: &Person, role: &str, to: UserId) -> Answer {
    let page = page_of(world, to);
    actor.fills_in(&page, &page, &[("role", role)]).await
}

/// The secret link on a page that shows one.
fn link_on(page: &Answer) -> String {
    let link = page.text.split(r#"id="link" data-secret>"#).nth(1);
    link.unwrap_or_else(|| panic!("{page:?}")).split('<').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_and_searched() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let vera = world.member("vera@example.com", Role::Viewer).await;
    world.member("mia@example.com", Role::Member).await;
    let list = format!("/o/{}/members", world.organization);
    world.owner.logs_in().await;
    let shows = async |query: &str| -> Vec<bool> {
        let text = world.owner.gets(&format!("{list}{query}")).await.text;
        let people = ["ada@", "vera@", "mia@"];
        people.map(|it| text.contains(&format!("<bdi>{it}example.com</bdi>"))).to_vec()
    };
    // One's own address stands at the top of every page.
    assert_eq!(shows("").await, [true, true, true]);
    assert_eq!(shows("?email=VE").await, [true, true, false]);
    assert_eq!(shows("?role=member").await, [true, false, true]);
    let nobody = world.owner.gets(&format!("{list}?email=zoe%00&role=viewer")).await.text;
    assert!(nobody.contains("Nobody fits") && nobody.contains(r#"value="zoe""#), "{nobody}");

    vera.logs_in().await;
    let page = vera.gets(&list).await;
    assert!(page.text.contains("/leave") && !page.text.contains("/invitations/new"), "{page:?}");
    let other = page_of(&world, world.owner.id(&world.server).await);
    let page = vera.gets(&other).await;
    assert!(page.status == StatusCode::OK && !page.text.contains(r#"name="role""#), "{page:?}");
    let invite = format!("/o/{}/invitations/new", world.organization);
    for answer in [
        vera.posts(&other, &[("role", "viewer")]).await,
        vera.gets(&format!("{other}/remove")).await,
        vera.posts(&format!("{other}/remove"), &[("email", "ada@example.com")]).await,
        vera.gets(&invite).await,
        vera.posts(&invite, &[("email", "x@example.com"), ("role", "viewer")]).await,
    ] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_role_is_in_force_at_the_next_click() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let bob = world.member("bob@example.com", Role::Admin).await;
    bob.logs_in().await;
    world.owner.logs_in().await;
    let log = format!("/o/{}/audit-log", world.organization);
    assert_eq!(bob.gets(&log).await.status, StatusCode::OK);

    let page = page_of(&world, bob.id(&world.server).await);
    let before = world.owner.gets(&page).await.text;
    let nothing = world.owner.sends_form(&before, &page, &[]).await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(nothing.text.contains("Role</a> must be chosen."), "{nothing:?}");
    let changed = world.owner.sends_form(&before, &page, &[("role", "viewer")]).await;
    assert_eq!(Redirected::of(&changed).location, format!("{page}?done=changed"));
    let refused = bob.gets(&log).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("you are viewer"), "{refused:?}");
    // The page from before knows an older version.
    let stale = world.owner.sends_form(&before, &page, &[("role", "admin")]).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");
    assert_eq!(bob.gets(&log).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_on_a_page_what_they_may_not_give() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let (ada, server) = (world.owner.id(&world.server).await, &world.server);
    let admin = world.member("admin@example.com", Role::Admin).await;
    let mia = world.member("mia@example.com", Role::Member).await.id(server).await;
    let stranger = world.stranger("eve@example.com").await;
    let theirs = world.organization_of(&stranger, "Theirs").await;
    for person in [&admin, &world.owner, &stranger] {
        person.logs_in().await;
    }
    // An admin is not offered what an owner gives, and does not get it by a form of their own.
    let page = admin.gets(&page_of(&world, mia)).await.text;
    assert!(page.contains(r#"value="admin""#) && !page.contains(r#"value="owner""#), "{page}");
    let refused = admin.sends_form(&page, &page_of(&world, mia), &[("role", "owner")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert!(refused.text.contains("Only an owner makes somebody an owner"), "{refused:?}");
    let page = admin.gets(&page_of(&world, ada)).await.text;
    assert!(!page.contains(r#"name="role""#) && !page.contains("/remove"), "{page}");
    let fields = [("role", "viewer"), ("version", "1")];
    let refused = admin.posts(&page_of(&world, ada), &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    let path = format!("{}/remove", page_of(&world, ada));
    let refused = admin.posts(&path, &[("email", "ada@example.com")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");

    // The last owner stays.
    for answer in [
        gives(&world, &world.owner, "admin", ada).await,
        world.owner.posts(&path, &[("email", "ada@example.com")]).await,
        leaves(&world, &world.owner, "Example").await,
    ] {
        assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
        assert!(answer.text.contains("This is the last owner"), "{answer:?}");
    }
    // Their own leaving has a page of its own.
    let own = world.owner.gets(&path).await;
    assert_eq!(Redirected::of(&own).location, format!("/o/{}/leave", world.organization));

    // People of another organization are not found, whichever way they are asked for.
    let eve = stranger.id(server).await;
    for path in [page_of(&world, eve), format!("/o/{theirs}/members/{eve}")] {
        assert_eq!(world.owner.gets(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        let answer = world.owner.posts(&path, &[("role", "viewer"), ("version", "1")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }
    let made = gives(&world, &world.owner, "owner", mia).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{made:?}");
    let demoted = gives(&world, &world.owner, "admin", ada).await;
    assert_eq!(demoted.status, StatusCode::SEE_OTHER, "{demoted:?}");
}

async fn leaves(world: &World, person: &Person, typed: &str) -> Answer {
    let page = format!("/o/{}/leave", world.organization);
    person.fills_in(&page, &page, &[("name", typed)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_removed_and_leave() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let bob = world.member("bob@example.com", Role::Member).await;
    let vera = world.member("vera@example.com", Role::Viewer).await;
    for person in [&world.owner, &bob, &vera] {
        person.logs_in().await;
    }
    let list = format!("/o/{}/members", world.organization);
    let remove = format!("{}/remove", page_of(&world, bob.id(&world.server).await));
    let wrong = world.owner.fills_in(&remove, &remove, &[("email", "vera@example.com")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(bob.gets(&list).await.status, StatusCode::OK);
    let right = world.owner.fills_in(&remove, &remove, &[("email", "Bob@example.com")]).await;
    assert_eq!(Redirected::of(&right).location, format!("{list}?done=removed"));
    assert_eq!(bob.gets(&list).await.status, StatusCode::NOT_FOUND);
    let gone = world.owner.gets(&remove).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{gone:?}");

    let wrong = leaves(&world, &vera, "Exempel").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    let left = leaves(&world, &vera, "Example").await;
    assert_eq!(Redirected::of(&left).location, "/");
    assert!(vera.gets("/").await.text.contains("You belong to no organization yet"));
    assert_eq!(vera.gets(&list).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_shows_its_link_once() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let list = format!("/o/{}/invitations", world.organization);
    assert!(world.owner.gets(&list).await.text.contains("No open invitations"));
    let new = format!("{list}/new");
    let page = world.owner.gets(&new).await.text;
    let refused =
        world.owner.sends_form(&page, &new, &[("email", "grace"), ("role", "viewer")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("E-mail") && refused.text.contains("must be an e-mail address"));
    assert!(refused.text.contains(r#"value="grace""#), "{refused:?}");
    assert!(refused.text.contains(r#"value="viewer" checked"#), "{refused:?}");

    let fields = [("email", "Grace@example.com"), ("role", "viewer")];
    let made = world.owner.sends_form(&page, &new, &fields).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let link = link_on(&made);
    // A reload makes nothing and shows no secret.
    let again = world.owner.sends_form(&page, &new, &fields).await;
    let one = Redirected::of(&again).location;
    let shown = world.owner.gets(&one).await;
    assert_eq!(shown.status, StatusCode::OK, "{shown:?}");
    let token = link.rsplit('=').next().unwrap();
    for page in [&shown, &world.owner.gets(&list).await] {
        assert!(page.text.contains("<bdi>grace@example.com</bdi>"), "{page:?}");
        assert!(!page.text.contains(token), "{page:?}");
    }
    assert_eq!(world.owner.gets(&list).await.text.matches("grace@example.com").count(), 1);
    // An earlier invitation of the same address ends.
    let second = world.owner.fills_in(&new, &new, &fields).await;
    let second = link_on(&second);
    assert!(world.owner.gets(&one).await.text.contains("Revoked"));
    let all = world.owner.gets(&format!("{list}?status=all&email=GR")).await.text;
    assert_eq!(all.matches("<bdi>grace@example.com</bdi>").count(), 2, "{all}");

    let grace = Person::new(&world.server, "grace@example.com", PASSWORD);
    let path = |link: &str| link.strip_prefix(&world.server.issuer).unwrap().to_owned();
    assert_eq!(grace.gets(&path(&link)).await.status, StatusCode::FORBIDDEN);
    let form = [("decision", "join"), ("name", "Grace"), ("password", PASSWORD)];
    let joined = grace.fills_in(&path(&second), "/invitation", &form).await;
    assert_eq!(joined.status, StatusCode::SEE_OTHER, "{joined:?}");
    assert!(world.owner.gets(&format!("{list}?status=accepted")).await.text.contains("Accepted"));
    let member = world.owner.fills_in(&new, &new, &fields).await;
    assert_eq!(member.status, StatusCode::CONFLICT, "{member:?}");
    assert!(member.text.contains("They are a member already."), "{member:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_revoked_by_those_who_may() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let admin = world.member("admin@example.com", Role::Admin).await;
    let vera = world.member("vera@example.com", Role::Viewer).await;
    let stranger = world.stranger("eve@example.com").await;
    let theirs = world.organization_of(&stranger, "Theirs").await;
    for person in [&admin, &vera, &stranger] {
        person.logs_in().await;
    }
    let list = format!("/o/{}/invitations", world.organization);
    let new = format!("{list}/new");
    let page = admin.gets(&new).await.text;
    assert!(!page.contains(r#"value="owner""#), "{page}");
    let owner =
        admin.sends_form(&page, &new, &[("email", "x@example.com"), ("role", "owner")]).await;
    assert_eq!(owner.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(owner.text.contains("can be given by an owner only"), "{owner:?}");
    let made = admin.fills_in(&new, &new, &[("email", "x@example.com"), ("role", "member")]).await;
    let link = link_on(&made);

    let shown = vera.gets(&list).await.text;
    assert!(shown.contains("x@example.com") && !shown.contains("/invitations/new"), "{shown}");
    let one = format!("{list}/inv_{}", shown.split("/invitations/inv_").nth(1).unwrap());
    let one = one.split('"').next().unwrap().to_owned();
    let revoke = format!("{one}/revoke");
    assert_eq!(vera.posts(&revoke, &[]).await.status, StatusCode::FORBIDDEN);
    let elsewhere = revoke.replace(&world.organization.to_string(), &theirs.to_string());
    assert_eq!(stranger.gets(&elsewhere).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stranger.posts(&elsewhere, &[]).await.status, StatusCode::NOT_FOUND);
    let done = admin.fills_in(&revoke, &revoke, &[]).await;
    assert_eq!(Redirected::of(&done).location, format!("{list}?done=revoked"));
    let path = link.strip_prefix(&world.server.issuer).unwrap();
    assert_eq!(world.owner.gets(path).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_mailed_where_mail_is_configured() {
    let mut mailbox = Mailbox::open().await;
    let url = mailbox.url();
    let started = Server::start_with(Database::Sqlite, |settings| {
        settings.mail.smtp_url = url.into();
        settings.mail.from = "auth@example.com".to_owned();
    });
    let Some(server) = started.await else { return };
    let world = World::around(server).await;
    world.owner.logs_in().await;
    let new = format!("/o/{}/invitations/new", world.organization);
    let page = world.owner.gets(&new).await.text;
    let fields = [("email", "grace@example.com"), ("role", "member")];
    let made = world.owner.sends_form(&page, &new, &fields).await;
    assert!(made.text.contains("is on its way"), "{made:?}");
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["grace@example.com"]);
    assert!(mail.text.contains(&link_on(&made)), "{mail:?}");
    world.owner.sends_form(&page, &new, &fields).await;
    assert!(mailbox.is_empty(), "a reload mails nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_asked_for_again_after_a_while() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let bob = world.member("bob@example.com", Role::Member).await;
    world.owner.logs_in().await;
    let member = page_of(&world, bob.id(&world.server).await);
    let invite = format!("/o/{}/invitations/new", world.organization);
    let asks = r#"name="password""#;
    assert!(!world.owner.gets(&member).await.text.contains(asks));
    for (action, fields) in [
        (member.clone(), vec![("role", "viewer")]),
        (invite, vec![("email", "x@example.com"), ("role", "viewer")]),
        (format!("{member}/remove"), vec![("email", "bob@example.com")]),
    ] {
        world.server.passes(AFTER_A_WHILE);
        let page = world.owner.gets(&action).await.text;
        assert!(page.contains(asks), "{action}: {page}");
        let with = |password: &'static str| {
            let mut fields = fields.clone();
            fields.push(("password", password));
            fields
        };
        let none = world.owner.sends_form(&page, &action, &with("")).await;
        assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY, "{none:?}");
        assert!(none.text.contains("must be entered again"), "{none:?}");
        let wrong = world.owner.sends_form(&page, &action, &with("hunter2")).await;
        assert!(wrong.text.contains("It is wrong."), "{wrong:?}");
        assert!(!wrong.text.contains("hunter2"), "{wrong:?}");
        let right = world.owner.sends_form(&page, &action, &with(PASSWORD)).await;
        assert!(right.status.is_success() || right.status.is_redirection(), "{right:?}");
    }
    assert_eq!(world.owner.gets(&member).await.status, StatusCode::NOT_FOUND);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn members_are_counted_by_role_and_told_from_others(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let a = world.member("a@example.com", Role::Viewer).await.id(&world.server).await;
    world.member("b@example.com", Role::Viewer).await;
    let stranger = world.stranger("eve@example.com").await;
    world.organization_of(&stranger, "Theirs").await;
    let eve = stranger.id(&world.server).await;
    let (reader, organization) = (world.server.app.db.reader(), world.organization);
    let counts = tenancy::count_members_by_role(reader, organization).await.unwrap();
    assert_eq!((counts.len(), counts["owner"], counts["viewer"]), (2, 1, 2));
    let found = tenancy::members_among(reader, organization, vec![eve, a]).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [a]);
    let none = tenancy::members_among(reader, organization, vec![]).await.unwrap();
    assert!(none.is_empty());
    let users = portcullis::identity::find_users(
        reader,
        vec![a, eve, UserId::new(world.server.app.clock.now())],
    );
    assert_eq!(users.await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_members_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = &world.server.app;
    let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(40));
    let new = NewUser { email: "mallory@example.com", name: &hostile, password: &PASSWORD.into() };
    let (now, by) = (app.clock.now(), By::operator());
    create_user(&app.db, &app.passwords, now, &by, new, None).await.unwrap();
    let mallory = Person::new(&world.server, "mallory@example.com", PASSWORD);
    let id = mallory.id(&world.server).await;
    tenancy::insert_membership(app.db.writer(), now, world.organization, id, Role::Member)
        .await
        .unwrap();
    world.member("vera@example.com", Role::Viewer).await;
    let base = format!("/o/{}", world.organization);
    let url = |path: &str| world.server.url(&format!("{base}{path}"));
    Browser::does(async |browser| {
        browser.goes_to(&url("/members")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.photographs("members").await;
        browser.goes_to(&url("/members?email=nobody")).await;
        browser.photographs("members-nobody").await;
        browser.goes_to(&url("/invitations")).await;
        browser.photographs("invitations-empty").await;
        browser.goes_to(&url("/invitations/new")).await;
        browser.fills("email", "grace").await;
        browser
            .client
            .find(Locator::Css("input[value=viewer]"))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
        browser.presses("Make the link").await;
        browser.photographs("invitation-new-refused").await;
        browser.fills("email", "grace@example.com").await;
        browser.presses("Make the link").await;
        browser.photographs("invitation-made").await;
        assert!(browser.reads("#link").await.contains("/invitation?token="));
        browser.goes_to(&url("/invitations")).await;
        browser.photographs("invitations").await;
        browser.client.find(Locator::Css("tbody a")).await.unwrap().click().await.unwrap();
        browser.photographs("invitation").await;
        browser.client.find(Locator::Css("a.alarm")).await.unwrap().click().await.unwrap();
        browser.photographs("invitation-revoke").await;
        world.server.passes(AFTER_A_WHILE);
        browser.goes_to(&url(&format!("/members/{id}"))).await;
        assert_eq!(browser.reads("h1 bdi").await, hostile);
        browser.photographs("member").await;
        browser.goes_to(&url(&format!("/members/{id}/remove"))).await;
        browser.photographs("member-remove").await;
        browser.goes_to(&url("/leave")).await;
        browser.fills("name", "Example").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Leave the organization").await;
        browser.photographs("leave-refused").await;
        // The last owner is told so by a page with the status of a conflict.
        let complaints = browser.complaints().await;
        let is_of_that = |it: &String| it.contains("a status of 409");
        assert!(complaints.iter().all(is_of_that), "{complaints:?}");
    })
    .await;
}

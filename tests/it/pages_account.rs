//! One's own account: the name, the password, and where one is logged in.

use std::time::Duration;

use entity::audit_event;
use futures::future::{join, join_all};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};

use crate::alerts::world_with;
use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Database, Mailbox, Person, Redirected, World};
use crate::invitations::trail;

const PAGE: &str = "/account";
const PASSWORD_PAGE: &str = "/account/password";
const OTHERS: &str = "/account/sessions/end-others";
const NEW_PASSWORD: &str = "another horse in the same stable";
const FIREFOX: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:120.0) Gecko/20100101 Firefox/120.0";

/// Another browser of the same person, logged in.
async fn another_browser(world: &World, user_agent: &str) -> Person {
    let person = Person::new(&world.server, &world.owner.email, &world.owner.password);
    let form = [("email", person.email.as_str()), ("password", &person.password)];
    let answer = person.posts_with("/login", &form, &[("user-agent", user_agent)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    world.server.passes(Duration::from_millis(1));
    person
}

async fn is_in(person: &Person) -> bool {
    let answer = person.gets(PAGE).await;
    match answer.status {
        StatusCode::OK => true,
        _ => {
            assert!(Redirected::of(&answer).location.starts_with("/login?next="), "{answer:?}");
            false
        }
    }
}

async fn changes(person: &Person, current: &str, new: &str) -> Answer {
    let fields = [("current_password", current), ("new_password", new)];
    person.fills_in(PASSWORD_PAGE, PASSWORD_PAGE, &fields).await
}

async fn may_log_in(world: &World, password: &str) -> bool {
    let person = Person::new(&world.server, &world.owner.email, password);
    let form = [("email", person.email.as_str()), ("password", password)];
    person.posts("/login", &form).await.status == StatusCode::SEE_OTHER
}

/// The sessions on the page that can be ended: all but its own.
fn others(page: &Answer) -> Vec<String> {
    let rest = page.text.split("action=\"/account/sessions/").skip(1);
    let ids = rest.map(|rest| rest.split(['/', '"']).next().unwrap().to_owned());
    ids.filter(|id| id.starts_with("ses_")).collect()
}

async fn count(world: &World, action: &str) -> u64 {
    let found = audit_event::Entity::find().filter(audit_event::Column::Action.eq(action));
    found.count(world.server.app.db.reader()).await.unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_other_session(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let ada = &world.owner;
    ada.logs_in().await;
    let phone = another_browser(&world, FIREFOX).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    bob.logs_in().await;
    assert!(is_in(&phone).await);

    let changed = changes(ada, PASSWORD, NEW_PASSWORD).await;
    assert_eq!(Redirected::of(&changed).location, "/account?done=password");
    assert!(ada.follows(&changed).await.text.contains("Your password is changed"));
    assert!(is_in(ada).await && is_in(&bob).await);
    assert!(!is_in(&phone).await, "the cookie of another session is worth nothing any more");
    assert!(!may_log_in(&world, PASSWORD).await);
    assert!(may_log_in(&world, NEW_PASSWORD).await);
    let id = ada.id(&world.server).await.to_string();
    let trail = trail(&world, &id).await;
    assert!(trail.contains(&("user.password_changed".to_owned(), id)), "{trail:?}");

    // They are told, in case that it was somebody else.
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert_eq!(mail.header("subject"), "Your password was changed");
    assert!(mail.text.contains("from 127.0.0.1"), "{}", mail.text);
    assert!(!mail.text.contains(NEW_PASSWORD) && !mail.text.contains(PASSWORD));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_current_password_changes_nothing_and_guessing_is_throttled(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    ada.logs_in().await;
    let phone = another_browser(&world, FIREFOX).await;
    let refused = changes(ada, "a wrong password", NEW_PASSWORD).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("Current password</a> is wrong."), "{refused:?}");
    assert!(!refused.text.contains("a wrong password") && !refused.text.contains(NEW_PASSWORD));
    assert!(is_in(&phone).await);
    assert_eq!(count(&world, "user.password_refused").await, 1);

    let guesses = join_all((0..12).map(|_| changes(ada, "a wrong password", NEW_PASSWORD))).await;
    let throttled = |answer: &&Answer| answer.text.contains("was entered too often; please wait");
    assert!(guesses.iter().filter(throttled).count() >= 4, "{guesses:?}");
    let late = changes(ada, PASSWORD, NEW_PASSWORD).await;
    assert!(late.text.contains("was entered too often"), "the right one too: {late:?}");
    assert_eq!(count(&world, "user.password_changed").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_follows_the_rules_of_the_first() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let ada = &world.owner;
    let answer = ada.posts(PASSWORD_PAGE, &[("new_password", NEW_PASSWORD)]).await;
    assert_eq!(Redirected::of(&answer).location, "/login?next=%2Faccount%2Fpassword");
    ada.logs_in().await;
    let long = "x".repeat(257);
    for (new, words) in [
        ("too short", "must have at least 12 characters"),
        (&*long, "must have at most 256 characters"),
        ("", "must have at least 12 characters"),
        (PASSWORD, "must be another than the current one"),
    ] {
        let refused = changes(ada, PASSWORD, new).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{new}: {refused:?}");
        assert!(refused.text.contains(&format!("New password</a> {words}.")), "{refused:?}");
    }
    assert_eq!(count(&world, "user.password_refused").await, 0, "nothing was guessed at");
    assert!(may_log_in(&world, PASSWORD).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_several_changes_at_once_one_wins_and_no_login_slips_through(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    ada.logs_in().await;
    let news: Vec<String> = (0..3).map(|n| format!("{NEW_PASSWORD} {n}")).collect();
    let changing = join_all(news.iter().map(|new| changes(ada, PASSWORD, new)));
    let browsers: Vec<Person> =
        (0..5).map(|_| Person::new(&world.server, &ada.email, PASSWORD)).collect();
    let form = [("email", ada.email.as_str()), ("password", PASSWORD)];
    let logging_in = join_all(browsers.iter().map(|it| it.posts("/login", &form)));
    let (changed, _) = join(changing, logging_in).await;
    let winners: Vec<usize> =
        (0..news.len()).filter(|at| changed[*at].status == StatusCode::SEE_OTHER).collect();
    assert_eq!(winners.len(), 1, "{changed:?}");
    // Whoever got in by the old password before is out, and nobody does after.
    for browser in &browsers {
        assert!(!is_in(browser).await, "a login by the old password outlived it");
    }
    assert!(is_in(ada).await);
    world.server.passes(Duration::from_secs(60));
    assert!(may_log_in(&world, &news[winners[0]]).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_is_worth_nothing_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    let phone = another_browser(&world, FIREFOX).await;
    ada.logs_in().await;
    let page = ada.gets(PAGE).await;
    for words in ["Firefox on Windows", "from 127.0.0.1", "This one", "Logged in", "Ends"] {
        assert!(page.text.contains(words), "{words}: {page:?}");
    }
    assert_eq!(page.text.matches("This one").count(), 1, "{page:?}");
    let ids = others(&page);
    assert_eq!(ids.len(), 1, "{page:?}");
    let end = format!("/account/sessions/{}/end", ids[0]);

    // Somebody else's is none of theirs.
    let eve = world.stranger("eve@example.com").await;
    eve.logs_in().await;
    assert!(others(&eve.gets(PAGE).await).is_empty());
    assert_eq!(Redirected::of(&eve.posts(&end, &[]).await).location, "/account");
    assert!(is_in(&phone).await);
    assert_eq!(eve.posts("/account/sessions/x/end", &[]).await.status, StatusCode::NOT_FOUND);
    // Nor does a link end anything, or another site.
    assert_eq!(Redirected::of(&ada.gets(&end).await).location, "/account");
    let forged = ada.posts_with(&end, &[], &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert!(is_in(&phone).await);

    let ended = ada.posts(&end, &[]).await;
    assert_eq!(Redirected::of(&ended).location, "/account?done=session");
    assert!(!is_in(&phone).await && is_in(ada).await);
    assert!(others(&ada.gets(PAGE).await).is_empty());
    assert_eq!(Redirected::of(&ada.posts(&end, &[]).await).location, "/account", "once more");
    assert_eq!(count(&world, "user.session_ended").await, 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_other_sessions_end_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    ada.logs_in().await;
    assert!(!ada.gets(PAGE).await.text.contains(OTHERS), "there are none");
    let bob = world.member("bob@example.com", Role::Member).await;
    bob.logs_in().await;
    let (phone, desk) =
        (another_browser(&world, FIREFOX).await, another_browser(&world, "curl/8").await);
    let ended = ada.fills_in(PAGE, OTHERS, &[]).await;
    assert_eq!(Redirected::of(&ended).location, "/account?done=sessions");
    assert!(!is_in(&phone).await && !is_in(&desk).await);
    assert!(is_in(ada).await && is_in(&bob).await);
    assert_eq!(count(&world, "user.other_sessions_ended").await, 1);
    ada.posts(OTHERS, &[]).await;
    assert_eq!(count(&world, "user.other_sessions_ended").await, 1, "there was nothing to end");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_call_themselves_what_they_like() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let ada = &world.owner;
    ada.logs_in().await;
    let name = "Ada <b>Lovelace</b>";
    let saved = ada.fills_in(PAGE, PAGE, &[("name", name)]).await;
    assert_eq!(Redirected::of(&saved).location, "/account?done=renamed");
    let page = ada.follows(&saved).await;
    assert!(page.text.contains("value=\"Ada &#60;b&#62;Lovelace&#60;/b&#62;\""), "{page:?}");
    let long = "x".repeat(101);
    for wrong in [" ", &long, "a\u{7}b"] {
        let refused = ada.fills_in(PAGE, PAGE, &[("name", wrong)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
        assert!(refused.text.contains("Name</a> must"), "{refused:?}");
    }
    let id = ada.id(&world.server).await.to_string();
    let trail = trail(&world, &id).await;
    assert_eq!(trail.iter().filter(|(action, _)| action == "user.renamed").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_account_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    another_browser(&world, FIREFOX).await;
    another_browser(&world, &"unbreakable".repeat(18)).await;
    Browser::does(async |browser| {
        browser.goes_to(&world.server.url(PAGE)).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        assert_eq!(browser.reads("h1").await, "My account");
        browser.photographs("account").await;
        let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(40));
        let script = "document.getElementById('name').value = arguments[0]";
        browser.client.execute(script, vec![hostile.into()]).await.unwrap();
        browser.presses("Save").await;
        browser.photographs("account-renamed").await;
        browser.goes_to(&world.server.url(PASSWORD_PAGE)).await;
        browser.photographs("account-password").await;
        browser.fills("current_password", "a wrong password").await;
        browser.fills("new_password", NEW_PASSWORD).await;
        browser.presses("Change the password").await;
        browser.photographs("account-password-refused").await;
        browser.fills("current_password", PASSWORD).await;
        browser.fills("new_password", NEW_PASSWORD).await;
        browser.presses("Change the password").await;
        assert!(browser.reads("[role=status]").await.contains("Your password is changed"));
        browser.photographs("account-password-changed").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

//! The console's pages about applications: OAuth clients, their secrets, and what to paste into them.

use std::time::Duration;

use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::claims;
use crate::harness::browser::Browser;
use crate::harness::world::REDIRECT_URI;
use crate::harness::{Answer, Application, Database, Redirected, World};

/// The address of the list.
fn list(world: &World) -> String {
    format!("/o/{}/applications", world.organization)
}

/// The box of a scope of the usual API.
fn scope(world: &World, scope: &str) -> String {
    format!("{} {scope}", world.api.id)
}

/// The secret on the page that shows it.
fn secret_on(page: &Answer) -> String {
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(!page.text.contains("<nav"), "there is a way on without storing it: {page:?}");
    assert!(page.text.contains("I have stored it"), "{page:?}");
    let rest = page.text.split_once("data-secret>").unwrap().1;
    rest.split('<').next().unwrap().to_owned()
}

/// The address where the page with a secret leads on to.
fn next_of(page: &Answer) -> String {
    let rest = page.text.split_once(r#"<form method="get" action=""#).unwrap().1;
    rest.split('"').next().unwrap().to_owned()
}

/// The owner, logged in, registers an application with the usual API's `read:tenants`; with its secret and address.
pub async fn registers(world: &World, fields: &[(&str, &str)]) -> (Application, String) {
    let new = format!("{}/new", list(world));
    let scope = scope(world, "read:tenants");
    let mut all = vec![("name", "Dashboard"), ("kind", "confidential"), ("requires_pkce", "1")];
    all.push(("scopes", &scope));
    all.extend_from_slice(fields);
    let page = world.owner.fills_in(&new, &new, &all).await;
    let (secret, next) = (secret_on(&page), next_of(&page));
    let id = next.rsplit('/').next().unwrap().to_owned();
    (Application::new(&world.server, id, Some(secret), REDIRECT_URI.to_owned()), next)
}

pub const FOR_ITSELF: &[(&str, &str)] = &[("grant_types", "client_credentials")];
pub const FOR_PEOPLE: &[(&str, &str)] = &[
    ("grant_types", "authorization_code"),
    ("grant_types", "refresh_token"),
    ("redirect_uris", REDIRECT_URI),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_registered_once_and_its_secret_is_shown_once() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (list, scope) = (list(&world), scope(&world, "read:tenants"));
    assert!(world.owner.gets(&list).await.text.contains("No applications yet"));
    let new = format!("{list}/new");
    let page = world.owner.gets(&new).await.text;
    assert!(page.contains("See your tenants"), "{page}");

    // What is wrong is told where it is, and what was typed is kept.
    let wrong = [
        ("name", "Dash <b>board</b>"),
        ("kind", "public"),
        ("grant_types", "authorization_code"),
        ("redirect_uris", "https://a.example/cb\r\nhttp://b.example/cb"),
        ("requires_pkce", "1"),
        ("scopes", &*scope),
        ("more_scopes", "https://api.example.com read:nothing"),
        ("logo_uri", "nonsense"),
    ];
    let refused = world.owner.sends_form(&page, &new, &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    for told in [
        "Redirect uris (2)</a> must use https, unless it is on a loopback address.",
        "Scopes</a> of Example API: https://api.example.com offers no scope `read:nothing`.",
        "Logo uri</a> must be an absolute URI.",
        r#"value="Dash &#60;b&#62;board&#60;/b&#62;""#,
        r#"value="public" checked"#,
        "http://b.example/cb</textarea>",
        "https://api.example.com read:nothing</textarea>",
        &format!(r#"value="{scope}" checked"#),
    ] {
        assert!(refused.text.contains(told), "{told}: {}", refused.text);
    }
    for (fields, told) in [
        (&[("name", "x"), ("requires_pkce", "1")][..], "Grant types</a> must hold at least one"),
        (&[("name", "x"), ("scopes", "api_nonsense read:x")], "Scopes</a> names `api_nonsense`"),
        (
            &[("name", "x"), ("more_scopes", "https://x read:y")],
            "More scopes</a> names `https://x`",
        ),
        (
            &[("name", "x"), ("grant_types", "client_credentials")],
            "Scopes</a> are missing: tick at least one",
        ),
    ] {
        let refused = world.owner.fills_in(&new, &new, fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
        assert!(refused.text.contains(told), "{told}: {}", refused.text);
    }

    let right = [
        ("name", "Dashboard"),
        ("kind", "confidential"),
        ("grant_types", "client_credentials"),
        ("requires_pkce", "1"),
        ("scopes", &*scope),
        ("more_scopes", "https://api.example.com write:tenants/acme"),
    ];
    let made = world.owner.sends_form(&page, &new, &right).await;
    let (secret, one) = (secret_on(&made), next_of(&made));
    assert!(made.header("cache-control").contains("no-store"), "{made:?}");
    // The browser reloads the page: nothing is made, and nothing secret is shown.
    let again = world.owner.sends_form(&page, &new, &right).await;
    assert_eq!(Redirected::of(&again).location, one);
    for path in ["", "?done=created", "/secrets", "/connect", "/edit"] {
        let page = world.owner.gets(&format!("{one}{path}")).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {page:?}");
        assert!(!page.text.contains(&secret), "{path}: {page:?}");
    }
    let shown = world.owner.gets(&list).await.text;
    assert_eq!(shown.matches("<bdi>Dashboard</bdi>").count(), 1, "{shown}");

    let id = one.rsplit('/').next().unwrap().to_owned();
    let app = Application::new(&world.server, id, Some(secret), String::new());
    let token = app.acts_for_itself("").await.member("access_token").to_owned();
    assert_eq!(claims(&token)["scope"], "read:tenants write:tenants/acme");
    assert!(world.owner.gets(&one).await.text.contains("See your tenants"));

    // A public one has no secret to show.
    let new_fields =
        [("name", "Phone"), ("kind", "public"), ("requires_pkce", "1"), ("scopes", &scope)];
    let fields = [&new_fields[..], FOR_PEOPLE].concat();
    let made = world.owner.fills_in(&new, &new, &fields).await;
    let one = Redirected::of(&made).location;
    assert!(one.ends_with("?done=created"), "{one}");
    let page = world.owner.follows(&made).await;
    assert!(page.text.contains("Public: it has no secret"), "{page:?}");
    let secrets = one.replace("?done=created", "/secrets");
    assert_eq!(world.owner.gets(&secrets).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_overlap_and_the_last_one_stays() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (app, one) = registers(&world, FOR_ITSELF).await;
    let secrets = format!("{one}/secrets");
    let page = world.owner.gets(&secrets).await.text;
    assert!(page.contains("The only one can't be removed"), "{page}");
    assert!(!page.contains("remove-secret"), "{page}");
    let only =
        format!("sec_{}", page.split("<code>sec_").nth(1).unwrap().split('<').next().unwrap());
    let remove = format!("{one}/remove-secret");
    let refused = world.owner.posts(&remove, &[("secret", &only)]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert!(refused.text.contains("It is the only secret of the client"), "{refused:?}");
    assert_eq!(app.acts_for_itself("").await.status, StatusCode::OK);

    let fields = [("grace_seconds", "3600")];
    let made = world.owner.sends_form(&page, &secrets, &fields).await;
    let second =
        Application::new(&world.server, app.id.clone(), Some(secret_on(&made)), String::new());
    let again = world.owner.sends_form(&page, &secrets, &fields).await;
    assert_eq!(Redirected::of(&again).location, secrets);
    for app in [&app, &second] {
        assert_eq!(app.acts_for_itself("").await.status, StatusCode::OK);
    }
    let page = world.owner.gets(&secrets).await.text;
    assert!(page.contains("1 h left"), "{page}");
    assert_eq!(page.matches("<th scope=\"row\">").count(), 2, "{page}");
    assert!(!page.contains(second.secret.as_ref().unwrap()), "{page}");
    // One older secret at most: the next one ends the first.
    let bad = world.owner.fills_in(&secrets, &secrets, &[("grace_seconds", "99999999")]).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
    let asked = format!("{remove}?secret={only}");
    assert!(world.owner.gets(&asked).await.text.contains("works no longer at once"));
    let removed = world.owner.fills_in(&asked, &remove, &[]).await;
    assert_eq!(Redirected::of(&removed).location, format!("{secrets}?done=removed"));
    assert_eq!(app.acts_for_itself("").await.refusal(), "401 invalid_client");
    assert_eq!(second.acts_for_itself("").await.status, StatusCode::OK);
    assert_eq!(
        world.owner.posts(&remove, &[("secret", &only)]).await.status,
        StatusCode::NOT_FOUND
    );
    // Whoever had to log in between the question and the answer is led back to the list.
    assert_eq!(Redirected::of(&world.owner.gets(&remove).await).location, secrets);

    // After a quarter of an hour the password is asked for, and a wrong one makes nothing.
    world.server.passes(Duration::from_secs(16 * 60));
    let page = world.owner.gets(&secrets).await.text;
    assert!(page.contains(r#"name="password""#), "{page}");
    for password in ["", "wrong"] {
        let fields = [("grace_seconds", "0"), ("password", password)];
        let refused = world.owner.sends_form(&page, &secrets, &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
        assert!(refused.text.contains("Password</a>"), "{refused:?}");
    }
    assert_eq!(second.acts_for_itself("").await.status, StatusCode::OK);
    let made = world.owner.sends_form(&page, &secrets, &[("grace_seconds", "0")]).await;
    let third =
        Application::new(&world.server, app.id.clone(), Some(secret_on(&made)), String::new());
    assert_eq!(second.acts_for_itself("").await.refusal(), "401 invalid_client");
    assert_eq!(third.acts_for_itself("").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_disabled_enabled_and_deleted() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (app, one) = registers(&world, FOR_ITSELF).await;
    let disable = format!("{one}/disable");
    let off = world.owner.fills_in(&disable, &disable, &[]).await;
    assert_eq!(Redirected::of(&off).location, format!("{one}?done=disabled"));
    assert_eq!(app.acts_for_itself("").await.refusal(), "401 invalid_client");
    assert!(world.owner.gets(&list(&world)).await.text.contains("Disabled</span>"));
    let enable = format!("{one}/enable");
    let on = world.owner.fills_in(&enable, &enable, &[]).await;
    assert_eq!(Redirected::of(&on).location, format!("{one}?done=enabled"));
    assert_eq!(app.acts_for_itself("").await.status, StatusCode::OK);

    let delete = format!("{one}/delete");
    let wrong = world.owner.fills_in(&delete, &delete, &[("name", "dashboard")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    assert_eq!(app.acts_for_itself("").await.status, StatusCode::OK);
    let right = world.owner.fills_in(&delete, &delete, &[("name", "Dashboard")]).await;
    assert_eq!(Redirected::of(&right).location, format!("{}?done=deleted", list(&world)));
    assert_eq!(app.acts_for_itself("").await.refusal(), "401 invalid_client");
    // What it was can still be read, and nothing be done with it.
    let page = world.owner.gets(&one).await;
    assert!(page.text.contains("It was deleted on"), "{page:?}");
    assert!(!page.text.contains("/edit"), "{page:?}");
    for path in ["edit", "secrets", "connect", "disable", "delete"] {
        let answer = world.owner.gets(&format!("{one}/{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }
    assert!(world.owner.gets(&list(&world)).await.text.contains("No applications yet"));
    let deleted = world.owner.gets(&format!("{}?status=deleted", list(&world))).await;
    assert!(deleted.text.contains("<bdi>Dashboard</bdi>"), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_keeps_what_the_form_does_not_show() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    // It has a default of its own, and a scope that is in no catalog.
    let app = world
        .registers(|new| {
            new.audiences[0].allowed = "read:tenants write:users/acme".parse().unwrap()
        })
        .await;
    let one = format!("{}/{}", list(&world), app.id);
    let edit = format!("{one}/edit");
    let before = world.owner.gets(&edit).await.text;
    assert!(before.contains("https://api.example.com write:users/acme</textarea>"), "{before}");
    let (tenants, users) = (scope(&world, "read:tenants"), scope(&world, "read:users"));
    let mut fields = vec![
        ("name", "Renamed"),
        ("requires_pkce", "1"),
        ("refresh_retry_seconds", "2"),
        ("scopes", &*tenants),
        ("more_scopes", "https://api.example.com write:users/acme"),
        ("grant_types", "client_credentials"),
    ];
    fields.extend_from_slice(FOR_PEOPLE);
    let changed = world.owner.sends_form(&before, &edit, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    let granted = app.acts_for_itself("").await;
    assert_eq!(granted.member("scope"), "read:tenants", "the default stayed");
    // The page from before knows an older version.
    let stale = world.owner.sends_form(&before, &edit, &fields).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");

    fields.push(("scopes", &users));
    let changed = world.owner.fills_in(&edit, &edit, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    assert_eq!(app.acts_for_itself("").await.member("scope"), "read:tenants");
    assert_eq!(app.acts_for_itself("read:users").await.member("scope"), "read:users");
    let refused =
        world.owner.fills_in(&edit, &edit, &[("name", " "), ("redirect_uris", "x")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("x</textarea>"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_are_for_those_who_may() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (app, one) = registers(&world, FOR_ITSELF).await;
    let viewer = world.member("vera@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    let page = viewer.gets(&list(&world)).await;
    assert!(page.text.contains("Dashboard") && !page.text.contains("applications/new"), "{page:?}");
    let page = viewer.gets(&one).await;
    assert!(page.status == 200 && !page.text.contains("/disable"), "{page:?}");
    assert!(!viewer.gets(&format!("{one}/secrets")).await.text.contains("Add a secret"));
    for path in ["edit", "disable", "enable", "delete", "remove-secret"] {
        let path = format!("{one}/{path}");
        assert_eq!(viewer.gets(&path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(viewer.posts(&path, &[]).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    for path in [format!("{}/new", list(&world)), format!("{one}/secrets")] {
        let answer = viewer.posts(&path, &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
        assert!(answer.text.contains("that role lacks write:clients"), "{answer:?}");
    }
    // Another organization's owner meets nothing, also under their own organization's address.
    let eve = world.stranger("eve@example.com").await;
    let theirs = world.organization_of(&eve, "Theirs").await;
    eve.logs_in().await;
    for place in [one.clone(), format!("/o/{theirs}/applications/{}", app.id)] {
        for path in ["", "/connect", "/secrets", "/edit", "/disable", "/delete"] {
            let answer = eve.gets(&format!("{place}{path}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{place}{path}: {answer:?}");
        }
        for path in ["/secrets", "/edit", "/disable", "/enable", "/delete", "/remove-secret"] {
            let fields = [("name", "Dashboard"), ("grace_seconds", "0"), ("form", "f")];
            let answer = eve.posts(&format!("{place}{path}"), &fields).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{place}{path}: {answer:?}");
        }
    }
    assert_eq!(app.acts_for_itself("").await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_and_has_pages(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    world.owner.logs_in().await;
    for number in 0..53 {
        world.registers(|new| new.name = ["Ünder", "Other"][number % 2]).await;
    }
    let gone = world.registers(|new| new.name = "Gone").await;
    let path = format!("{}/{}/delete", list(&world), gone.id);
    Redirected::of(&world.owner.fills_in(&path, &path, &[("name", "Gone")]).await);
    let rows = async |query: &str| {
        let page = world.owner.gets(&format!("{}{query}", list(&world))).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        (page.text.matches("<th scope=\"row\">").count(), page.text)
    };
    let (count, page) = rows("").await;
    assert!(count == 50 && !page.contains("<bdi>Gone</bdi>"), "{page}");
    let older = page.split("applications?before=").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(rows(&format!("?before={older}")).await.0, 3);
    assert_eq!(rows("?name=%C3%BCnd").await.0, 27);
    assert_eq!(rows("?status=deleted").await.0, 1);
    assert_eq!(rows("?status=disabled").await.0, 0);
    assert_eq!(rows("?name=a%00b&status=active").await.0, 0);
    assert!(rows("?name=nobody").await.1.contains("Nothing matches"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_applications_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let list = world.server.url(&list(&world));
    let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(30));
    Browser::does(async |browser| {
        browser.goes_to(&list).await;
        browser.logs_in("ada@example.com").await;
        browser.photographs("applications-empty").await;
        browser.follows("New application").await;
        browser.photographs("application-new").await;
        let set = "document.getElementById('name').value = arguments[0]";
        browser.client.execute(set, vec![hostile.as_str().into()]).await.unwrap();
        browser.presses("Register the application").await;
        browser.photographs("application-new-refused").await;
        let address =
            "https://app.example.com/a/very/long/callback/path/that/goes/on/and/on?with=parameters";
        browser.fills("redirect_uris", address).await;
        for scope in ["read:tenants", "write:tenants", "admin"] {
            browser.ticks(&format!("input[value='{} {scope}']", world.api.id)).await;
        }
        browser.ticks("input[value='client_credentials']").await;
        browser.presses("Register the application").await;
        browser.photographs("application-secret").await;
        browser.ticks("#stored").await;
        browser.presses("Go on").await;
        browser.photographs("application").await;
        browser.follows("Connect").await;
        browser.photographs("application-connect").await;
        browser.follows("Change").await;
        browser.photographs("application-edit").await;
        browser.follows("Secrets").await;
        browser.presses("Add a secret").await;
        browser.ticks("#stored").await;
        browser.presses("Go on").await;
        browser.photographs("application-secrets").await;
        browser.client.find(fantoccini::Locator::Css("td a")).await.unwrap().click().await.unwrap();
        browser.waits_for("button.alarm").await;
        browser.photographs("application-secret-remove").await;
        browser.presses("Remove the secret").await;
        browser.follows("Overview").await;
        browser.follows("Disable the application…").await;
        browser.photographs("application-disable").await;
        browser.presses("Disable the application").await;
        browser.photographs("application-disabled").await;
        browser.follows("Delete the application…").await;
        browser.photographs("application-delete").await;
        browser.goes_to(&list).await;
        browser.photographs("applications").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

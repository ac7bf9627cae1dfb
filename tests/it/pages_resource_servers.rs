//! The console's pages about resource servers: APIs, their scopes, and their credentials.

use std::time::Duration;

use portcullis::tenancy::Role;
use reqwest::StatusCode;

use crate::harness::actors::introspect;
use crate::harness::browser::Browser;
use crate::harness::{Answer, Database, Redirected, World};

fn list(world: &World) -> String {
    format!("/o/{}/resource-servers", world.organization)
}

/// The credential on the page that shows it, and where that leads on to.
fn credential_on(page: &Answer) -> (String, String) {
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(!page.text.contains("<nav"), "there is a way on without storing it: {page:?}");
    let after = |mark: &str, end: char| {
        let rest = page.text.split_once(mark).unwrap().1;
        rest.split(end).next().unwrap().to_owned()
    };
    (after("data-secret>", '<'), after(r#"<form method="get" action=""#, '"'))
}

const CATALOG: &str = "read:bills = See your bills\r\n\r\nwrite:bills=Make & pay bills [admin]";

#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_registered_changed_and_deleted() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (list, new) = (list(&world), format!("{}/new", list(&world)));
    let page = world.owner.gets(&new).await.text;
    let wrong = [
        ("name", "Bills"),
        ("audience", "not a uri"),
        ("algorithm", "ES256"),
        ("access_token_seconds", "999999"),
        (
            "scopes",
            "read:bills = See\n\nread:bills = Again\nwrite:bills/x = Filtered\nread:users =",
        ),
    ];
    let refused = world.owner.sends_form(&page, &new, &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    for told in [
        "Audience</a> must be an absolute URI without a fragment.",
        "Scopes</a> in line 3: the scope is in the catalog twice.",
        "Scopes</a> in line 4: the scope must have no filter in a catalog.",
        "Scopes</a> in line 5: the sentence must have 1 to 200 characters.",
        "Access token seconds</a> must be from 1 to",
        r#"value="not a uri""#,
        "write:bills/x = Filtered\nread:users =</textarea>",
    ] {
        assert!(refused.text.contains(told), "{told}: {}", refused.text);
    }
    for (fields, told) in [
        (&[("scopes", "no such thing"), ("algorithm", "ES256")][..], "`no such thing` is no scope"),
        (&[("scopes", CATALOG), ("algorithm", "none")], "Algorithm</a> is unknown"),
        (&[("algorithm", "ES256"), ("access_token_seconds", "ten")], "must be a number of seconds"),
    ] {
        let refused = world.owner.sends_form(&page, &new, fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
        assert!(refused.text.contains(told), "{told}: {}", refused.text);
    }

    let right = [
        ("name", "Bills"),
        ("audience", "https://bills.example.com"),
        ("algorithm", "EdDSA"),
        ("scopes", CATALOG),
    ];
    let made = world.owner.sends_form(&page, &new, &right).await;
    let (credential, one) = credential_on(&made);
    let again = world.owner.sends_form(&page, &new, &right).await;
    assert_eq!(Redirected::of(&again).location, one);
    let shown = world.owner.gets(&list).await.text;
    assert_eq!(shown.matches("<bdi>Bills</bdi>").count(), 1, "{shown}");
    assert!(shown.contains("<bdi>Portcullis</bdi>") && shown.contains("Portcullis itself"));
    let page = world.owner.gets(&format!("{one}?done=created")).await.text;
    assert!(!page.contains(&credential), "{page}");
    assert!(page.contains("<bdi>Make &#38; pay bills</bdi>"), "{page}");
    assert_eq!(page.matches("Only an admin").count(), 1, "{page}");
    let answer = introspect(&world.server, &credential, "nonsense").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let taken = world.owner.fills_in(&new, &new, &right).await;
    assert!(taken.text.contains("Audience</a> is taken by another resource server"), "{taken:?}");

    // The form has what is so, and a change without a change keeps it.
    let edit = format!("{one}/edit");
    let before = world.owner.gets(&edit).await.text;
    let written =
        "read:bills = See your bills\nwrite:bills = Make &#38; pay bills [admin]</textarea>";
    assert!(before.contains(written), "{before}");
    let fields = [
        ("name", "Billing"),
        ("algorithm", "EdDSA"),
        ("access_token_seconds", "60"),
        ("scopes", "read:bills = See bills"),
    ];
    let changed = world.owner.sends_form(&before, &edit, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    let page = world.owner.gets(&one).await.text;
    assert!(page.contains("<bdi>See bills</bdi>") && !page.contains("write:bills"), "{page}");
    let stale = world.owner.sends_form(&before, &edit, &fields).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");
    let empty = [("name", "Billing"), ("algorithm", "ES256"), ("scopes", " ")];
    let refused = world.owner.fills_in(&edit, &edit, &empty).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("Scopes</a> must hold 1 to 500 scopes"), "{refused:?}");

    let delete = format!("{one}/delete");
    let wrong = world.owner.fills_in(&delete, &delete, &[("name", "Bills")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    let right = world.owner.fills_in(&delete, &delete, &[("name", "Billing")]).await;
    assert_eq!(Redirected::of(&right).location, format!("{list}?done=deleted"));
    assert_eq!(world.owner.gets(&one).await.status, StatusCode::NOT_FOUND);
    let answer = introspect(&world.server, &credential, "nonsense").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_rotated_with_a_grace_and_shown_once() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let one = format!("{}/{}", list(&world), world.api.id);
    let rotate = format!("{one}/credential");
    let is_good = async |credential: &str| {
        introspect(&world.server, credential, "nonsense").await.status == StatusCode::OK
    };
    let page = world.owner.gets(&rotate).await.text;
    let fields = [("grace_seconds", "3600")];
    let made = world.owner.sends_form(&page, &rotate, &fields).await;
    let (second, next) = credential_on(&made);
    assert_eq!(next, one);
    let again = world.owner.sends_form(&page, &rotate, &fields).await;
    assert_eq!(Redirected::of(&again).location, one);
    assert!(is_good(&world.credential).await && is_good(&second).await);
    let shown = world.owner.gets(&one).await.text;
    assert!(shown.contains("1 h left") && !shown.contains(&second), "{shown}");
    world.server.passes(Duration::from_secs(3601));
    assert!(!is_good(&world.credential).await && is_good(&second).await);

    let page = world.owner.gets(&rotate).await.text;
    assert!(page.contains(r#"name="password""#), "it is more than a quarter of an hour: {page}");
    for fields in [&[("grace_seconds", "0"), ("password", "wrong")][..], &[("grace_seconds", "x")]]
    {
        let refused = world.owner.sends_form(&page, &rotate, fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    }
    assert!(is_good(&second).await);
    let made = world.owner.sends_form(&page, &rotate, &[("grace_seconds", "0")]).await;
    let (third, _) = credential_on(&made);
    assert!(!is_good(&second).await && is_good(&third).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_changed_by_those_whose_it_is() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let one = format!("{}/{}", list(&world), world.api.id);
    let viewer = world.member("vera@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    let page = viewer.gets(&one).await;
    assert!(page.text.contains("See your tenants") && !page.text.contains("/edit"), "{page:?}");
    assert!(!viewer.gets(&list(&world)).await.text.contains("resource-servers/new"));
    for path in ["edit", "credential", "delete"] {
        let path = format!("{one}/{path}");
        assert_eq!(viewer.gets(&path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(viewer.posts(&path, &[]).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let answer = viewer.posts(&format!("{}/new", list(&world)), &[]).await;
    assert!(answer.text.contains("that role lacks write:resource-servers"), "{answer:?}");

    // What is shared others see, and do not change; what is not they do not see.
    let eve = world.stranger("eve@example.com").await;
    let theirs = world.organization_of(&eve, "Theirs").await;
    eve.logs_in().await;
    assert_eq!(eve.gets(&one).await.status, StatusCode::NOT_FOUND);
    let here = format!("/o/{theirs}/resource-servers");
    let page = eve.gets(&here).await.text;
    assert!(
        page.contains("No API of yours yet") && page.contains("<bdi>Example API</bdi>"),
        "{page}"
    );
    let shared = format!("{here}/{}", world.api.id);
    assert!(!eve.gets(&shared).await.text.contains("/edit"));
    for path in ["edit", "credential", "delete"] {
        let path = format!("{shared}/{path}");
        assert_eq!(eve.gets(&path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(
            eve.posts(&path, &[("form", "f")]).await.status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    let new = format!("{here}/new");
    let fields = [
        ("name", "Mine"),
        ("audience", "https://mine.example"),
        ("algorithm", "ES256"),
        ("scopes", CATALOG),
    ];
    let shares = [&fields[..], &[("is_shared", "1")]].concat();
    assert_eq!(eve.fills_in(&new, &new, &shares).await.status, StatusCode::FORBIDDEN);
    let (_, mine) = credential_on(&eve.fills_in(&new, &new, &fields).await);
    world.owner.logs_in().await;
    let id = mine.rsplit('/').next().unwrap();
    for place in [mine.clone(), format!("{}/{id}", list(&world))] {
        for path in ["", "/edit", "/credential", "/delete"] {
            let answer = world.owner.gets(&format!("{place}{path}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{place}{path}: {answer:?}");
        }
    }
    assert!(!world.owner.gets(&list(&world)).await.text.contains("<bdi>Mine</bdi>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_stays_as_it_is() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let page = world.owner.gets(&list(&world)).await.text;
    let before = page.split("<bdi>Portcullis</bdi>").next().unwrap();
    let id = before.rsplit_once("resource-servers/").unwrap().1.split('"').next().unwrap();
    let one = format!("{}/{id}", list(&world));
    let page = world.owner.gets(&one).await.text;
    assert!(page.contains("write:clients") && !page.contains("/edit"), "{page}");
    for path in ["edit", "credential", "delete"] {
        let answer = world.owner.gets(&format!("{one}/{path}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert!(answer.text.contains("The management API is as the release has it."), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_resource_servers_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let list = world.server.url(&list(&world));
    let hostile = format!("<script>alert(1)</script> \u{202e}gnimmargorp {}", "🚀".repeat(30));
    Browser::does(async |browser| {
        browser.goes_to(&list).await;
        browser.logs_in("ada@example.com").await;
        browser.photographs("resource-servers").await;
        browser.follows("New resource server").await;
        let set = "document.getElementById('name').value = arguments[0]";
        browser.client.execute(set, vec![hostile.as_str().into()]).await.unwrap();
        browser.fills("scopes", "read:bills = See your bills\nnonsense").await;
        browser.presses("Register the resource server").await;
        browser.photographs("resource-server-new-refused").await;
        browser
            .fills("audience", "https://bills.example.com/a/path/that/goes/on/and/on/and/on")
            .await;
        let set = "document.getElementById('scopes').value = arguments[0]";
        let catalog = format!("read:bills = See your bills\nwrite:bills = {hostile} [admin]");
        browser.client.execute(set, vec![catalog.into()]).await.unwrap();
        browser.presses("Register the resource server").await;
        browser.photographs("resource-server-credential").await;
        browser.ticks("#stored").await;
        browser.presses("Go on").await;
        browser.photographs("resource-server").await;
        browser.follows("Change it").await;
        browser.photographs("resource-server-edit").await;
        browser.presses("Save").await;
        browser.follows("Rotate the credential…").await;
        browser.photographs("resource-server-rotate").await;
        browser.presses("Rotate the credential").await;
        browser.ticks("#stored").await;
        browser.presses("Go on").await;
        browser.photographs("resource-server-rotated").await;
        browser.follows("Delete the resource server…").await;
        browser.photographs("resource-server-delete").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

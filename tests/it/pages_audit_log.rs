//! The console's page about who did what, and its export.

use std::time::Duration;

use entity::ApiKeyId;
use portcullis::audit::{self, Actor, Event, Source};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Database, Person, World};

const HOSTILE: &str = "=HYPERLINK(\"https://evil.example\",\"x\"),\r\n+1";

fn log(world: &World, query: &str) -> String {
    format!("/o/{}/audit-log{query}", world.organization)
}

/// Writes an event of the organization's down.
async fn records(world: &World, actor: Actor, source: Source, event: Event) {
    let app = &world.server.app;
    let tx = app.db.begin().await.unwrap();
    let event = event.in_organization(world.organization);
    audit::record(&tx, app.clock.now(), &source.by(actor), event).await.unwrap();
    tx.commit().await.unwrap();
}

async fn shows(person: &Person, path: &str) -> String {
    let answer = person.gets(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.text
}

/// How many events a page lists.
fn events(page: &str) -> usize {
    page.matches("<details><summary>Details").count()
}

/// The records of a table, by RFC 4180.
fn table(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {
                assert_eq!(letters.next(), Some('\n'));
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            letter => cell.push(letter),
        }
    }
    assert!(cell.is_empty() && record.is_empty(), "the last line has an end, too: {text}");
    records
}

#[test]
fn every_action_has_words() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let words = std::fs::read_to_string(format!("{root}/audit/pages/words.rs")).unwrap();
    let mut found = 0;
    let mut directories = vec![std::path::PathBuf::from(root)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if path.extension().is_none_or(|it| it != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text: String = text.split_whitespace().collect();
            for rest in text.split("Event::new(\"").skip(1) {
                let action = rest.split('"').next().unwrap();
                assert!(words.contains(&format!("(\"{action}\"")), "{action} of {path:?}");
                found += 1;
            }
        }
    }
    assert!(found > 40, "the actions were not found");
    // And those that the book names: `one.created`, `.changed`.
    let book =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md")).unwrap();
    let rows = book.lines().filter(|line| line.starts_with("| `"));
    let mut found = 0;
    for cell in rows.filter_map(|row| row.split('|').nth(1)) {
        let mut thing = "";
        for code in cell.split('`').skip(1).step_by(2) {
            let (before, verb) = code.split_once('.').unwrap();
            thing = if before.is_empty() { thing } else { before };
            assert!(words.contains(&format!("(\"{thing}.{verb}\"")), "{thing}.{verb}");
            found += 1;
        }
    }
    assert!(found > 50, "the table was not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_with_names_and_filtered() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let key = world.api_key(&["read:tenants"]).await;
    let id: ApiKeyId = key.id.parse().unwrap();
    let bob = world.member("bob@example.com", Role::Member).await;
    let left = world.stranger("lee@example.com").await;
    let (bob, lee) = (bob.id(&world.server).await, left.id(&world.server).await);
    let source = Source {
        address: Some("192.0.2.7".to_owned()),
        user_agent: Some("<b>curl</b>".to_owned()),
        request_id: Some("0b2f1d0e-6c1f-4f0e-9a53-3f6f3f1f7a10".to_owned()),
    };
    records(&world, Actor::ApiKey(id), source, Event::new("member.removed", lee)).await;
    let detail = Event::new("role.changed", "rol_x").with(json!({ "scopes": "<i>read</i>" }));
    records(&world, Actor::User(lee), Source::default(), detail).await;
    world.server.passes(Duration::from_secs(3 * 24 * 60 * 60));
    let later = Event::new("role.deleted", "rol_x");
    records(&world, Actor::User(bob), Source::default(), later).await;
    world.owner.logs_in().await;

    let all = shows(&world.owner, &log(&world, "")).await;
    for words in [
        "Member removed",
        "<code>member.removed</code>",
        "<bdi>script</bdi>",
        "API key",
        "192.0.2.7",
        "Role changed",
        "<bdi>Somebody</bdi>",
        "bob@example.com",
        "The command line",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    assert!(!all.contains("<b>curl") && !all.contains("<i>read"), "{all}");
    assert!(all.contains("kept for 400 days"), "{all}");

    let total = events(&all);
    let today = world.server.app.clock.now().to_string();
    let today = today.split('T').next().unwrap();
    for (query, expected) in [
        (format!("?actor={id}"), 1),
        ("?actor=bob%40example.com".to_owned(), 1),
        ("?actor=nobody%40example.com".to_owned(), 0),
        (format!("?actor={lee}&action=role.changed"), 1),
        (format!("?actor={bob}&action=role.changed"), 0),
        ("?target=rol_x".to_owned(), 2),
        ("?request_id=0b2f1d0e-6c1f-4f0e-9a53-3f6f3f1f7a10".to_owned(), 1),
        (format!("?target=rol_x&from={today}&to={today}"), 1),
        (format!("?to={today}"), total),
        ("?to=2001-01-01".to_owned(), 0),
    ] {
        let page = shows(&world.owner, &log(&world, &query)).await;
        assert_eq!(events(&page), expected, "{query}: {page}");
    }
    for (query, words) in [
        ("?actor=%27", "Actor</a> is nothing that an event has."),
        ("?from=yesterday", "From</a> must be a day"),
        ("?request_id=7", "Request id</a> is no id of a request."),
    ] {
        let page = world.owner.gets(&log(&world, query)).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {page:?}");
        assert!(page.text.contains(words), "{query}: {page:?}");
        let export = world.owner.gets(&log(&world, &format!(".csv{query}"))).await;
        assert_eq!(export.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {export:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_pages_and_is_for_those_who_may() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let stranger = world.stranger("eve@example.com").await;
    let theirs = world.organization_of(&stranger, "Theirs").await;
    for at in 0..26 {
        world.server.passes(Duration::from_millis(2));
        let event = Event::new("project.changed", format!("prj_{at}"));
        records(&world, Actor::System, Source::default(), event).await;
    }
    let vera = world.member("vera@example.com", Role::Viewer).await;
    let mia = world.member("mia@example.com", Role::Member).await;
    for person in [&vera, &mia, &stranger, &world.owner] {
        person.logs_in().await;
    }
    let first = shows(&world.owner, &log(&world, "?action=project.changed")).await;
    assert_eq!((events(&first), first.contains("prj_25<")), (25, true), "{first}");
    let older = first.split("audit-log?action=project.changed&amp;").nth(1).unwrap();
    let older = older.split('"').next().unwrap();
    let second =
        shows(&world.owner, &log(&world, &format!("?action=project.changed&{older}"))).await;
    assert_eq!((events(&second), second.contains("prj_0<")), (1, true), "{second}");
    assert!(second.contains("Newest") && !second.contains("Older"), "{second}");

    for (person, status) in [
        (&vera, StatusCode::FORBIDDEN),
        (&mia, StatusCode::FORBIDDEN),
        (&stranger, StatusCode::NOT_FOUND),
    ] {
        for path in [log(&world, ""), log(&world, ".csv")] {
            assert_eq!(person.gets(&path).await.status, status, "{path}");
        }
    }
    // What others do is in their log, and the names of strangers are not told there beyond what they are called.
    let own = shows(&stranger, &format!("/o/{theirs}/audit-log")).await;
    assert!(!own.contains("prj_25"), "{own}");
    let app = &world.server.app;
    let ada = Source::default().by(Actor::User(world.owner.id(&world.server).await));
    let event = Event::new("organization.changed", theirs).in_organization(theirs);
    audit::record(app.db.writer(), app.clock.now(), &ada, event).await.unwrap();
    let own = shows(&stranger, &format!("/o/{theirs}/audit-log")).await;
    assert!(own.contains("<bdi>Ada</bdi>") && !own.contains("ada@example.com"), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_holds_what_is_filtered_and_no_formulas() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let ada = world.owner.id(&world.server).await;
    for agent in [HOSTILE, "-2+3", "@SUM(A1:A9)", "\tx", "plain"] {
        let source = Source { user_agent: Some(agent.to_owned()), ..Source::default() };
        let event = Event::new("project.changed", "prj_x").with(json!({ "name": HOSTILE }));
        records(&world, Actor::User(ada), source, event).await;
        world.server.passes(Duration::from_millis(2));
    }
    for at in 0..1200 {
        let event = Event::new("project.created", format!("prj_{at}"));
        records(&world, Actor::System, Source::default(), event).await;
    }
    world.server.passes(Duration::from_millis(2));
    let answer = world.owner.gets(&log(&world, ".csv?action=project.changed")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let day = world.server.app.clock.now().to_string();
    let day = day.split('T').next().unwrap();
    let named = format!("attachment; filename=\"audit-log-{day}.csv\"");
    assert_eq!(answer.header("content-disposition"), named);

    let records = table(&answer.text);
    assert_eq!(records[0][..4], ["time", "actor", "actor_name", "actor_email"]);
    assert_eq!(records.len(), 6, "{records:?}");
    let ada = ada.to_string();
    for record in &records[1..] {
        assert_eq!(record.len(), 11, "{record:?}");
        assert_eq!(record[1..4], [&ada, "Ada", "ada@example.com"]);
        assert_eq!(record[4..7], ["Project changed", "project.changed", "prj_x"]);
        let detail: serde_json::Value = serde_json::from_str(&record[10]).unwrap();
        assert_eq!(detail["name"], HOSTILE);
    }
    let agents: Vec<&str> = records[1..].iter().map(|record| record[8].as_str()).collect();
    let hostile = format!("'{HOSTILE}");
    assert_eq!(agents, [&*hostile, "'-2+3", "'@SUM(A1:A9)", "'\tx", "plain"]);
    // More than is read at once.
    let many = world.owner.gets(&log(&world, ".csv?action=project.created")).await;
    assert_eq!(table(&many.text).len(), 1201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_audit_log_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let ada = world.owner.id(&world.server).await;
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36";
    let source = Source {
        address: Some("2001:db8:85a3:8d3:1319:8a2e:370:7348".to_owned()),
        user_agent: Some(agent.to_owned()),
        request_id: Some("0b2f1d0e-6c1f-4f0e-9a53-3f6f3f1f7a10".to_owned()),
    };
    let scopes = "read:tenants write:tenants read:users write:users read:members";
    for at in 0..40 {
        world.server.passes(Duration::from_secs(61));
        let target = format!("rol_01h455vb4pex5vsknk084sn{at:03}");
        let event = Event::new("role.changed", target).with(json!({ "scopes": scopes }));
        records(&world, Actor::User(ada), source.clone(), event).await;
    }
    let url = |query: &str| world.server.url(&log(&world, query));
    Browser::does(async |browser| {
        browser.goes_to(&url("")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.opens_menu("Details").await;
        browser.photographs("audit-log").await;
        browser.goes_to(&url("?actor=%27&from=soon")).await;
        browser.photographs("audit-log-refused").await;
        browser.goes_to(&url("?target=nothing")).await;
        browser.photographs("audit-log-nothing").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

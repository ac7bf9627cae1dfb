//! The audit trail: every change leaves its event, whoever may read them finds them, and no secret is in them.

use std::time::Duration;

use entity::Timestamp;
use portcullis::audit::{self, By, Event};
use portcullis::janitor;
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::actors::http;
use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Database, Installation, Person, Server, World};

const EVENTS: &str = "/v1/audit-events";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Somebody who reads the events of their organization.
struct Auditor<'a> {
    world: &'a World,
    credential: String,
}

impl<'a> Auditor<'a> {
    async fn of(world: &'a World) -> Self {
        Self { world, credential: world.api_key(&["read:audit-events"]).await.secret }
    }

    async fn asks(&self, query: &str, accept: &str) -> Answer {
        let request = http().get(self.world.server.url(&format!("{EVENTS}?{query}")));
        let request = request.bearer_auth(&self.credential).header("accept", accept);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn page(&self, query: &str) -> Answer {
        self.asks(query, "application/json").await
    }

    /// The events on the page of a hundred, newest first.
    async fn sees(&self, query: &str) -> Vec<Value> {
        let page = self.page(&format!("limit=100&{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}: {page:?}");
        page.json["items"].as_array().unwrap().clone()
    }

    /// All events, oldest first.
    async fn exports(&self, query: &str) -> Vec<Value> {
        let answer = self.asks(query, "application/jsonl").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/jsonl");
        lines(&answer.text)
    }
}

fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["action"].as_str().unwrap()).collect()
}

/// Lets so many things happen to a target, a millisecond apart.
async fn happens(server: &Server, count: usize, event: impl Fn() -> Event) {
    let tx = server.app.db.begin().await.unwrap();
    for _ in 0..count {
        server.passes(Duration::from_millis(1));
        audit::record(&tx, server.app.clock.now(), &By::operator(), event()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_reads_its_own_and_who_runs_the_installation_nobodys_too(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let auditor = Auditor::of(&world).await;
    world.owner.logs_in().await;
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let theirs = world.api_key_in(elsewhere, &world.owner, Role::Owner, &["admin"], None).await;

    let own = auditor.sees("").await;
    let found = actions(&own);
    for action in ["user.logged_in", "user.created", "api_key.created", "installation.set_up"] {
        assert!(found.contains(&action), "{action} is missing: {found:?}");
    }
    assert!(own.iter().all(|event| event["target"] != theirs.id), "{own:?}");
    let login = own.iter().find(|event| event["action"] == "user.logged_in").unwrap();
    let user = world.owner.id(&world.server).await.to_string();
    assert_eq!(login["actor"], user);
    assert_eq!((&login["target"], &login["organization"]), (&json!(user), &Value::Null));
    assert_eq!((&login["address"], &login["detail"]), (&json!("127.0.0.1"), &json!({})));
    assert!(login["request_id"].is_string(), "{login}");

    let other = Auditor { world: &world, credential: theirs.secret.clone() };
    let found = other.sees("").await;
    assert_eq!(actions(&found), ["api_key.created"]);
    assert_eq!(found[0]["target"], theirs.id);
    assert_eq!(ids(&other.exports("").await), ids(&found));

    let member = world.member("mia@example.com", Role::Member).await;
    let key = world.api_key_of(&member, Role::Member, &["read"], None).await;
    let nobody = Auditor { world: &world, credential: key.secret };
    assert_eq!(nobody.page("").await.status, StatusCode::FORBIDDEN);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_who_what_and_when(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (auditor, server) = (Auditor::of(&world).await, &world.server);
    let organization = world.organization;
    server.passes(DAY);
    let from = server.app.clock.now();
    happens(server, 3, || Event::new("thing.made", "prj_1").in_organization(organization)).await;
    happens(server, 2, || Event::new("thing.lost", "prj_2")).await;
    let to = server.app.clock.now();
    server.passes(DAY);
    happens(server, 1, || Event::new("thing.made", "prj_2").in_organization(organization)).await;

    let counts = async |query: &str| {
        let (seen, mut exported) = (auditor.sees(query).await, auditor.exports(query).await);
        exported.reverse();
        assert_eq!(ids(&seen), ids(&exported), "{query}");
        seen.len()
    };
    assert_eq!(counts("action=thing.made").await, 4);
    assert_eq!(counts("target=prj_2").await, 3);
    assert_eq!(counts("action=thing.made&target=prj_2&actor=operator").await, 1);
    assert_eq!(counts("action=thing.made&actor=anonymous").await, 0);
    assert_eq!(counts(&format!("from={from}&to={to}")).await, 4, "the end is not in the range");
    let beyond = Timestamp(to.0 + 1);
    assert_eq!(counts(&format!("from={from}&to={beyond}")).await, 5);
    assert_eq!(counts(&format!("from={to}&action=thing.made")).await, 1);
    assert_eq!(counts("from=2000-01-01T00:00:00%2B02:00&to=2000-01-02T00:00:00Z").await, 0);
    assert_eq!(counts("to=1969-01-01T00:00:00Z").await, 0);

    // In pages, over both kinds of events, none is left out and none comes twice.
    let (mut walked, mut query) = (Vec::new(), "limit=2&actor=operator".to_owned());
    loop {
        let page = auditor.page(&query).await;
        walked.extend(page.json["items"].as_array().unwrap().clone());
        let Some(next) = page.json["next_cursor"].as_str() else { break };
        query = format!("limit=2&actor=operator&cursor={next}");
    }
    assert_eq!(ids(&walked), ids(&auditor.sees("actor=operator").await));

    for (query, field) in [
        ("from=yesterday", "from"),
        ("to=2026-11-21", "to"),
        ("from=", "from"),
        ("actor=", "actor"),
        ("actor=Ada%00", "actor"),
        ("target=%25", "target"),
        ("cursor=key_01h455vb4pex5vsknk084sn02q", "cursor"),
        ("organization=x", "organization"),
    ] {
        let answer = auditor.page(query).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {answer:?}");
        assert_eq!(answer.json["errors"][0]["field"], field, "{query}: {answer:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_whole_however_long_it_is(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (auditor, server) = (Auditor::of(&world).await, &world.server);
    let organization = world.organization;
    happens(server, 1001, || Event::new("thing.made", "prj_1").in_organization(organization)).await;
    happens(server, 499, || Event::new("thing.made", "prj_1")).await;
    let events = auditor.exports("action=thing.made").await;
    assert_eq!(events.len(), 1500);
    assert!(ids(&events).is_sorted(), "oldest first");

    for (accept, kind) in [
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv, application/jsonl;q=0.9, application/json", "application/jsonl"),
        ("application/json, application/jsonl", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
    ] {
        let answer = auditor.asks("action=user.created", accept).await;
        assert_eq!(answer.header("content-type"), kind, "{accept}");
    }
    for query in ["limit=5", &format!("cursor={}", events[0]["id"].as_str().unwrap())] {
        let answer = auditor.asks(query, "application/jsonl").await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {answer:?}");
    }

    // One that the end of the server cuts off does not look like a whole one.
    server.app.stopping.cancel();
    let request = http().get(server.url(EVENTS)).bearer_auth(&auditor.credential);
    let cut = request.header("accept", "application/jsonl").send().await.unwrap();
    assert!(cut.bytes().await.is_err());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_removed_and_young_ones_stay(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let kept_for_a_week = |settings: &mut portcullis::config::Settings| {
        settings.audit.retention_days = 7;
    };
    let Some(server) = Server::start_with(database, kept_for_a_week).await else { return };
    let world = World::around(server).await;
    let server = &world.server;
    happens(server, 1500, || Event::new("thing.old", "prj_1")).await;
    server.passes(DAY * 6);
    happens(server, 3, || Event::new("thing.young", "prj_1")).await;
    server.passes(Duration::from_millis(1));
    let auditor = Auditor::of(&world).await;
    janitor::sweep(&server.app).await;
    assert_eq!(auditor.exports("action=thing.old").await.len(), 1500);
    server.passes(DAY * 2);
    janitor::sweep(&server.app).await;
    let left = auditor.exports("").await;
    assert_eq!(actions(&left), ["thing.young", "thing.young", "thing.young", "api_key.created"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_kept_for_ever_where_that_is_wanted() {
    let for_ever = |settings: &mut portcullis::config::Settings| settings.audit.retention_days = 0;
    let Some(server) = Server::start_with(Database::Sqlite, for_ever).await else { return };
    let world = World::around(server).await;
    world.server.passes(DAY * 4000);
    janitor::sweep(&world.server.app).await;
    let auditor = Auditor::of(&world).await;
    assert_eq!(auditor.sees("action=installation.set_up").await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn people_who_come_go_and_fail_leave_a_trace(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let auditor = Auditor::of(&world).await;
    let user = world.owner.id(&world.server).await.to_string();
    world.owner.logs_in().await;
    world.server.passes(Duration::from_millis(1));
    world.owner.logs_in().await;
    world.owner.posts("/logout", &[]).await;
    world.owner.posts("/logout", &[]).await;
    // The second login ended the session of the first; nobody logs out twice.
    assert_eq!(auditor.sees("action=user.logged_in").await.len(), 2);
    let out = auditor.sees("action=user.logged_out").await;
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(out.iter().all(|event| event["actor"] == user && event["target"] == user));

    for _ in 0..15 {
        let form = [("email", "ada@example.com"), ("password", "not the password")];
        world.owner.posts("/login", &form).await;
    }
    let failed = auditor.sees("action=user.login_failed").await;
    assert!((7..=11).contains(&failed.len()), "{} attempts reached the password", failed.len());
    assert!(failed.iter().all(|event| event["actor"] == "anonymous" && event["target"] == user));
    let throttled = auditor.sees("action=user.login_throttled").await;
    assert_eq!(throttled.len(), 1, "one, however many there were: {throttled:?}");
    assert_eq!(throttled[0]["target"], user);
    assert_eq!(throttled[0]["detail"], json!({ "limit": "account" }));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_grant_and_of_keys_leaves_a_trace(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (auditor, app) = (Auditor::of(&world).await, world.confidential_app().await);
    let code = world.owner.approves(&app, "read:tenants").await;
    let first = app.redeems(&code).await.member("refresh_token").to_owned();
    app.redeems(&code).await;
    let ended = auditor.sees("action=grant.ended").await;
    assert_eq!(ended[0]["detail"], json!({ "reason": "code_replayed" }));
    assert_eq!(ended[0]["actor"], app.id);

    let code = world.owner.approves_again(&app, "read:tenants").await;
    let second = app.redeems(&code).await.member("refresh_token").to_owned();
    assert_ne!(first, second);
    world.server.passes(Duration::from_millis(1));
    app.refreshes(&second).await;
    world.server.passes(Duration::from_secs(100));
    app.refreshes(&second).await;
    let ended = auditor.sees("action=grant.ended").await;
    assert_eq!(ended[0]["detail"], json!({ "reason": "refresh_token_replayed" }));

    let found = auditor.sees("").await;
    for action in ["consent.given", "grant.created", "client.registered", "resource_server.created"]
    {
        assert!(actions(&found).contains(&action), "{action} is missing");
    }
}

/// Everything secret that a scenario brings to light, and the scenario.
async fn secrets_of_a_long_day(world: &World) -> Vec<String> {
    let mut secrets = vec![PASSWORD.to_owned(), world.credential.clone()];
    let mut keep = |secret: &str| {
        assert!(secret.len() >= 12, "{secret} is no secret");
        secrets.push(secret.to_owned());
    };
    let app = world.confidential_app().await;
    keep(app.secret.as_ref().unwrap());
    let wrong = "a wrong password of Ada's";
    keep(wrong);
    let form = [("email", "ada@example.com"), ("password", wrong)];
    world.owner.posts("/login", &form).await;
    let form = [("email", "ada@example.com"), ("password", PASSWORD)];
    let login = world.owner.posts("/login", &form).await;
    let cookie = login.header("set-cookie").split(['=', ';']).nth(1).unwrap();
    keep(cookie);
    let code = world.owner.approves_again(&app, "read:tenants write:tenants").await;
    keep(&code);
    let tokens = app.redeems(&code).await;
    keep(tokens.member("access_token"));
    let signature = tokens.member("access_token").rsplit('.').next().unwrap();
    keep(signature);
    keep(tokens.member("refresh_token"));
    let next = app.refreshes(tokens.member("refresh_token")).await;
    keep(next.member("access_token"));
    keep(next.member("refresh_token"));
    keep(app.acts_for_itself("read:tenants").await.member("access_token"));

    let admin = world.api_key(&["admin"]).await.secret;
    keep(&admin);
    let calls = async |method: Method, path: &str, body: Value| {
        let request = http().request(method, world.server.url(path)).bearer_auth(&admin);
        let request = request.header("idempotency-key", "one-of-a-kind").json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let made =
        calls(Method::POST, "/v1/api-keys", json!({ "name": "x", "scopes": ["read"] })).await;
    keep(made.member("secret"));
    let path = format!("/v1/api-keys/{}", made.member("id"));
    let owner = json!({ "owner": world.organization });
    calls(Method::POST, &format!("{path}/hand-over"), owner).await;
    calls(Method::DELETE, &path, Value::Null).await;
    calls(Method::POST, "/v1/signing-keys/rotate", json!({ "algorithm": "ES256" })).await;
    app.revokes(tokens.member("access_token")).await;
    app.refreshes(tokens.member("refresh_token")).await;
    app.redeems(&code).await;
    let link =
        portcullis::identity::make_setup_link(&world.server.app.db, world.server.app.clock.now());
    keep(link.await.unwrap().expose_secret());
    world.owner.posts("/logout", &[]).await;
    secrets
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_an_event_or_in_the_database(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let auditor = Auditor::of(&world).await;
    let secrets = secrets_of_a_long_day(&world).await;
    let trail = auditor.asks("", "application/jsonl").await.text;
    assert!(lines(&trail).len() > 15, "{trail}");
    for secret in secrets.iter().map(String::as_str).chain(["ada@example.com", "Dashboard"]) {
        assert!(!trail.contains(secret), "{secret} is in the audit trail");
    }

    if database == Database::Sqlite {
        let mut bytes = Vec::new();
        for file in ["portcullis.db", "portcullis.db-wal"] {
            let path = world.server.data_dir().join(file);
            bytes.extend(std::fs::read(path).unwrap_or_default());
        }
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("ada@example.com") && holds("api_key.created"), "the file was not read");
        for secret in &secrets {
            assert!(!holds(secret), "{secret} is in the database");
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_exports_on_the_command_line(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    here.is_set_up();
    here.succeeds(&["api-keys", "create", "--name", "ci", "--scope", "read"]);
    let all = lines(&here.succeeds(&["audit", "export"]));
    let mut found = actions(&all);
    assert_eq!((found[0], found[3]), ("signing_key.created", "api_key.created"));
    // What one transaction did has no order.
    found.sort_unstable();
    assert_eq!(
        found,
        ["api_key.created", "installation.set_up", "signing_key.created", "user.created"]
    );
    assert!(all.iter().all(|event| event["actor"] == "operator"));
    let own = lines(&here.succeeds(&["audit", "export", "--organization", "Example"]));
    assert_eq!(actions(&own), ["installation.set_up", "api_key.created"]);
    let none = here.succeeds(&["audit", "export", "--to", "2020-01-01T00:00:00Z"]);
    assert!(none.is_empty(), "{none}");
    let sentence = here.runs(&["audit", "export", "--organization", "Nobody"]).sentence(1);
    assert_eq!(sentence, "there is no organization called Nobody");
    assert_eq!(here.runs(&["audit", "export", "--from", "yesterday"]).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setup_in_a_browser_leaves_a_trace_too() {
    let Some(server) = Server::start(Database::Sqlite).await else { return };
    let app = &server.app;
    let link = portcullis::identity::make_setup_link(&app.db, app.clock.now()).await.unwrap();
    let person = Person::new(&server, "ada@example.com", PASSWORD);
    let form = [
        ("token", link.expose_secret()),
        ("email", "ada@example.com"),
        ("organization", "Example"),
        ("password", PASSWORD),
    ];
    assert_eq!(person.posts("/setup", &form).await.status, StatusCode::SEE_OTHER);
    let which = audit::Which {
        of: audit::Of::Everybody,
        actor: None,
        action: None,
        target: None,
        request_id: None,
        from: None,
        to: None,
    };
    let order = audit::Order::OldestFirst { after: None };
    let events = audit::list(app.db.reader(), &which, order, 100).await.unwrap();
    let found: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    for action in ["user.created", "installation.set_up", "user.logged_in"] {
        assert!(found.contains(&action), "{action} is missing: {found:?}");
    }
}

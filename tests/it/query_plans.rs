//! Every list at the size of a large installation: PostgreSQL tells how it found the first page. So for refreshes and
//! code exchanges.
//!
//! The plans are those of the very statements that the requests sent: `auto_explain` sends each back as a notice, and
//! the driver passes notices on as trace events. What counts is how many rows a request looked at, not how long it
//! took: that is the same on every machine.

use std::sync::{Mutex, OnceLock};

use futures::future::join_all;
use sea_orm::ConnectionTrait as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::harness::actors::http;
use crate::harness::{Answer, Application, Database, Person, World};

const NOTICES: &str = "sqlx::postgres::notice";
/// A page has 50 rows, each with its secret, account and role. A filter that fits few of them may look through what the
/// caller's organization has, which is 10,000 of each kind, but never through what the others have.
const MOST_ROWS: u64 = 12_000;

/// 10,000 organizations, 1,000,000 users, 1,000,000 keys and as much of what grows beside them. One organization, the
/// caller's, has a hundred times as much of everything as the others.
const FILL: &str = r#"
CREATE FUNCTION of(kind int, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('018bcfe5-' || lpad(to_hex(kind), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
CREATE FUNCTION tenant(n bigint) RETURNS uuid LANGUAGE sql STABLE AS
  $$ SELECT CASE WHEN n % 100 = 0 THEN (SELECT organization_id FROM installation) ELSE of(1, 1 + n % 10000) END $$;
SET session_replication_role = replica;
INSERT INTO organizations (id, name, search_name, created_at)
  SELECT of(1, n), 'Company ' || n, 'company ' || n, n FROM generate_series(1, 10000) n;
INSERT INTO users (id, email, name, password_hash, created_at, suspended_at)
  SELECT of(2, n), 'user' || n || '@example.com', 'User ' || n, '', n, CASE WHEN n % 50000 = 0 THEN n END
  FROM generate_series(1, 1000000) n;
INSERT INTO memberships (organization_id, user_id, search_email, role, created_at)
  SELECT tenant(n), of(2, n), 'user' || n || '@example.com', CASE WHEN n % 1000 = 0 THEN 'owner' WHEN n % 7 = 0 THEN 'admin' ELSE 'member' END, n
  FROM generate_series(1, 1000000) n;
INSERT INTO projects (id, organization_id, name, description, created_at, version)
  SELECT of(3, n), tenant(n), 'Project ' || n, '', n, 1 FROM generate_series(1, 100000) n;
INSERT INTO roles (id, organization_id, name, scopes, created_at, version)
  SELECT of(4, n), tenant(n), 'role ' || n, 'read', n, 1 FROM generate_series(1, 20000) n;
INSERT INTO invitations (id, organization_id, email, role, digest, created_at, expires_at, accepted_at)
  SELECT of(5, n), tenant(n), 'guest' || n || '@example.com', 'member', sha256(n::text::bytea), n, n + 1, n
  FROM generate_series(1, 100000) n;
INSERT INTO clients (id, organization_id, name, search_name, is_confidential, requires_pkce, grant_types,
    redirect_uris, refresh_retry_seconds, created_at, revoked_at)
  SELECT of(6, n), tenant(n), 'App ' || n, 'app ' || n, true, true, 'authorization_code', 'https://a.example/cb', 2, n,
    CASE WHEN n % 3 = 0 THEN n END
  FROM generate_series(1, 100000) n;
INSERT INTO client_secrets (id, client_id, digest, created_at)
  SELECT of(7, n), of(6, n), sha256(n::text::bytea), n FROM generate_series(1, 100000) n;
INSERT INTO grants (id, client_id, user_id, organization_id, resource_server_id, scopes, created_at, ended_at,
    generation, project_id)
  SELECT of(8, n), of(6, 1 + n % 100000), of(2, n), tenant(n), (SELECT id FROM resource_servers LIMIT 1),
    'read:tenants', n, CASE WHEN n % 2 = 0 THEN n END, 0, CASE WHEN n % 10 = 0 THEN of(3, 1 + n % 100000) END
  FROM generate_series(1, 1000000) n;
INSERT INTO api_keys (id, organization_id, name, search_name, scopes, environment, created_by, owner_id, created_at,
    expires_at, revoked_at, project_id)
  SELECT of(9, n), tenant(n), 'Key ' || n, 'key ' || n, 'read:tenants', 'live', of(2, n), of(2, n), n,
    CASE WHEN n % 500 = 0 THEN n END, CASE WHEN n % 400 = 0 THEN n END,
    CASE WHEN n % 10 = 0 THEN of(3, 1 + n % 100000) END
  FROM generate_series(1, 1000000) n;
INSERT INTO api_key_secrets (id, api_key_id, digest, start, "end", created_at)
  SELECT of(10, n), of(9, n), sha256(n::text::bytea), 'pc_live_abcd', 'wxyz', n FROM generate_series(1, 1000000) n;
INSERT INTO audit_events (id, at, actor, action, target, organization_id)
  SELECT replace(of(11, n)::text, '018bcfe5', '01a1fe58')::uuid, n, 'usr_' || n % 1000, 'action.' || n % 50, 'key_' || n, tenant(n) FROM generate_series(1, 1000000) n;
SET session_replication_role = DEFAULT;
ANALYZE;
"#;

/// What a page is asked for: without a filter, with each, with one that few rows fit and with one that none does.
const LISTS: &[&str] = &[
    "/v1/organizations",
    "/v1/organizations?name=company%209",
    "/v1/organizations?name=nothing",
    "/v1/projects",
    "/v1/roles",
    "/v1/members",
    "/v1/members?role=owner",
    "/v1/members?email=user5",
    "/v1/members?email=user99999",
    "/v1/invitations",
    "/v1/invitations?status=open",
    "/v1/invitations?status=accepted",
    "/v1/invitations?email=guest77",
    "/v1/users",
    "/v1/users?status=suspended",
    "/v1/users?email=user123",
    "/v1/users?email=nobody",
    "/v1/resource-servers",
    "/v1/scopes",
    "/v1/clients",
    "/v1/clients?status=deleted",
    "/v1/clients?status=disabled",
    "/v1/clients?name=app%2077",
    "/v1/grants",
    "/v1/grants?status=active",
    "/v1/grants?status=ended",
    "/v1/grants?user={user}",
    "/v1/grants?client={client}",
    "/v1/grants?project={project}",
    "/v1/api-keys",
    "/v1/api-keys?status=active",
    "/v1/api-keys?status=expired",
    "/v1/api-keys?status=revoked",
    "/v1/api-keys?name=key%201",
    "/v1/api-keys?name=key%2099900",
    "/v1/api-keys?name=nothing",
    "/v1/api-keys?project={project}",
    "/v1/api-keys?owner={user}",
    "/v1/api-keys?cursor={key}",
    "/v1/signing-keys",
    "/v1/audit-events",
    "/v1/audit-events?actor=usr_7",
    "/v1/audit-events?action=action.7",
    "/v1/audit-events?action=nothing",
    "/v1/audit-events?target={key}",
    "/v1/audit-events?request_id=0b2f1d0e-6c1f-4f0e-9a53-3f6f3f1f7a10",
    "/v1/me/connected-apps",
];

/// The same for pages of the console; `{organization}` is the caller's.
const PAGES: &[&str] = &[
    "/o/{organization}/api-keys",
    "/o/{organization}/api-keys?sort=name",
    "/o/{organization}/api-keys?sort=used&page=20",
    "/o/{organization}/api-keys?sort=expiry&status=all",
    "/o/{organization}/api-keys?status=expired",
    "/o/{organization}/api-keys?status=revoked",
    "/o/{organization}/api-keys?name=999",
    "/o/{organization}/api-keys?name=nothing",
    "/o/{organization}/api-keys?project={project}",
];

/// The same for what revokes many keys, asked which these would be.
const REVOCATIONS: &[&str] = &[
    r#"{"label":{"name":"nothing"},"dry_run":true}"#,
    r#"{"label":{"name":"nothing","value":"x"},"unused_days":1,"dry_run":true}"#,
    r#"{"unused_days":1,"dry_run":true}"#,
    r#"{"unused_days":3650,"dry_run":true}"#,
    r#"{"created_by":"{user}","dry_run":true}"#,
    r#"{"project":"{project}","dry_run":true}"#,
];

/// The plans that the database has sent since they were last taken.
fn plans() -> &'static Mutex<Vec<String>> {
    static PLANS: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    PLANS.get_or_init(Mutex::default)
}

/// Collects the notices of the driver.
struct Notices;

impl<S: Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "message" {
                    self.0 = value.to_owned();
                }
            }
            fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        plans().lock().unwrap().push(message.0);
    }
}

/// What a statement cost.
struct Cost {
    query: String,
    milliseconds: f64,
    rows: u64,
    /// Large tables that were read from end to end.
    scanned: Vec<String>,
}

impl Cost {
    fn of(notice: &str) -> Option<Self> {
        let (duration, plan) = notice.split_once("plan:")?;
        let milliseconds = duration.split_whitespace().nth(1)?.parse().ok()?;
        let plan: Value = serde_json::from_str(plan).ok()?;
        let mut cost = Self {
            query: plan["Query Text"].as_str()?.to_owned(),
            milliseconds,
            rows: 0,
            scanned: Vec::new(),
        };
        cost.add(&plan["Plan"]);
        Some(cost)
    }

    fn add(&mut self, node: &Value) {
        let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
        let seen = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        let seen = (seen * number("Actual Loops")).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of rows"
        )]
        let seen = seen as u64;
        // What a sort or a join passes on was read below it.
        if node["Relation Name"].is_string() {
            self.rows += seen;
        }
        if node["Node Type"].as_str().is_some_and(|kind| kind.contains("Seq Scan")) && seen > 100 {
            self.scanned.push(node["Relation Name"].as_str().unwrap_or_default().to_owned());
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.add(child);
        }
    }
}

/// An application, and what it was granted a few times.
async fn several_tokens(world: &World) -> (Application, Vec<Answer>) {
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let mut tokens = Vec::new();
    while tokens.len() < 8 {
        let code = world.owner.approves_again(&app, "read:tenants").await;
        tokens.push(app.redeems(&code).await);
    }
    (app, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_finds_its_first_page_by_an_index() {
    let Some(world) = World::on(Database::Postgres).await else { return };
    let subscriber = tracing_subscriber::registry()
        .with(Notices.with_filter(Targets::new().with_target(NOTICES, tracing::Level::TRACE)));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let key = world.api_key(&["admin"]).await;
    let (app, mut tokens) = several_tokens(&world).await;
    let database = world.server.app.db.writer();
    database.execute_unprepared(FILL).await.unwrap();
    let name = url::Url::parse(world.server.database_url()).unwrap().path()[1..].to_owned();
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_format = json",
        "client_min_messages = log",
    ] {
        let statement = format!("ALTER DATABASE {name} SET {setting}");
        database.execute_unprepared(&statement).await.unwrap();
    }
    // Settings are for connections that are made from now on.
    let explained = world.server.beside().await;
    let mut worst: Option<(f64, u64, &str)> = None;
    let mut problems = Vec::new();
    let ada = Person::at(&explained.address, &world.owner.email, &world.owner.password);
    ada.logs_in().await;
    for list in LISTS.iter().chain(REVOCATIONS).chain(PAGES) {
        let path = list
            .replace("{organization}", &world.organization.to_string())
            .replace("{project}", "prj_01hf7ya003e0080000000000z9")
            .replace("{user}", "usr_01hf7ya002e0080000000000z8")
            .replace("{client}", "app_01hf7ya006e0080000000000z9")
            .replace("{key}", "key_01hf7ya009e00800000000xdd0");
        // The first request fills caches; from the sixth on PostgreSQL may plan without looking at the parameters.
        for _ in 0..7 {
            plans().lock().unwrap().clear();
            let request = match path.split('/').nth(1) {
                Some("o") => ada.browser.get(explained.url(&path)),
                Some(_) => http().get(explained.url(&path)),
                None => http()
                    .post(explained.url("/v1/api-keys:revoke"))
                    .header("content-type", "application/json")
                    .body(path.clone()),
            };
            let request = request.bearer_auth(&key.secret);
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        let taken = std::mem::take(&mut *plans().lock().unwrap());
        let costs: Vec<Cost> = taken.iter().filter_map(|notice| Cost::of(notice)).collect();
        assert!(!costs.is_empty(), "{path}: no plan came");
        let rows: u64 = costs.iter().map(|cost| cost.rows).sum();
        let milliseconds: f64 = costs.iter().map(|cost| cost.milliseconds).sum();
        for cost in costs.iter().filter(|cost| !cost.scanned.is_empty()) {
            problems.push(format!("{path} reads all of {:?}: {}", cost.scanned, cost.query));
        }
        if rows > MOST_ROWS {
            let largest = costs.iter().max_by_key(|cost| cost.rows).unwrap();
            problems.push(format!("{path} looks at {rows} rows: {}", largest.query));
        }
        eprintln!("{path}: {} statements, {rows} rows, {milliseconds:.2} ms", costs.len());
        if worst.is_none_or(|(most, ..)| milliseconds > most) {
            worst = Some((milliseconds, rows, list));
        }
    }
    // What is asked for many at once: a few rows each, whatever else is in the tables.
    let app = app.moved_to(&explained);
    for _ in 0..7 {
        plans().lock().unwrap().clear();
        let refreshed = tokens.iter().map(|it| app.refreshes(it.member("refresh_token")));
        tokens = join_all(refreshed).await;
    }
    assert!(tokens.iter().all(|it| it.status == 200), "{tokens:?}");
    let code = world.owner.approves_again(&app, "read:tenants").await;
    let redeemed = app.redeems(&code).await;
    assert_eq!(redeemed.status, 200, "{redeemed:?}");
    let taken = std::mem::take(&mut *plans().lock().unwrap());
    let costs: Vec<Cost> = taken.iter().filter_map(|notice| Cost::of(notice)).collect();
    let is_step = |cost: &Cost| cost.query.contains("UPDATE \"grants\"");
    assert!(costs.iter().any(is_step), "{taken:?}");
    for cost in costs {
        if cost.rows > 1000 || !cost.scanned.is_empty() {
            let (rows, scanned, query) = (cost.rows, cost.scanned, cost.query);
            problems
                .push(format!("tokens look at {rows} rows, and at all of {scanned:?}: {query}"));
        }
    }
    let (milliseconds, rows, list) = worst.unwrap();
    eprintln!("worst: {list}, {milliseconds:.2} ms, {rows} rows");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // A gigabyte is too much to leave behind.
    let admin = std::env::var("PORTCULLIS_TEST_POSTGRES_URL").unwrap();
    let admin = sea_orm::Database::connect(&admin).await.unwrap();
    admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

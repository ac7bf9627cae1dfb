//! How often an API key may be used: alone, with the others of its organization, on several processes, with Redis and
//! without.

use std::time::Duration;

use entity::{ApiKeyId, OrganizationId};
use portcullis::api_keys::ApiKeySettings;
use portcullis::revocation::Subject;
use portcullis::tenancy::Role;
use redis::aio::MultiplexedConnection;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{ActiveModelTrait as _, Set};
use serde_json::json;

use crate::harness::actors::http;
use crate::harness::services::redis_url;
use crate::harness::world::Key;
use crate::harness::{
    Answer, Caller, Database, Installation, Server, WayToRedis, World, eventually,
};

const LIST: &str = "/v1/api-keys";

impl Server {
    /// What is counted under a name, labels and all.
    fn counts(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.app.metrics).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("there is no {name} in {text}")).parse().unwrap()
    }

    fn limited_by(&self, policy: &str) -> u64 {
        self.counts(&format!("portcullis_rate_limited_total{{policy=\"{policy}\"}}"))
    }

    /// Uses a key once.
    async fn is_called_with(&self, key: &Key) -> Answer {
        Caller::with(self, &key.secret).gets(LIST).await
    }

    /// Uses a key so often, and all of it is fine.
    async fn is_called_well(&self, key: &Key, times: u32) {
        for _ in 0..times {
            let answer = self.is_called_with(key).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
    }
}

impl World {
    /// A company where nothing is said of limits.
    async fn with_defaults(database: Database) -> Option<Self> {
        let usual = |settings: &mut portcullis::config::Settings| {
            settings.api_keys = ApiKeySettings::default();
        };
        Some(Self::around(Server::start_with(database, usual).await?).await)
    }

    /// A company whose uses are counted in a Redis.
    async fn counting_at(database: Database, url: String) -> Option<Self> {
        let server = Server::start_with(database, |settings| settings.redis_url = url).await?;
        Some(Self::around(server).await)
    }

    /// A key that may be used so often a minute.
    async fn limited_key(&self, per_minute: u32) -> Key {
        let key = self.api_key(&["read:api-keys"]).await;
        self.limits(&key, per_minute).await;
        key
    }

    async fn limits(&self, key: &Key, per_minute: u32) {
        let row = entity::api_key::ActiveModel {
            id: Set(key.id.parse::<ApiKeyId>().unwrap()),
            requests_per_minute: Set(Some(per_minute.into())),
            ..Default::default()
        };
        row.update(self.server.app.db.writer()).await.unwrap();
        self.forgets_copies_of(Subject::ApiKey(key.id.parse().unwrap())).await;
    }

    async fn limits_all_keys(&self, organization: OrganizationId, per_minute: u32) {
        let row = entity::organization::ActiveModel {
            id: Set(organization),
            requests_per_minute: Set(Some(per_minute.into())),
            ..Default::default()
        };
        row.update(self.server.app.db.writer()).await.unwrap();
        self.forgets_copies_of(Subject::Organization(organization)).await;
    }
}

/// That it was refused by this limit, with everything that the draft wants said.
#[track_caller]
fn assert_refused(answer: &Answer, policy: &str, quota: u32, wait: u64) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("retry-after"), wait.to_string());
    assert_eq!(answer.header("ratelimit-policy"), format!("\"{policy}\";q={quota};w=60"));
    assert_eq!(answer.header("ratelimit"), format!("\"{policy}\";r=0;t={wait}"));
    let detail = match policy {
        "key" => format!("This API key may be used {quota} times a minute."),
        _ => format!(
            "All API keys of this organization together may be used {quota} times a minute."
        ),
    };
    let expected = json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "detail": detail,
        "violated-policies": [policy],
    });
    assert_eq!(answer.json, expected);
}

/// How much the answer says is left.
#[track_caller]
fn left(answer: &Answer) -> u64 {
    let field = answer.header("ratelimit");
    let left = field.split(';').find_map(|parameter| parameter.strip_prefix("r="));
    left.unwrap_or_else(|| panic!("{field:?} says nothing: {answer:?}")).parse().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_used_120_times_a_minute(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::with_defaults(database).await else { return };
    let (server, key) = (&world.server, world.api_key(&["read:api-keys"]).await);
    let first = server.is_called_with(&key).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.header("ratelimit-policy"), "\"key\";q=120;w=60");
    assert_eq!(first.header("ratelimit"), "\"key\";r=119;t=1");
    assert_eq!(first.header("retry-after"), "");
    server.is_called_well(&key, 32).await;
    assert_eq!(server.is_called_with(&key).await.header("ratelimit"), "\"key\";r=86;t=17");
    server.is_called_well(&key, 85).await;
    let last = server.is_called_with(&key).await;
    assert_eq!((last.status, last.header("ratelimit")), (StatusCode::OK, "\"key\";r=0;t=1"));

    assert_refused(&server.is_called_with(&key).await, "key", 120, 1);
    assert_eq!(server.limited_by("key"), 1);
    // Another one goes on.
    server.is_called_well(&world.api_key(&["read:api-keys"]).await, 1).await;

    server.passes(Duration::from_millis(499));
    assert_refused(&server.is_called_with(&key).await, "key", 120, 1);
    server.passes(Duration::from_millis(1));
    server.is_called_well(&key, 1).await;
    assert_refused(&server.is_called_with(&key).await, "key", 120, 1);
    server.passes(Duration::from_secs(10));
    server.is_called_well(&key, 20).await;
    assert_refused(&server.is_called_with(&key).await, "key", 120, 1);
    server.passes(Duration::from_secs(3600));
    server.is_called_well(&key, 120).await;
    assert_refused(&server.is_called_with(&key).await, "key", 120, 1);
    assert_eq!((server.limited_by("key"), server.limited_by("organization")), (5, 0));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_have_a_limit_of_its_own(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::with_defaults(database).await else { return };
    let (server, key) = (&world.server, world.limited_key(4).await);
    server.is_called_well(&key, 4).await;
    assert_refused(&server.is_called_with(&key).await, "key", 4, 15);

    // Another number counts from the next call on.
    world.limits(&key, 200).await;
    let answer = server.is_called_with(&key).await;
    assert_eq!(answer.header("ratelimit-policy"), "\"key\";q=200;w=60");
    assert_eq!(answer.header("ratelimit"), "\"key\";r=195;t=2");
    world.limits(&key, 2).await;
    assert_refused(&server.is_called_with(&key).await, "key", 2, 30);
    server.passes(Duration::from_secs(30));
    server.is_called_well(&key, 1).await;
    world.limits(&key, 0).await;
    let never = server.is_called_with(&key).await;
    assert_eq!(never.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(never.header("retry-after"), "", "there is nothing to wait for");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_an_organization_may_share_a_limit(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::with_defaults(database).await else { return };
    let server = &world.server;
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let stranger =
        world.api_key_in(elsewhere, &world.owner, Role::Owner, &["read:api-keys"], None).await;
    world.limits_all_keys(world.organization, 6).await;
    let (one, other) = (world.limited_key(4).await, world.limited_key(10).await);

    server.is_called_well(&one, 3).await;
    let answer = server.is_called_with(&one).await;
    assert_eq!(answer.header("ratelimit"), "\"key\";r=0;t=15", "the tighter one is told");
    // What the key refuses is not taken from the organization.
    for _ in 0..5 {
        assert_refused(&server.is_called_with(&one).await, "key", 4, 15);
    }
    let answer = server.is_called_with(&other).await;
    assert_eq!(answer.header("ratelimit-policy"), "\"organization\";q=6;w=60");
    assert_eq!(answer.header("ratelimit"), "\"organization\";r=1;t=50");
    server.is_called_well(&other, 1).await;
    // What the organization refuses is not taken from the key, which has eight left.
    for _ in 0..20 {
        assert_refused(&server.is_called_with(&other).await, "organization", 6, 10);
    }
    assert_eq!((server.limited_by("key"), server.limited_by("organization")), (5, 20));
    server.is_called_well(&stranger, 20).await;
    world.limits_all_keys(world.organization, 1000).await;
    assert_eq!(left(&server.is_called_with(&other).await), 7);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_call_comes_to_it_counts_if_the_key_is_good(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::with_defaults(database).await else { return };
    let server = &world.server;
    let key = world.api_key(&["read:api-keys"]).await;
    let script = Caller::with(server, &key.secret);
    for (path, status) in [
        ("/v1/clients", StatusCode::FORBIDDEN),
        ("/v1/api-keys/key_01m7xssattfrev7vd5xegn6ktj", StatusCode::NOT_FOUND),
        ("/v1/api-keys?limit=none", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = script.gets(path).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("ratelimit-policy"), "\"key\";q=120;w=60", "{answer:?}");
    }
    assert_eq!(left(&server.is_called_with(&key).await), 116);

    // Nobody learns of a limit who holds no key, and nobody else has one.
    let wrong = Key { id: String::new(), secret: key.secret.replace("live", "test") };
    for _ in 0..130 {
        let answer = server.is_called_with(&wrong).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header("ratelimit").to_owned() + answer.header("ratelimit-policy"), "");
    }
    world.owner.logs_in().await;
    let person = Caller::in_browser(server, &world.owner, world.organization);
    let app = world.management_app().await;
    let tokens = app.acts_for_itself("read:api-keys").await;
    let by_token = Caller::with(server, tokens.member("access_token"));
    for caller in [person, by_token] {
        for _ in 0..130 {
            let answer = caller.gets(LIST).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(
                answer.header("ratelimit").to_owned() + answer.header("ratelimit-policy"),
                ""
            );
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_process_counts_by_itself(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (key, beside) = (world.limited_key(2).await, world.server.beside().await);
    for server in [&world.server, &beside] {
        server.is_called_well(&key, 2).await;
        assert_eq!(server.is_called_with(&key).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
}

// Redis counts in its own time, which nobody moves: quotas are so small here that none of them comes back meanwhile.

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn processes_with_one_redis_share_the_count(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(url) = redis_url() else { return };
    let Some(world) = World::counting_at(database, url.clone()).await else { return };
    let beside = world.server.beside_with(|settings| settings.redis_url = url).await;
    let key = world.limited_key(2).await;
    assert_eq!(left(&world.server.is_called_with(&key).await), 1);
    assert_eq!(left(&beside.is_called_with(&key).await), 0);
    for server in [&world.server, &beside] {
        let refused = server.is_called_with(&key).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((20..=30).contains(&wait), "{refused:?}");
        assert_eq!(refused.header("ratelimit"), format!("\"key\";r=0;t={wait}"));
        assert_eq!(server.counts("portcullis_redis_up"), 1);
        assert_eq!(server.counts("portcullis_rate_limit_fallbacks_total"), 0);
    }

    // The organization's, too: two of three are used.
    world.limits_all_keys(world.organization, 3).await;
    let (one, other) = (world.limited_key(1).await, world.limited_key(9).await);
    world.server.is_called_well(&one, 1).await;
    for server in [&world.server, &beside] {
        let refused = server.is_called_with(&one).await;
        assert_eq!(refused.json["violated-policies"], json!(["key"]), "{refused:?}");
    }
    world.server.is_called_well(&other, 1).await;
    beside.is_called_well(&other, 1).await;
    for server in [&world.server, &beside] {
        let refused = server.is_called_with(&other).await;
        assert_eq!(refused.json["violated-policies"], json!(["organization"]), "{refused:?}");
    }
    world.limits_all_keys(world.organization, 1000).await;
    beside.app.revocations.catch_up().await;
    assert_eq!(left(&beside.is_called_with(&other).await), 6, "its own was not taken");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_on_several_processes_just_the_quota_passes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(url) = redis_url() else { return };
    let Some(world) = World::counting_at(database, url.clone()).await else { return };
    let beside = world.server.beside_with(|settings| settings.redis_url = url).await;
    world.limits_all_keys(world.organization, 3).await;
    let keys = [world.limited_key(2).await, world.limited_key(2).await];
    let mut calls = Vec::new();
    for at in 0..40 {
        let server = if at % 4 < 2 { &world.server } else { &beside };
        calls.push(server.is_called_with(&keys[at % 2]));
    }
    let answers = futures::future::join_all(calls).await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(passed, 3);
}

/// The Redis of the tests, to look into.
async fn redis_at(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn asks<T: redis::FromRedisValue>(redis: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    for word in words {
        asked.arg(if word.starts_with('+') { word.to_owned() } else { word.replace('+', " ") });
    }
    asked.query_async(redis).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_gives_back_in_its_own_time_and_keeps_nothing_for_long() {
    let Some(url) = redis_url() else { return };
    let Some(world) = World::counting_at(Database::Sqlite, url.clone()).await else { return };
    let (server, key) = (&world.server, world.limited_key(120).await);
    let (mut redis, name) = (redis_at(&url).await, format!("portcullis:limit:{}", key.id));
    server.is_called_well(&key, 1).await;
    let expires: i64 = asks(&mut redis, &format!("PTTL {name}")).await;
    assert!((1..=60_000).contains(&expires), "{expires}");

    // All of it was used half a minute ago.
    let (seconds, _): (u64, u64) = asks(&mut redis, "TIME").await;
    let put = async |redis: &mut MultiplexedConnection, used: u64, at: u64| {
        asks::<()>(redis, &format!("SET {name} {used}+{at}000000 PX 60000")).await;
    };
    put(&mut redis, 120, seconds - 30).await;
    let remaining = left(&server.is_called_with(&key).await);
    assert!((59..90).contains(&remaining), "{remaining}");
    // Used an hour from now: somebody has set the clock back.
    put(&mut redis, 120, seconds + 3600).await;
    assert_eq!(left(&server.is_called_with(&key).await), 119);
    // A little from now: nothing of it has come back yet.
    put(&mut redis, 120, seconds + 40).await;
    assert_eq!(server.is_called_with(&key).await.status, StatusCode::TOO_MANY_REQUESTS);
    // Nothing of ours.
    asks::<()>(&mut redis, &format!("SET {name} nonsense")).await;
    assert_eq!(left(&server.is_called_with(&key).await), 119);

    // A Redis that was restarted knows the script no more.
    asks::<()>(&mut redis, "SCRIPT FLUSH").await;
    server.is_called_well(&key, 1).await;
    assert_eq!(server.counts("portcullis_rate_limit_fallbacks_total"), 0);
    assert_eq!(server.counts("portcullis_redis_up"), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_keys_go_on_working(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(mut way) = WayToRedis::open().await else { return };
    let Some(world) = World::counting_at(database, way.url()).await else { return };
    let (server, key) = (&world.server, world.limited_key(2).await);
    server.is_called_well(&key, 1).await;
    assert_eq!(server.counts("portcullis_redis_up"), 1);

    way.is_cut().await;
    // The process's own count begins anew, and it counts.
    server.is_called_well(&key, 2).await;
    assert_eq!(server.is_called_with(&key).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(server.counts("portcullis_redis_up"), 0);
    assert_eq!(server.counts("portcullis_rate_limit_fallbacks_total"), 3);

    way.is_mended().await;
    eventually(async || server.counts("portcullis_redis_up") == 1).await;
    assert_eq!(left(&server.is_called_with(&key).await), 0, "one was used there before");
    assert_eq!(server.is_called_with(&key).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(server.counts("portcullis_rate_limit_fallbacks_total"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_says_nothing_is_waited_for_once() {
    let Some(way) = WayToRedis::open().await else { return };
    let Some(world) = World::counting_at(Database::Sqlite, way.url()).await else { return };
    let (server, key) = (&world.server, world.limited_key(1000).await);
    server.is_called_well(&key, 1).await;
    way.falls_silent(true);
    let began = std::time::Instant::now();
    server.is_called_well(&key, 100).await;
    // Each of them would have waited a quarter of a second.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(server.counts("portcullis_rate_limit_fallbacks_total"), 100);
    assert_eq!(server.counts("portcullis_redis_up"), 0);
    way.falls_silent(false);
    eventually(async || server.counts("portcullis_redis_up") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_can_not_be_used_keeps_nobody_from_starting() {
    let Some(usable) = redis_url() else { return };
    let authority = usable.split("//").nth(1).unwrap();
    let mut redis = redis_at(&usable).await;
    // Somebody who may read and not write.
    let user = format!("reader{}", uuid::Uuid::now_v7().simple());
    asks::<()>(&mut redis, &format!("ACL SETUSER {user} on >secret ~* +@read +eval +evalsha"))
        .await;
    for url in [
        // Nobody listens there.
        "redis://127.0.0.1:1".to_owned(),
        // It speaks no TLS.
        format!("rediss://{authority}"),
        format!("redis://nobody:secret@{authority}"),
        format!("redis://{user}:secret@{authority}"),
    ] {
        let Some(world) = World::counting_at(Database::Sqlite, url.clone()).await else { return };
        let (server, key) = (&world.server, world.limited_key(2).await);
        server.is_called_well(&key, 2).await;
        assert_eq!(
            server.is_called_with(&key).await.status,
            StatusCode::TOO_MANY_REQUESTS,
            "{url}"
        );
        assert_eq!(server.counts("portcullis_redis_up"), 0, "{url}");
        assert_eq!(server.counts("portcullis_rate_limit_fallbacks_total"), 3, "{url}");
    }
    asks::<()>(&mut redis, &format!("ACL DELUSER {user}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_on_a_listener_of_their_own() {
    let mut here = Installation::empty().await;
    here.set("PORTCULLIS_METRICS_LISTEN", "127.0.0.1:0");
    here.set("PORTCULLIS_REDIS_URL", "redis://:hunter2@127.0.0.1:1");
    here.is_set_up();
    let made = here.succeeds(&[
        "api-keys",
        "create",
        "--name",
        "script",
        "--scope",
        "read:api-keys",
        "--json",
    ]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let server = here.starts();
    let line = server.announcement.lines().find_map(|line| line.trim().strip_prefix("metrics "));
    let url = line.unwrap_or_else(|| panic!("{}", server.announcement)).trim();

    let call = http().get(format!("{}{LIST}", here.issuer()));
    let call = call.bearer_auth(made["secret"].as_str().unwrap());
    let answer = Answer::of(call.send().await.unwrap()).await;
    assert_eq!((answer.status, left(&answer)), (StatusCode::OK, 119));
    let answer = Answer::of(http().get(url).send().await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), kind);
    for line in [
        "# TYPE portcullis_redis_up gauge",
        "portcullis_redis_up 0",
        "# TYPE portcullis_rate_limit_fallbacks counter",
        "portcullis_rate_limit_fallbacks_total 1",
        "portcullis_rate_limited_total{policy=\"key\"} 0",
        "portcullis_rate_limited_total{policy=\"organization\"} 0",
    ] {
        assert!(answer.text.lines().any(|it| it == line), "{line}: {}", answer.text);
    }

    // What is public has no metrics, and the metrics have nothing else.
    let public = http().get(format!("{}/metrics", here.issuer())).send().await.unwrap();
    assert_eq!(public.status(), StatusCode::NOT_FOUND);
    let other = http().get(url.replace("/metrics", "/healthz")).send().await.unwrap();
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    // Told once, however often it was tried, and without the password.
    let log = server.log();
    assert_eq!(log.matches("Redis is away").count(), 1, "{log}");
    assert!(!log.contains("hunter2") && !server.announcement.contains("hunter2"), "{log}");
    assert_eq!(server.stops(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_there_is_no_word_of_it_in_the_metrics() {
    let Some(server) = Server::start(Database::Sqlite).await else { return };
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &server.app.metrics).unwrap();
    assert!(text.contains("portcullis_rate_limited_total"), "{text}");
    assert!(!text.contains("redis") && !text.contains("fallbacks"), "{text}");
}

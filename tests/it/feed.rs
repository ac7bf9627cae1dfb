//! `GET /oauth/revocations`: the log, to resource servers and from process to process.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use entity::TokenId;
use futures::future::join_all;
use portcullis::app::App;
use portcullis::janitor;
use portcullis::revocation::{Subject, append_revoked};
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use crate::harness::actors::{claims, http, introspect};
use crate::harness::feed::Feed;
use crate::harness::process::operator_runs;
use crate::harness::{Answer, Application, Database, Server, World, eventually};

/// An access token that was revoked just now: its `jti`.
async fn revoked(app: &Application) -> String {
    let tokens = app.acts_for_itself("read:tenants").await;
    let token = tokens.member("access_token");
    assert_eq!(app.revokes(token).await.status, StatusCode::OK);
    claims(token)["jti"].as_str().unwrap().to_owned()
}

/// Appends to the log as a transaction of its own: the subject.
async fn appends(app: &App) -> String {
    let (tx, now) = (app.db.begin().await.unwrap(), app.clock.now());
    let token = TokenId::new(now);
    append_revoked(&tx, now, &[Subject::Token(token).for_everybody()]).await.unwrap();
    tx.commit().await.unwrap();
    token.to_string()
}

async fn lives(server: &Server, credential: &str, token: &str) -> bool {
    introspect(server, credential, token).await.json["active"].as_bool().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_a_resource_server_may_follow_the_log(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let own = app.acts_for_itself("read:tenants").await;
    let key = world.api_key(&["admin"]).await;
    let url = world.server.url("/oauth/revocations");
    let refused = Answer::of(http().get(&url).send().await.unwrap()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.header("www-authenticate").starts_with("Bearer "), "{refused:?}");
    let cut = &world.credential[..world.credential.len() - 1];
    let others =
        ["x", cut, &key.secret, own.member("access_token"), app.secret.as_deref().unwrap()];
    for credential in others {
        let refused = Feed::asks(&world.server, credential, None).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{credential}");
    }
    for id in ["x", "-1", "1.5", "99999999999999999999"] {
        let refused = Feed::asks(&world.server, &world.credential, Some(id)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{id}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_what_was_then_ready_then_what_comes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let (first, second) = (revoked(&app).await, revoked(&app).await);
    let mut feed = Feed::of(&world.server, &world.credential, None).await;
    let (before, ready) = feed.until_ready().await;
    let subjects: Vec<&str> = before.iter().map(|event| event.subject()).collect();
    assert_eq!(subjects[subjects.len() - 2..], [&first, &second], "in the order of the commits");
    assert!(before.iter().all(|event| event.name == "entry"));
    assert!(before.is_sorted_by_key(|event| event.seq()));
    assert_eq!(ready.seq(), before.last().unwrap().seq());

    let third = revoked(&app).await;
    let live = feed.next().await;
    // Good for as long as a token could be, and a while for clocks that are behind.
    let until = world.server.app.clock.now().unix_seconds() + 24 * 60 * 60 + 300;
    let entry = json!({
        "seq": live.seq(), "kind": "revoked", "subject": third, "expires_at": until,
    });
    assert_eq!((live.name.as_str(), &live.data), ("entry", &entry));
    assert!(live.seq() > ready.seq());

    // Each kind of thing that ends is told.
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    app.revokes(tokens.member("refresh_token")).await;
    let grant = claims(tokens.member("access_token"))["grant"].clone();
    assert_eq!(feed.next().await.data["subject"], grant);
    let (admin, key) = (world.api_key(&["admin"]).await, world.api_key(&["read"]).await);
    let path = world.server.url(&format!("/v1/api-keys/{}", key.id));
    let answer = http().delete(path).bearer_auth(&admin.secret).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(feed.next().await.subject(), key.id);
    operator_runs(&world.server, &["clients", "revoke", &app.id]);
    assert_eq!(feed.next().await.subject(), app.id);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_comes_back_goes_on_where_it_was(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, credential) = (&world.server, world.credential.as_str());
    let app = world.confidential_app().await;
    let mut feed = Feed::of(server, credential, None).await;
    let (all, ready) = feed.until_ready().await;
    drop(feed);
    let missed = [revoked(&app).await, revoked(&app).await];
    let mut feed = Feed::of(server, credential, Some(&ready.id)).await;
    let (caught_up, end) = feed.until_ready().await;
    let subjects: Vec<&str> = caught_up.iter().map(|event| event.subject()).collect();
    assert_eq!(subjects, missed);

    let mut feed = Feed::of(server, credential, Some(&end.id)).await;
    let (nothing, still) = feed.until_ready().await;
    assert_eq!((nothing.len(), still.seq()), (0, end.seq()));
    assert_eq!(revoked(&app).await, feed.next().await.subject());

    // An id from a log that this one is not: a restored database, say.
    let mut feed = Feed::of(server, credential, Some("1000000")).await;
    let (events, end) = feed.until_ready().await;
    assert_eq!(events[0].name, "reset");
    assert_eq!(events.len(), 1 + all.len() + missed.len() + 1, "and then everything");
    assert!(end.seq() < 1_000_000);
    assert_eq!(revoked(&app).await, feed.next().await.subject());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn entries_leave_when_they_can_kill_nothing_any_more(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, credential) = (&world.server, world.credential.as_str());
    let app = world.confidential_app().await;
    let old = revoked(&app).await;
    let mut feed = Feed::of(server, credential, None).await;
    let (_, seen) = feed.until_ready().await;
    server.passes(Duration::from_secs(60 * 60));
    let young = revoked(&app).await;
    let young_seq = feed.next().await.id;

    server.passes(Duration::from_secs(23 * 60 * 60 + 300));
    janitor::sweep(&server.app).await;
    let (kept, _) = Feed::of(server, credential, None).await.until_ready().await;
    assert!(kept.iter().any(|event| event.subject() == old), "not a moment too early");
    server.passes(Duration::from_millis(1));
    janitor::sweep(&server.app).await;
    let (kept, _) = Feed::of(server, credential, None).await.until_ready().await;
    let subjects: Vec<&str> = kept.iter().map(|event| event.subject()).collect();
    assert_eq!(subjects, [young]);

    // Whoever saw the last of what was trimmed has missed nothing; whoever is further behind starts anew.
    let (after, _) = Feed::of(server, credential, Some(&seen.id)).await.until_ready().await;
    assert_eq!(after.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), [&young_seq]);
    let behind = (seen.seq() - 1).to_string();
    let (events, _) = Feed::of(server, credential, Some(&behind)).await.until_ready().await;
    assert_eq!(events[0].name, "reset");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_are_told_in_one_order_to_every_reader(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const WRITERS: usize = 12;
    const EACH: usize = 10;
    let Some(world) = World::on(database).await else { return };
    let credential = world.credential.as_str();
    let second = world.server.beside().await;
    let mut readers = Vec::new();
    for server in [&world.server, &second, &world.server] {
        let mut feed = Feed::of(server, credential, None).await;
        let (_, ready) = feed.until_ready().await;
        readers.push((feed, ready.seq()));
    }
    // Some look in again and again instead of listening.
    let start = readers[0].1;
    let pollers = [&world.server, &second].map(|server| {
        let (server, credential) = (server.address.clone(), credential.to_owned());
        let (stop, mut stopped) = tokio::sync::watch::channel(usize::MAX);
        let polling = tokio::spawn(async move {
            let (mut order, mut since) = (Vec::new(), start);
            while order.len() < *stopped.borrow_and_update() {
                let request = http()
                    .get(format!("{server}/oauth/revocations?since={since}"))
                    .bearer_auth(&credential)
                    .header("accept", "application/json");
                let page = Answer::of(request.send().await.unwrap()).await;
                for entry in page.json["entries"].as_array().unwrap() {
                    let seq = entry["seq"].as_i64().unwrap();
                    assert!(seq > since, "{seq} after {since}");
                    since = seq;
                    order.push(entry["subject"].as_str().unwrap().to_owned());
                }
                assert!(page.json["last"].as_i64().unwrap() >= since, "{page:?}");
                since = page.json["last"].as_i64().unwrap();
            }
            order
        });
        (stop, polling)
    });
    let writers = (0..WRITERS).map(|writer| {
        let app = if writer % 2 == 0 { world.server.app.clone() } else { second.app.clone() };
        tokio::spawn(async move {
            let mut committed = Vec::new();
            for round in 0..EACH {
                let (tx, now) = (app.db.begin().await.unwrap(), app.clock.now());
                let token = TokenId::new(now);
                append_revoked(&tx, now, &[Subject::Token(token).for_everybody()]).await.unwrap();
                // Commits are late by different times, and some never come.
                let late = (writer * 7 + round * 3) % 5;
                tokio::time::sleep(Duration::from_millis(late as u64)).await;
                if (writer + round) % 4 == 0 {
                    tx.rollback().await.unwrap();
                } else {
                    tx.commit().await.unwrap();
                    committed.push(token.to_string());
                }
            }
            committed
        })
    });
    let committed: HashSet<String> =
        join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    let mut orders = HashSet::new();
    for (feed, mut last) in readers {
        let mut feed = feed;
        let mut order = Vec::new();
        while order.len() < committed.len() {
            let event = feed.next().await;
            assert!(event.seq() > last, "{event:?} after {last}");
            last = event.seq();
            order.push(event.subject().to_owned());
        }
        assert_eq!(order.iter().cloned().collect::<HashSet<_>>(), committed);
        orders.insert(order);
    }
    for (stop, polling) in pollers {
        stop.send(committed.len()).unwrap();
        let order = tokio::time::timeout(Duration::from_secs(10), polling).await;
        orders.insert(order.expect("a page left something out").unwrap());
    }
    assert_eq!(orders.len(), 1, "every reader saw the same order");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_appends_later_commits_later(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = &world.server.app;
    let second = world.server.beside().await;
    let mut feed = Feed::of(&world.server, &world.credential, None).await;
    feed.until_ready().await;

    // One transaction has its number and does not commit; another, in another process, wants the next.
    let (tx, now) = (app.db.begin().await.unwrap(), app.clock.now());
    let slow = TokenId::new(now);
    append_revoked(&tx, now, &[Subject::Token(slow).for_everybody()]).await.unwrap();
    let other = second.app.clone();
    let mut fast = tokio::spawn(async move { appends(&other).await });
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut fast).await;
    assert!(waited.is_err(), "a later entry was committed before an earlier one");
    tx.commit().await.unwrap();
    let fast = fast.await.unwrap();
    assert_eq!(
        [feed.next().await.subject(), feed.next().await.subject()],
        [slow.to_string().as_str(), fast.as_str()]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_at_one_server_reaches_the_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const TIMES: u32 = 10;
    let Some(world) = World::on(database).await else { return };
    let (first, second) = (&world.server, world.server.beside().await);
    let app = world.confidential_app().await;
    let there = app.moved_to(&second);
    let mut feed = Feed::of(first, &world.credential, None).await;
    feed.until_ready().await;

    let mut waited = Duration::ZERO;
    for _ in 0..TIMES {
        let tokens = app.acts_for_itself("read:tenants").await;
        let token = tokens.member("access_token");
        for server in [first, &second] {
            assert!(lives(server, &world.credential, token).await);
        }
        assert_eq!(there.revokes(token).await.status, StatusCode::OK);
        assert!(!lives(&second, &world.credential, token).await, "it was told so");
        let revoked_at = Instant::now();
        assert_eq!(feed.next().await.data["subject"], claims(token)["jti"]);
        assert!(!lives(first, &world.credential, token).await, "what the feed tells is in force");
        waited += revoked_at.elapsed();
    }
    // A second at most for each; on PostgreSQL a notification is faster than looking once a second could be.
    let bound = if database == Database::Postgres { TIMES / 2 } else { TIMES };
    assert!(waited < Duration::from_secs(bound.into()), "{waited:?}");

    // A client whose copy the first server keeps in memory.
    assert_eq!(app.acts_for_itself("read:tenants").await.status, StatusCode::OK);
    let (db, now) = (&second.app.db, second.app.clock.now());
    let (by, id) = (portcullis::audit::By::operator(), app.id.parse().unwrap());
    assert!(portcullis::clients::revoke(db, now, &by, id).await.unwrap());
    eventually(async || {
        app.acts_for_itself("read:tenants").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_on_the_command_line_reaches_a_running_server(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let server = &world.server;
    let app = world.confidential_app().await;
    let tokens = app.acts_for_itself("read:tenants").await;
    let token = tokens.member("access_token");
    let key = world.api_key(&["read:tenants"]).await;
    assert!(lives(server, &world.credential, token).await);
    assert!(lives(server, &world.credential, &key.secret).await);
    operator_runs(server, &["api-keys", "revoke", &key.id]);
    eventually(async || !lives(server, &world.credential, &key.secret).await).await;
    operator_runs(server, &["clients", "revoke", &app.id]);
    eventually(async || !lives(server, &world.credential, token).await).await;
    assert_eq!(app.acts_for_itself("").await.refusal(), "401 invalid_client");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_knows_what_was_revoked_before_it_answers(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let tokens = app.acts_for_itself("read:tenants").await;
    let token = tokens.member("access_token");
    app.revokes(token).await;
    let second = world.server.beside().await;
    assert!(!lives(&second, &world.credential, token).await);
}

/// Ends the sessions that listen for notifications; says how many there were.
async fn listeners_killed(app: &App) -> u64 {
    let kill = "SELECT pg_terminate_backend(pid) AS killed FROM pg_stat_activity \
        WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, kill);
    app.db.reader().query_all_raw(statement).await.unwrap().len() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_listening_connection_breaks_again_and_again() {
    const TIMES: u64 = 3;
    let Some(world) = World::on(Database::Postgres).await else { return };
    let second = world.server.beside().await;
    let mut feed = Feed::of(&world.server, &world.credential, None).await;
    feed.until_ready().await;
    let mut killed = 0;
    let began = Instant::now();
    while killed < TIMES * 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody listens any more");
        killed += listeners_killed(&second.app).await;
        let subject = appends(&second.app).await;
        let committed = Instant::now();
        assert_eq!(feed.next().await.subject(), subject);
        let waited = committed.elapsed();
        assert!(waited < Duration::from_secs(3), "polling is slower than it should be: {waited:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_ends_when_the_log_can_not_be_read(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let mut feed = Feed::of(&world.server, &world.credential, None).await;
    feed.until_ready().await;
    let hide = "ALTER TABLE revocations RENAME TO hidden";
    world.server.app.db.writer().execute_unprepared(hide).await.unwrap();
    // A sign of life would say that nothing was missed.
    let rest = tokio::time::timeout(Duration::from_secs(60), feed.rest()).await.unwrap();
    assert!(!rest.contains("event"), "{rest}");
    let back = "ALTER TABLE hidden RENAME TO revocations";
    world.server.app.db.writer().execute_unprepared(back).await.unwrap();
    eventually(async || {
        Feed::asks(&world.server, &world.credential, None).await.status() == StatusCode::OK
    })
    .await;
    let app = world.confidential_app().await;
    let mut feed = Feed::of(&world.server, &world.credential, None).await;
    feed.until_ready().await;
    assert_eq!(revoked(&app).await, feed.next().await.subject());
}

//! `GET /oauth/revocations`: who sees what of the log, in which form, and what becomes of readers that are slow.

use std::time::{Duration, Instant};

use entity::TokenId;
use migration::{Migrator, MigratorTrait as _};
use portcullis::janitor;
use portcullis::resource_servers;
use portcullis::revocation::{About, Subject, append_revoked};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::harness::actors::{claims, http};
use crate::harness::caller::wrong_fields;
use crate::harness::feed::Feed;
use crate::harness::{Answer, Caller, Database, Server, World, eventually};

const APIS: &str = "/v1/resource-servers";
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn admin(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// An API of the caller's organization alone: its id and its credential.
async fn own_api(caller: &Caller, audience: &str) -> (String, String) {
    let wanted = json!({
        "audience": audience, "name": "Own", "algorithm": "ES256", "is_shared": false,
        "scopes": [{ "scope": "read:tenants", "sentence": "See your tenants" }],
    });
    let made = caller.posts(APIS, &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    (made.member("id").to_owned(), made.member("credential").to_owned())
}

/// Revokes some tokens that nobody has, in one transaction.
async fn revokes_tokens(server: &Server, count: usize) -> Vec<String> {
    let (app, now) = (&server.app, server.app.clock.now());
    let tokens: Vec<TokenId> = (0..count).map(|_| TokenId::new(now)).collect();
    let subjects: Vec<About> =
        tokens.iter().map(|token| Subject::Token(*token).for_everybody()).collect();
    let tx = app.db.begin().await.unwrap();
    append_revoked(&tx, now, &subjects).await.unwrap();
    tx.commit().await.unwrap();
    app.revocations.catch_up().await;
    tokens.iter().map(ToString::to_string).collect()
}

fn subjects(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let entries = page.json["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["subject"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_server_sees_what_concerns_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let server = &world.server;
    let ours = admin(&world).await;
    let eve = world.stranger("eve@elsewhere.example").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let eves = world.api_key_in(elsewhere, &eve, Role::Owner, &["admin"], None).await;
    let theirs = Caller::with(server, &eves.secret);
    let (_, our_credential) = own_api(&ours, "https://ours.example.com").await;
    let (their_api, their_credential) = own_api(&theirs, "https://theirs.example.com").await;
    // The one that is for all organizations, then one of ours and one of theirs.
    let credentials = [&world.credential, &our_credential, &their_credential];
    let mut feeds = Vec::new();
    for credential in credentials {
        let mut feed = Feed::of(server, credential, None).await;
        let (_, ready) = feed.until_ready().await;
        feeds.push((feed, ready.seq()));
    }

    let mut told: Vec<(String, [bool; 3])> = Vec::new();
    let key = world.api_key(&["read:tenants"]).await;
    assert_eq!(ours.deletes(&format!("/v1/api-keys/{}", key.id)).await.status, 204);
    told.push((key.id, [true, true, false]));
    let key = world.api_key_in(elsewhere, &eve, Role::Owner, &["read:tenants"], None).await;
    assert_eq!(theirs.deletes(&format!("/v1/api-keys/{}", key.id)).await.status, 204);
    told.push((key.id, [true, false, true]));
    let app = world.confidential_app().await;
    let tokens = app.acts_for_itself("read:tenants").await;
    app.revokes(tokens.member("access_token")).await;
    let token = claims(tokens.member("access_token"))["jti"].as_str().unwrap().to_owned();
    told.push((token, [true, false, false]));
    let tokens = app.redeems(&world.owner.approves(&app, "read:tenants").await).await;
    app.revokes(tokens.member("refresh_token")).await;
    let grant = claims(tokens.member("access_token"))["grant"].as_str().unwrap().to_owned();
    told.push((grant, [true, false, false]));
    let found = "https://ours.example.com";
    let api = resource_servers::find_by_audience(server.app.db.reader(), found).await.unwrap();
    let private = world.app_for(&api.unwrap()).await;
    let tokens = private.acts_for_itself("read:tenants").await;
    private.revokes(tokens.member("access_token")).await;
    let token = claims(tokens.member("access_token"))["jti"].as_str().unwrap().to_owned();
    told.push((token, [false, true, false]));
    let project = ours.posts("/v1/projects", &json!({ "name": "x" })).await;
    let project = project.member("id");
    assert_eq!(ours.deletes(&format!("/v1/projects/{project}")).await.status, 204);
    told.push((project.to_owned(), [true, true, false]));
    assert_eq!(ours.deletes(&format!("/v1/clients/{}", app.id)).await.status, 204);
    told.push((app.id.clone(), [true, true, false]));
    let bob = world.member("bob@example.com", Role::Member).await.id(server).await.to_string();
    let changed = ours.patches(&format!("/v1/members/{bob}"), &json!({ "role": "viewer" })).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    told.push((bob.clone(), [true, true, false]));
    let changed = theirs.patches(&format!("{APIS}/{their_api}"), &json!({ "name": "New" })).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    told.push((their_api, [false, false, true]));
    // An account is no organization's.
    let suspended = ours.posts(&format!("/v1/users/{bob}/suspend"), &json!({})).await;
    assert_eq!(suspended.status, StatusCode::OK, "{suspended:?}");
    told.push((bob, [true, true, true]));
    let last = revokes_tokens(server, 1).await.remove(0);
    told.push((last.clone(), [true, true, true]));

    for (at, (feed, ready)) in feeds.iter_mut().enumerate() {
        let expected: Vec<&String> =
            told.iter().filter(|(_, sees)| sees[at]).map(|(subject, _)| subject).collect();
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            seen.push(feed.next().await.subject().to_owned());
        }
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "reader {at}, live");
        let page = Feed::polls(server, credentials[at], Some(*ready)).await;
        assert_eq!(subjects(&page).iter().collect::<Vec<_>>(), expected, "reader {at}, polling");
        let ready = ready.to_string();
        let mut resumed = Feed::of(server, credentials[at], Some(&ready)).await;
        let (stored, end) = resumed.until_ready().await;
        let stored: Vec<&str> = stored.iter().map(|event| event.subject()).collect();
        assert_eq!(stored, expected, "reader {at}, stored");
        assert_eq!(page.json["last"], end.seq(), "all of it was looked at");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_shared_goes_on_hearing_of_others_while_it_may_have_tokens_of_theirs(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, credential) = (&world.server, world.credential.as_str());
    let ours = admin(&world).await;
    let eve = world.stranger("eve@elsewhere.example").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let eves = world.api_key_in(elsewhere, &eve, Role::Owner, &["admin"], None).await;
    let theirs = Caller::with(server, &eves.secret);
    let key_of_theirs_ends = async || {
        let key = world.api_key_in(elsewhere, &eve, Role::Owner, &["read:tenants"], None).await;
        assert_eq!(theirs.deletes(&format!("/v1/api-keys/{}", key.id)).await.status, 204);
        key.id
    };
    let path = format!("{APIS}/{}", world.api.id);
    let shares = async |is_shared: bool| {
        let changed = ours.patches(&path, &json!({ "is_shared": is_shared })).await;
        assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    };
    let mut feed = Feed::of(server, credential, None).await;
    feed.until_ready().await;
    shares(false).await;
    let key = key_of_theirs_ends().await;
    assert_eq!(feed.next().await.subject(), world.api.id.to_string());
    assert_eq!(feed.next().await.subject(), key, "a token of theirs may have been made before");
    server.passes(24 * HOUR);
    let key = key_of_theirs_ends().await;
    assert_eq!(feed.next().await.subject(), key, "clocks differ");
    drop(feed);

    server.passes(HOUR);
    let mut feed = Feed::of(server, credential, None).await;
    feed.until_ready().await;
    let hidden = key_of_theirs_ends().await;
    let seen = revokes_tokens(server, 1).await.remove(0);
    assert_eq!(feed.next().await.subject(), seen, "it is none of its business any more");
    // Whoever sees more than before begins anew.
    shares(true).await;
    let next = feed.next().await;
    let again = match next.name.as_str() {
        "entry" => feed.next().await,
        _ => next,
    };
    assert_eq!(again.name, "reset");
    let (all, _) = feed.until_ready().await;
    assert!(all.iter().any(|event| event.subject() == hidden), "{all:?}");
    let key = key_of_theirs_ends().await;
    assert_eq!(feed.next().await.subject(), key);
    // Taken back once more, the day begins anew.
    shares(false).await;
    let key = key_of_theirs_ends().await;
    let page = Feed::polls(server, credential, None).await;
    assert!(subjects(&page).contains(&key), "{page:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_page_by_page(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, credential) = (&world.server, world.credential.as_str());
    let start = Feed::polls(server, credential, None).await;
    assert_eq!(start.status, StatusCode::OK, "{start:?}");
    assert_eq!(start.header("content-type"), "application/json");
    assert_eq!(start.header("cache-control"), "no-store");
    let last = |page: &Answer| page.json["last"].as_i64().unwrap();
    let tokens = revokes_tokens(server, 1200).await;
    let (mut read, mut since, mut sizes) = (Vec::new(), last(&start), Vec::new());
    loop {
        let page = Feed::polls(server, credential, Some(since)).await;
        assert_eq!(page.json["reset"], false);
        let entries = page.json["entries"].as_array().unwrap();
        assert!(entries.is_sorted_by_key(|entry| entry["seq"].as_i64()));
        sizes.push(entries.len());
        read.extend(subjects(&page));
        assert!(last(&page) > since);
        since = last(&page);
        if page.json["more"] == json!(false) {
            break;
        }
    }
    assert_eq!((sizes, &read), (vec![500, 500, 200], &tokens));
    let nothing = Feed::polls(server, credential, Some(since)).await;
    let expected = json!({ "entries": [], "last": since, "more": false, "reset": false });
    assert_eq!(nothing.json, expected);

    // An entry is told as the feed tells it.
    let token = revokes_tokens(server, 1).await.remove(0);
    let page = Feed::polls(server, credential, Some(since)).await;
    let until = server.app.clock.now().unix_seconds() + 24 * 60 * 60 + 300;
    let entry = json!({
        "seq": last(&page), "kind": "revoked", "subject": token, "expires_at": until,
    });
    assert_eq!(page.json["entries"], json!([entry]));

    // From a log that this one is not, or no longer.
    let first = subjects(&Feed::polls(server, credential, None).await);
    let future = Feed::polls(server, credential, Some(1_000_000)).await;
    assert_eq!(future.json["reset"], true);
    assert_eq!(subjects(&future), first);
    server.passes(25 * HOUR);
    let young = revokes_tokens(server, 1).await;
    janitor::sweep(&server.app).await;
    let behind = Feed::polls(server, credential, Some(since)).await;
    assert_eq!(behind.json["reset"], true, "one entry was trimmed that it had not seen");
    assert_eq!(subjects(&behind), young);
    let in_time = Feed::polls(server, credential, Some(last(&page))).await;
    assert_eq!(in_time.json["reset"], false);
    assert_eq!(subjects(&in_time), young);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_says_what_it_can_read(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let url = world.server.url("/oauth/revocations");
    let gets = async |query: &str, accept: Option<&str>| {
        let mut request = http().get(format!("{url}{query}")).bearer_auth(&world.credential);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        request.send().await.unwrap()
    };
    for (accept, kind) in [
        (None, "text/event-stream"),
        (Some("*/*"), "text/event-stream"),
        (Some("text/event-stream"), "text/event-stream"),
        (Some("application/json"), "application/json"),
        (Some("application/json, text/plain, */*"), "application/json"),
    ] {
        let answer = gets("", accept).await;
        assert_eq!(answer.status(), StatusCode::OK, "{accept:?}");
        assert_eq!(answer.headers()["content-type"], kind, "{accept:?}");
        assert_eq!(answer.headers()["vary"], "accept");
    }
    let refused = Answer::of(gets("", Some("text/html")).await).await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE, "{refused:?}");
    for query in ["?since=x", "?since=-1", "?since=1.5", "?since=99999999999999999999"] {
        for accept in ["application/json", "text/event-stream"] {
            let refused = Answer::of(gets(query, Some(accept)).await).await;
            assert_eq!(wrong_fields(&refused), ["since"], "{query}");
        }
    }
    let refused = Answer::of(gets("?until=1", None).await).await;
    assert_eq!(wrong_fields(&refused), ["until"]);
    let refused = http().get(&url).header("accept", "application/json").bearer_auth("x");
    assert_eq!(refused.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    // A reader that can't set a header begins by the query, and goes on by the header.
    let tokens = revokes_tokens(&world.server, 3).await;
    let all = Feed::polls(&world.server, &world.credential, None).await;
    let seq = |at: usize| {
        let entries = all.json["entries"].as_array().unwrap();
        entries[entries.len() - at]["seq"].as_i64().unwrap()
    };
    let mut feed = Feed::from(gets(&format!("?since={}", seq(2)), None).await);
    let (stored, _) = feed.until_ready().await;
    let stored: Vec<&str> = stored.iter().map(|event| event.subject()).collect();
    assert_eq!(stored, tokens[2..]);
    let request = http().get(format!("{url}?since={}", seq(3))).bearer_auth(&world.credential);
    let answer = request.header("last-event-id", seq(1).to_string()).send().await.unwrap();
    let (stored, _) = Feed::from(answer).until_ready().await;
    assert!(stored.is_empty(), "{stored:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_ends_with_the_grace_of_its_credential(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, ours) = (&world.server, admin(&world).await);
    let path = format!("{APIS}/{}/credential", world.api.id);
    let made = ours.posts(&path, &json!({ "grace_seconds": 3600 })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let mut old = Feed::of(server, &world.credential, None).await;
    let mut new = Feed::of(server, made.member("credential"), None).await;
    old.until_ready().await;
    new.until_ready().await;
    for _ in 0..2 {
        let token = revokes_tokens(server, 1).await.remove(0);
        assert_eq!(old.next().await.subject(), token);
        assert_eq!(new.next().await.subject(), token);
    }
    server.passes(HOUR);
    for _ in 0..2 {
        let token = revokes_tokens(server, 1).await.remove(0);
        assert_eq!(new.next().await.subject(), token);
    }
    let rest = tokio::time::timeout(Duration::from_secs(10), old.rest()).await.unwrap();
    assert!(!rest.contains("event"), "{rest}");
    // Where nothing is revoked, the next sign of life is the last that is not given.
    let again = ours.posts(&path, &json!({ "grace_seconds": 3600 })).await;
    assert_eq!(again.status, StatusCode::CREATED, "{again:?}");
    let named = new.next().await;
    assert_eq!(named.subject(), world.api.id.to_string());
    server.passes(HOUR);
    let rest = tokio::time::timeout(Duration::from_secs(20), new.rest()).await.unwrap();
    assert!(!rest.contains("event"), "{rest}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_cut_off_and_harms_nobody(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, revocations) = (&world.server, &world.server.app.revocations);
    // More than all buffers between the two of them hold.
    revokes_tokens(server, 40_000).await;
    let end = revocations.applied().to_string();
    let mut quick = Feed::of(server, &world.credential, Some(&end)).await;
    quick.until_ready().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = server.address.strip_prefix("http://").unwrap().parse().unwrap();
    let mut slow = socket.connect(address).await.unwrap();
    let head = "GET /oauth/revocations HTTP/1.1\r\nhost: x\r\naccept: text/event-stream";
    let request = format!("{head}\r\nauthorization: Bearer {}\r\n\r\n", world.credential);
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(revocations.feeds(), 2);

    let began = Instant::now();
    while revocations.feeds() > 1 {
        assert!(began.elapsed() < Duration::from_secs(60), "it is still connected");
        let token = revokes_tokens(server, 1).await.remove(0);
        let told = Instant::now();
        assert_eq!(quick.next().await.subject(), token);
        assert!(told.elapsed() < Duration::from_secs(1), "another reader had to wait");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(10), "it was given no time");
    // Its connection is gone, too, and not only what stood behind it.
    let mut rest = Vec::new();
    let read = slow.read_to_end(&mut rest).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let token = revokes_tokens(server, 1).await.remove(0);
    assert_eq!(quick.next().await.subject(), token);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_is_served_from_the_stored_log(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let server = &world.server;
    let mut feed = Feed::of(server, &world.credential, None).await;
    feed.until_ready().await;
    // More at once than wait in memory.
    let tokens = revokes_tokens(server, 20_000).await;
    for token in &tokens {
        assert_eq!(feed.next().await.subject(), token);
    }
    let token = revokes_tokens(server, 1).await.remove(0);
    assert_eq!(feed.next().await.subject(), token);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn entries_from_before_an_upgrade_concern_everybody(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const BEFORE: u32 = 5;
    let Some(own) = database.create().await else { return };
    let url = match database {
        Database::Sqlite => format!("{}?mode=rwc", own.url),
        Database::Postgres => own.url.clone(),
    };
    let old = sea_orm::Database::connect(url).await.unwrap();
    Migrator::up(&old, Some(BEFORE)).await.unwrap();
    for statement in [
        "INSERT INTO revocations (seq, at, kind, subject, expires_at) \
         VALUES (1, 0, 'revoked', 'tok_01h455vb4pex5vsknk084sn02q', 99999999999999)",
        "UPDATE revocation_counter SET seq = 1",
    ] {
        old.execute_unprepared(statement).await.unwrap();
    }
    old.close().await.unwrap();
    let world = World::around(Server::start_on(own).await).await;
    let (_, credential) = own_api(&admin(&world).await, "https://ours.example.com").await;
    let page = Feed::polls(&world.server, &credential, None).await;
    assert_eq!(subjects(&page)[0], "tok_01h455vb4pex5vsknk084sn02q");
    let (stored, _) = Feed::of(&world.server, &credential, None).await.until_ready().await;
    assert_eq!(stored[0].data["seq"], Value::from(1));
    eventually(async || world.server.app.revocations.feeds() == 0).await;
}

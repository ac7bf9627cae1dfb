//! Token Status Lists: which token has which place, what a list says of it, and who may keep a list for how long.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entity::{status_list, status_list_entry};
use futures::future::join_all;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use portcullis::janitor;
use portcullis::signing::Algorithm;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _};
use serde_json::{Value, json};

use crate::harness::actors::{claims, http, jose_header};
use crate::harness::{Answer, Application, Caller, Database, Server, World};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// After so long a list is made anew, if something was revoked.
const PAUSE: Duration = Duration::from_secs(1);

/// A company whose API wants status lists, and somebody who administers it.
async fn with_lists(database: Database) -> Option<(World, Caller)> {
    let world = World::on(database).await?;
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let path = format!("/v1/resource-servers/{}", world.api.id);
    let edited = admin.patches(&path, &json!({ "status_list": true })).await;
    assert_eq!((edited.status, &edited.json["status_list"]), (StatusCode::OK, &json!(true)));
    Some((world, admin))
}

/// Where a token has its status: the list's URI and the place.
fn place(token: &str) -> (String, usize) {
    let status = &claims(token)["status"]["status_list"];
    let uri = status["uri"].as_str().unwrap_or_else(|| panic!("no status in {token}")).to_owned();
    (uri, usize::try_from(status["idx"].as_u64().unwrap()).unwrap())
}

/// Asks a server for a list, by the URI that a token names.
async fn asks(server: &Server, uri: &str) -> Answer {
    let path = uri.strip_prefix(&server.issuer).unwrap_or_else(|| panic!("{uri} is not ours"));
    assert!(path.starts_with("/oauth/status-lists/lst_"), "{uri}");
    Answer::of(http().get(server.url(path)).send().await.unwrap()).await
}

/// The claims of a list, if it is signed by one of the server's keys and is what it says.
async fn verified(server: &Server, list: &Answer) -> Value {
    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    assert_eq!(list.header("content-type"), "application/statuslist+jwt");
    let jwks = http().get(server.url("/oauth/jwks")).send().await.unwrap();
    let jwks: JwkSet = jwks.json().await.unwrap();
    let header = jsonwebtoken::decode_header(&list.text).unwrap();
    assert_eq!(header.typ.as_deref(), Some("statuslist+jwt"));
    let key = DecodingKey::from_jwk(jwks.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    // The server's clock is moved, and the system's is not.
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(&list.text, &key, &validation).unwrap().claims
}

/// The bytes of a list.
fn bytes(claims: &Value) -> Vec<u8> {
    assert_eq!(claims["status_list"]["bits"], 1);
    let lst = URL_SAFE_NO_PAD.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&*lst).read_to_end(&mut bytes).unwrap();
    bytes
}

/// What the lists say of these tokens, in their order.
async fn statuses(server: &Server, tokens: &[&str]) -> Vec<u8> {
    let mut lists: HashMap<String, Vec<u8>> = HashMap::new();
    let mut found = Vec::new();
    for token in tokens {
        let (uri, idx) = place(token);
        if !lists.contains_key(&uri) {
            let list = asks(server, &uri).await;
            lists.insert(uri.clone(), bytes(&verified(server, &list).await));
        }
        found.push(lists[&uri][idx / 8] >> (idx % 8) & 1);
    }
    found
}

async fn token_of(app: &Application) -> String {
    let answer = app.acts_for_itself("read:tenants").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.member("access_token").to_owned()
}

async fn exchanges(server: &Server, secret: &str, resource: &str) -> Answer {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", secret),
        ("subject_token_type", "urn:portcullis:params:oauth:token-type:api-key"),
        ("resource", resource),
    ];
    Answer::of(http().post(server.url("/oauth/token")).form(&form).send().await.unwrap()).await
}

async fn entries(world: &World) -> u64 {
    status_list_entry::Entity::find().count(world.server.app.db.reader()).await.unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_token_turns_with_whatever_it_descends_from_and_no_other_does(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, admin)) = with_lists(database).await else { return };
    let app = world.confidential_app().await;
    let other = world.confidential_app().await;
    let (key, other_key) = (world.api_key(&["read:tenants"]).await, world.api_key(&["read"]).await);
    world.owner.logs_in().await;
    let code = world.owner.approves_again(&app, "read:tenants").await;
    let granted = app.redeems(&code).await;
    let refreshed = app.refreshes(granted.member("refresh_token")).await;
    let code = world.owner.approves_again(&other, "read:tenants").await;
    let other_granted = other.redeems(&code).await;
    let audience = &world.api.audience;
    let exchanged = exchanges(&world.server, &key.secret, audience).await;
    let other_exchanged = exchanges(&world.server, &other_key.secret, audience).await;
    let (own, own_too) = (token_of(&app).await, token_of(&app).await);
    let other_own = token_of(&other).await;
    let tokens = [
        own.as_str(),
        own_too.as_str(),
        granted.member("access_token"),
        refreshed.member("access_token"),
        exchanged.member("access_token"),
        other_own.as_str(),
        other_granted.member("access_token"),
        other_exchanged.member("access_token"),
    ];
    let places: HashSet<_> = tokens.iter().map(|token| place(token)).collect();
    assert_eq!(places.len(), tokens.len(), "two tokens have one place");
    let now_is = async |expected: [u8; 8]| {
        world.server.passes(PAUSE);
        assert_eq!(statuses(&world.server, &tokens).await, expected);
    };
    now_is([0; 8]).await;

    assert_eq!(app.revokes(&own).await.status, StatusCode::OK);
    now_is([1, 0, 0, 0, 0, 0, 0, 0]).await;
    let grant = claims(granted.member("access_token"))["grant"].as_str().unwrap().to_owned();
    assert_eq!(admin.deletes(&format!("/v1/grants/{grant}")).await.status, 204);
    now_is([1, 0, 1, 1, 0, 0, 0, 0]).await;
    assert_eq!(admin.deletes(&format!("/v1/api-keys/{}", key.id)).await.status, 204);
    now_is([1, 0, 1, 1, 1, 0, 0, 0]).await;
    assert_eq!(admin.deletes(&format!("/v1/clients/{}", app.id)).await.status, 204);
    now_is([1, 1, 1, 1, 1, 0, 0, 0]).await;
    // One secret of the other key ends, and another goes on.
    let rotate = format!("/v1/api-keys/{}/rotate", other_key.id);
    assert_eq!(admin.posts(&rotate, &json!({ "grace_seconds": 0 })).await.status, 201);
    now_is([1, 1, 1, 1, 1, 0, 0, 1]).await;
    let bits: u32 = {
        let (uri, _) = place(tokens[0]);
        let list = asks(&world.server, &uri).await;
        bytes(&verified(&world.server, &list).await).iter().map(|byte| byte.count_ones()).sum()
    };
    assert_eq!(bits, 6, "nothing else in the list turned");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_signed_and_says_for_how_long_it_is_good(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, admin)) = with_lists(database).await else { return };
    let app = world.confidential_app().await;
    let (uri, _) = place(&token_of(&app).await);
    let list = asks(&world.server, &uri).await;
    let now = world.server.app.clock.now().unix_seconds();
    let said = verified(&world.server, &list).await;
    assert_eq!(
        said,
        json!({
            "sub": uri, "iat": now, "exp": now + 300, "ttl": 60,
            "status_list": { "bits": 1, "lst": said["status_list"]["lst"] },
        })
    );
    assert_eq!(bytes(&said), [0; 8192]);
    assert_eq!(list.header("cache-control"), "public, max-age=60");
    let etag = list.header("etag").to_owned();
    let path = uri.strip_prefix(&world.server.issuer).unwrap();
    let get = || http().get(world.server.url(path));
    let known = get().header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let page = get().header("origin", "https://anybody.example").send().await.unwrap();
    assert_eq!(page.headers()["access-control-allow-origin"], "*");
    let past = get().query(&[("time", "1700000000")]).send().await.unwrap();
    assert_eq!(past.status(), StatusCode::NOT_IMPLEMENTED);

    // It is not made anew without need, nor more than once a second.
    let same = async || asks(&world.server, &uri).await.header("etag") == etag;
    world.server.passes(Duration::from_secs(59));
    assert!(same().await, "nothing was revoked");
    world.server.passes(PAUSE);
    let renewed = asks(&world.server, &uri).await;
    assert_ne!(renewed.header("etag"), etag, "it is a minute old");
    assert_eq!(app.revokes(&token_of(&app).await).await.status, StatusCode::OK);
    assert_eq!(asks(&world.server, &uri).await.header("etag"), renewed.header("etag"));
    world.server.passes(PAUSE);
    assert_ne!(asks(&world.server, &uri).await.header("etag"), renewed.header("etag"));

    // A list that nobody has is unknown, however it is spelt.
    for id in ["lst_01j9zq4k2mfd8v6w3x5y7b1c0e", "tok_01j9zq4k2mfd8v6w3x5y7b1c0e", "x", "%00"] {
        let path = format!("/oauth/status-lists/{id}");
        let unknown = Answer::of(http().get(world.server.url(&path)).send().await.unwrap()).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{id}");
    }

    // Each API's list is signed as its tokens are; an API that wants none has none.
    for algorithm in [Algorithm::EdDsa, Algorithm::Rs256] {
        let audience = format!("https://{algorithm}.example.com");
        let (api, _) = world.second_api(&audience, Algorithm::Es256).await;
        let app = world.app_for(&api).await;
        assert_eq!(claims(&token_of(&app).await)["status"], Value::Null);
        let wanted = json!({ "status_list": true, "algorithm": algorithm.as_str() });
        let edited = admin.patches(&format!("/v1/resource-servers/{}", api.id), &wanted).await;
        assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
        let token = token_of(&app).await;
        let list = asks(&world.server, &place(&token).0).await;
        verified(&world.server, &list).await;
        assert_eq!(jose_header(&list.text)["alg"], jose_header(&token)["alg"]);
        assert_ne!(place(&token).0, uri);
    }
    // Introspection takes no list for a token.
    let told = crate::harness::actors::introspect(&world.server, &world.credential, &list.text);
    assert_eq!(told.await.json, json!({ "active": false }));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_lists_has_none(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    assert_eq!(claims(&token_of(&app).await)["status"], Value::Null);
    assert_eq!(entries(&world).await, 0);
    let lists = status_list::Entity::find().count(world.server.app.db.reader()).await.unwrap();
    assert_eq!(lists, 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_hand_out_the_same_place_and_either_tells_of_all(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, _)) = with_lists(database).await else { return };
    let app = world.confidential_app().await;
    let second = world.server.beside().await;
    let there = app.moved_to(&second);
    let issue = async |app: &Application| token_of(app).await;
    let tokens = join_all((0..60).map(|at| issue(if at % 2 == 0 { &app } else { &there }))).await;
    let places: HashSet<_> = tokens.iter().map(|token| place(token)).collect();
    let lists: HashSet<_> = places.iter().map(|(uri, _)| uri.clone()).collect();
    assert_eq!((places.len(), lists.len()), (60, 2), "a list for each");
    assert_eq!(entries(&world).await, 60);

    // What the second issued the first revokes, and both tell of it; so does one that comes later.
    assert_eq!(app.revokes(&tokens[1]).await.status, StatusCode::OK);
    second.app.revocations.catch_up().await;
    let third = world.server.beside().await;
    for server in [&world.server, &second, &third] {
        let told = statuses(server, &[&tokens[0], &tokens[1], &tokens[3]]).await;
        assert_eq!(told, [0, 1, 0]);
    }
    let later = token_of(&app.moved_to(&third)).await;
    assert!(!lists.contains(&place(&later).0), "a process continues no list of another");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_place_goes_with_the_token_or_not_at_all(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, _)) = with_lists(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let code = world.owner.approves_again(&app, "read:tenants").await;
    // A list is open, and its rows can't be written.
    token_of(&app).await;
    let db = &world.server.app.db;
    let rename = async |from: &str, to: &str| {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        db.writer().execute_unprepared(&statement).await.unwrap();
    };
    rename("status_list_entries", "taken_away").await;
    assert_eq!(app.redeems(&code).await.refusal(), "500 server_error");
    assert_eq!(app.acts_for_itself("read:tenants").await.refusal(), "500 server_error");
    let key = world.api_key(&["read:tenants"]).await;
    let refused = exchanges(&world.server, &key.secret, &world.api.audience).await;
    assert_eq!(refused.refusal(), "500 server_error");
    rename("taken_away", "status_list_entries").await;
    let tokens = app.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "the code was not spent: {tokens:?}");
    let refresh_token = tokens.member("refresh_token");
    rename("status_list_entries", "taken_away").await;
    assert_eq!(app.refreshes(refresh_token).await.refusal(), "500 server_error");
    rename("taken_away", "status_list_entries").await;
    assert_eq!(entries(&world).await, 2);

    // Of those who race with one refresh token all get the one answer, with its one place.
    let answers = join_all((0..20).map(|_| app.refreshes(refresh_token))).await;
    let different: HashSet<&str> = answers.iter().map(|it| it.member("access_token")).collect();
    assert_eq!(different.len(), 1);
    assert_eq!(entries(&world).await, 3);
    assert_eq!(statuses(&world.server, &[answers[0].member("access_token")]).await, [0]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_each_winner_has_its_place_and_no_loser_has_one(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const GRANTS: usize = 10;
    let Some((world, _)) = with_lists(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let mut codes = Vec::new();
    while codes.len() < GRANTS {
        codes.push(world.owner.approves_again(&app, "read:tenants").await);
    }
    let tokens = join_all(codes.iter().map(|code| app.redeems(code))).await;
    assert_eq!(entries(&world).await, 10);
    // Each comes three times.
    let again = tokens.iter().flat_map(|it| [it, it, it]);
    let refreshed = join_all(again.map(|it| app.refreshes(it.member("refresh_token")))).await;
    let access = |answers: &[Answer]| -> Vec<String> {
        let each = answers.iter().map(|it| it.member("access_token").to_owned());
        each.collect::<HashSet<_>>().into_iter().collect()
    };
    let all = [access(&tokens), access(&refreshed)].concat();
    assert_eq!((all.len(), entries(&world).await), (2 * GRANTS, 20));
    assert_eq!(all.iter().map(|it| place(it)).collect::<HashSet<_>>().len(), 2 * GRANTS);

    // Codes that come twice: whoever lost ends the grant, whose one token the list says is dead.
    codes.clear();
    while codes.len() < GRANTS {
        codes.push(world.owner.approves_again(&app, "read:tenants").await);
    }
    let twice = codes.iter().chain(&codes).map(|code| app.redeems(code));
    let mut answers = join_all(twice).await;
    answers.retain(|it| it.status == StatusCode::OK);
    assert_eq!((answers.len(), entries(&world).await), (GRANTS, 30));
    world.server.passes(PAUSE);
    let dead: Vec<&str> = answers.iter().map(|it| it.member("access_token")).collect();
    assert_eq!(statuses(&world.server, &dead).await, [1; GRANTS]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_swept(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, _)) = with_lists(database).await else { return };
    let app = world.confidential_app().await;
    let server = &world.server;
    let old = token_of(&app).await;
    server.passes(Duration::from_secs(600));
    let young = token_of(&app).await;
    assert_eq!(place(&old).0, place(&young).0, "one list takes many");
    // An API whose clock is behind still takes the old one, so it is still told of.
    server.passes(Duration::from_secs(299));
    assert_eq!(app.revokes(&young).await.status, StatusCode::OK);
    janitor::sweep(&server.app).await;
    assert_eq!(entries(&world).await, 2);
    server.passes(Duration::from_secs(2));
    janitor::sweep(&server.app).await;
    assert_eq!(entries(&world).await, 1);
    assert_eq!(statuses(server, &[&young]).await, [1]);

    // A day later another list is begun; two days later the first is gone.
    server.passes(DAY);
    let next = token_of(&app).await;
    assert_ne!(place(&next).0, place(&young).0);
    server.passes(DAY);
    janitor::sweep(&server.app).await;
    let left = status_list::Entity::find().all(server.app.db.reader()).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(entries(&world).await, 0);
    assert_eq!(asks(server, &place(&young).0).await.status, StatusCode::NOT_FOUND);
    assert_eq!(asks(server, &place(&next).0).await.status, StatusCode::OK);
}

/// What reads the list here shares the library that wrote it; this one doesn't.
#[tokio::test(flavor = "multi_thread")]
async fn another_zlib_reads_the_list() {
    let Some((world, _)) = with_lists(Database::Sqlite).await else { return };
    let app = world.confidential_app().await;
    let tokens = join_all((0..40).map(|_| token_of(&app))).await;
    let mut revoked = Vec::new();
    for token in &tokens[..20] {
        assert_eq!(app.revokes(token).await.status, StatusCode::OK);
        revoked.push(place(token).1);
    }
    revoked.sort_unstable();
    let list = asks(&world.server, &place(&tokens[0]).0).await;
    let lst = verified(&world.server, &list).await["status_list"]["lst"].clone();
    let script = "import base64, json, sys, zlib\n\
        lst = sys.argv[1]\n\
        bits = zlib.decompress(base64.urlsafe_b64decode(lst + '=' * (-len(lst) % 4)))\n\
        print(json.dumps([i for i in range(len(bits) * 8) if bits[i // 8] >> (i % 8) & 1]))";
    let mut python = std::process::Command::new("python3");
    let Ok(output) = python.args(["-c", script, lst.as_str().unwrap()]).output() else {
        crate::harness::services::missing("Python", "install Debian's python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Vec<usize> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read, revoked);
}

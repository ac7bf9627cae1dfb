//! Signing keys: published before they sign, and for as long as a token of theirs may live.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::audit::By;
use portcullis::janitor;
use portcullis::signing::{self, Algorithm};
use portcullis_verifier::{RequestContext, Verifier};
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::{http, introspect, jose_header};
use crate::harness::process::operator_runs;
use crate::harness::world::AUDIENCE;
use crate::harness::{Answer, Application, Database, Server, World, eventually};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn jwks(server: &Server) -> Answer {
    Answer::of(http().get(server.url("/oauth/jwks")).send().await.unwrap()).await
}

/// The ids of the published keys.
async fn kids(server: &Server) -> HashSet<String> {
    let jwks = jwks(server).await;
    let keys = jwks.json["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// A fresh access token and the id of the key that signed it.
async fn signed(app: &Application) -> (String, String) {
    let tokens = app.acts_for_itself("read:tenants").await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let token = tokens.member("access_token");
    (token.to_owned(), jose_header(token)["kid"].as_str().unwrap().to_owned())
}

async fn rotates(server: &Server) {
    let (app, by) = (&server.app, By::operator());
    let now = app.clock.now();
    signing::rotate(&app.db, now, &by, &app.signing_seal, Algorithm::Es256).await.unwrap();
}

async fn lives(server: &Server, credential: &str, token: &str) -> bool {
    introspect(server, credential, token).await.json["active"].as_bool().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_published_before_it_signs_and_after_it_has_signed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, credential) = (&world.server, world.credential.as_str());
    let second = server.beside().await;
    let app = world.confidential_app().await;
    let verifier = Verifier::discover(&server.issuer).audience(AUDIENCE).credential(credential);
    let verifier = verifier.build().await.unwrap();
    let accepts = async |token: &str| {
        let header = format!("Bearer {token}");
        verifier.verify(Some(&header), &RequestContext::default()).await.is_ok()
    };

    let before = kids(server).await;
    let (old_token, old_kid) = signed(&app).await;
    assert!(before.len() == 2 && before.contains(&old_kid), "one signs and one is upcoming");
    let upcoming = before.iter().find(|kid| **kid != old_kid).unwrap();

    rotates(server).await;
    eventually(async || signed(&app).await.1 == *upcoming).await;
    let (new_token, _) = signed(&app).await;
    let after = kids(server).await;
    assert!(after.len() == 3 && after.is_superset(&before), "{after:?}");
    eventually(async || kids(&second).await == after).await;
    for token in [&old_token, &new_token] {
        assert!(accepts(token).await);
        assert!(lives(server, credential, token).await);
        assert!(lives(&second, credential, token).await);
    }

    // A day at most is what a token lives; after it the old key leaves, and only then.
    server.passes(DAY);
    janitor::sweep(&server.app).await;
    server.app.revocations.catch_up().await;
    assert_eq!(kids(server).await, after);
    server.passes(Duration::from_millis(1));
    janitor::sweep(&server.app).await;
    for server in [server, &second] {
        eventually(async || !kids(server).await.contains(&old_kid)).await;
        assert_eq!(kids(server).await.len(), 2);
    }
    assert_eq!(signed(&app).await.1, *upcoming);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_on_the_command_line_reaches_a_running_server(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let (token, old) = signed(&app).await;
    operator_runs(&world.server, &["signing-keys", "rotate"]);
    eventually(async || signed(&app).await.1 != old).await;
    assert!(lives(&world.server, &world.credential, &token).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn rotations_at_once_leave_one_key_that_signs_and_one_to_come(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let server = &world.server;
    futures::future::join_all((0..4).map(|_| rotates(server))).await;
    let keys = signing::list(server.app.db.reader()).await.unwrap();
    let of = |state: &str| keys.iter().filter(|key| key.state == state).count();
    assert_eq!((of("upcoming"), of("active"), of("retiring")), (1, 1, 4));
    eventually(async || kids(server).await.len() == 6).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_can_be_cached(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let server = &world.server;
    let first = jwks(server).await;
    assert_eq!(first.header("content-type"), "application/jwk-set+json");
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    for key in first.json["keys"].as_array().unwrap() {
        assert_eq!((&key["use"], &key["alg"]), (&"sig".into(), &"ES256".into()));
        assert!(key.get("d").is_none(), "a private key is out");
    }
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    let asks = async |known: &str| {
        let request = http().get(server.url("/oauth/jwks")).header("if-none-match", known);
        Answer::of(request.send().await.unwrap()).await
    };
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}")] {
        let answer = asks(&known).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!((answer.text.as_str(), answer.header("etag")), ("", etag.as_str()));
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
    }
    assert_eq!(asks("\"x\"").await.text, first.text);
    let head = http().head(server.url("/oauth/jwks")).send().await.unwrap();
    let length = head.headers()["content-length"].to_str().unwrap().to_owned();
    let head = Answer::of(head).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!((head.header("etag"), length), (etag.as_str(), first.text.len().to_string()));
    // What is the same has the same tag, in every process.
    assert_eq!(jwks(server).await.header("etag"), etag);
    assert_eq!(jwks(&server.beside().await).await.header("etag"), etag);
    rotates(server).await;
    eventually(async || asks(&etag).await.status == StatusCode::OK).await;
    assert_ne!(jwks(server).await.header("etag"), etag);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_gets_tokens_of_the_algorithm_that_it_asks_for(
    #[values(Algorithm::EdDsa, Algorithm::Rs256)] algorithm: Algorithm,
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (server, audience) = (&world.server, "https://other.example.com");
    let (state, by) = (&server.app, By::operator());
    let now = state.clock.now();
    signing::ensure_active(&state.db, now, &by, &state.signing_seal, algorithm).await.unwrap();
    let (api, credential) = world.second_api(audience, algorithm).await;
    eventually(async || kids(server).await.len() == 4).await;
    let (app, usual) = (world.app_for(&api).await, world.confidential_app().await);

    let (token, kid) = signed(&app).await;
    assert_eq!(jose_header(&token)["alg"], algorithm.as_str());
    assert!(kids(server).await.contains(&kid));
    assert!(lives(server, &credential, &token).await);
    assert!(!lives(server, &world.credential, &token).await, "it is for another API");
    let verifier = Verifier::discover(&server.issuer).audience(audience).credential(credential);
    let verifier = verifier.build().await.unwrap();
    let header = format!("Bearer {token}");
    let caller = verifier.verify(Some(&header), &RequestContext::default()).await.unwrap();
    assert!(caller.require("read:tenants").is_ok());
    assert_eq!(jose_header(&signed(&usual).await.0)["alg"], "ES256", "the others are as before");

    signing::rotate(&state.db, now, &by, &state.signing_seal, algorithm).await.unwrap();
    eventually(async || signed(&app).await.1 != kid).await;
    assert!(verifier.verify(Some(&header), &RequestContext::default()).await.is_ok());
}

//! `POST /oauth/revoke` (RFC 7009): what goes, what stays, and who may.

use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::{http, introspect};
use crate::harness::{Answer, Application, Database, World};

const REVOKE: &str = "/oauth/revoke";

async fn lives(world: &World, token: &str) -> bool {
    introspect(&world.server, &world.credential, token).await.json["active"].as_bool().unwrap()
}

async fn tokens(world: &World, app: &Application) -> Answer {
    let code = world.owner.approves(app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    tokens
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_takes_its_grant_along(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let (first, other) = (tokens(&world, &app).await, tokens(&world, &app).await);
    let second = app.refreshes(first.member("refresh_token")).await;
    let answer = app.revokes(second.member("refresh_token")).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!lives(&world, first.member("access_token")).await);
    assert!(!lives(&world, second.member("access_token")).await);
    for token in [&first, &second] {
        let refused = app.refreshes(token.member("refresh_token")).await;
        assert_eq!(refused.refusal(), "400 invalid_grant");
    }
    assert!(lives(&world, other.member("access_token")).await, "that is another grant");
    assert_eq!(app.revokes(second.member("refresh_token")).await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_spent_refresh_token_takes_its_grant_along_too(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.public_app().await;
    let first = tokens(&world, &app).await;
    let second = app.refreshes(first.member("refresh_token")).await;
    assert_eq!(app.revokes(first.member("refresh_token")).await.status, StatusCode::OK);
    assert!(!lives(&world, second.member("access_token")).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_goes_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let first = tokens(&world, &app).await;
    let second = app.refreshes(first.member("refresh_token")).await;
    for _ in 0..2 {
        assert_eq!(app.revokes(first.member("access_token")).await.status, StatusCode::OK);
    }
    assert!(!lives(&world, first.member("access_token")).await);
    assert!(lives(&world, second.member("access_token")).await, "the sibling lives");
    let third = app.refreshes(second.member("refresh_token")).await;
    assert_eq!(third.status, StatusCode::OK, "{third:?}");

    let own = app.acts_for_itself("read:tenants").await;
    assert_eq!(app.revokes(own.member("access_token")).await.status, StatusCode::OK);
    assert!(!lives(&world, own.member("access_token")).await);
    assert_eq!(app.acts_for_itself("read:tenants").await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_is_only_a_hint(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    for (name, hint) in [
        ("access_token", "refresh_token"),
        ("access_token", "access_token"),
        ("refresh_token", "access_token"),
        ("refresh_token", "api_key"),
    ] {
        let tokens = tokens(&world, &app).await;
        let form = [("token", tokens.member(name)), ("token_type_hint", hint)];
        assert_eq!(app.posts(REVOKE, &form).await.status, StatusCode::OK);
        assert!(!lives(&world, tokens.member("access_token")).await, "{name} as {hint}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_or_anothers_is_left_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, stranger) = (world.confidential_app().await, world.public_app().await);
    let tokens = tokens(&world, &app).await;
    let key = world.api_key(&["read:tenants"]).await;
    let (access, refresh) = (tokens.member("access_token"), tokens.member("refresh_token"));
    let cut = &access[..access.len() - 2];
    for token in [access, refresh, key.secret.as_str(), cut, "garbage", "a.b.c", "é\u{0}"] {
        let answer = stranger.revokes(token).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""), "{token}");
    }
    assert_eq!(app.revokes(cut).await.status, StatusCode::OK);
    assert!(lives(&world, access).await && lives(&world, &key.secret).await);
    assert_eq!(app.refreshes(refresh).await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_the_client_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let tokens = tokens(&world, &app).await;
    let token = ("token", tokens.member("access_token"));
    let secret = app.secret.as_deref().unwrap();
    for form in [
        vec![token],
        vec![token, ("client_id", &app.id)],
        vec![token, ("client_id", &app.id), ("client_secret", "wrong")],
    ] {
        let refused = app.posts_as_it_is(REVOKE, &form).await;
        assert_eq!(refused.refusal(), "401 invalid_client", "{form:?}");
    }
    let refused = app.posts_with_basic(REVOKE, (&app.id, "wrong"), &[token]).await;
    assert_eq!(refused.refusal(), "401 invalid_client");
    assert!(refused.header("www-authenticate").starts_with("Basic "));
    for form in [vec![], vec![("token", "")], vec![token, token]] {
        assert_eq!(app.posts(REVOKE, &form).await.refusal(), "400 invalid_request", "{form:?}");
    }
    let json = http().post(world.server.url(REVOKE)).header("content-type", "application/json");
    let refused = Answer::of(json.body("{}").send().await.unwrap()).await;
    assert_eq!(refused.refusal(), "400 invalid_request");
    let large = "x".repeat(64 * 1024);
    let refused = app.posts(REVOKE, &[("token", &large)]).await;
    assert_eq!(refused.refusal(), "413 invalid_request");
    assert!(lives(&world, token.1).await);
    let answer = app.posts_with_basic(REVOKE, (&app.id, secret), &[token]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!lives(&world, token.1).await);
}

//! What must happen once, asked for many times at once; and what a replay costs.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use portcullis::clients::GrantType;
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::introspect;
use crate::harness::{Answer, Application, Database, World};

const AT_ONCE: usize = 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether an access token is alive, as the API is told.
async fn lives(world: &World, tokens: &Answer) -> bool {
    let told = introspect(&world.server, &world.credential, tokens.member("access_token")).await;
    told.json["active"].as_bool().unwrap()
}

/// A fresh pair of tokens for the owner, who is logged in.
async fn tokens(world: &World, app: &Application) -> Answer {
    let code = world.owner.approves_again(app, "read:tenants write:tenants").await;
    let tokens = app.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    tokens
}

async fn refreshes_with_scope(app: &Application, token: &str, scope: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
    app.posts("/oauth/token", &form).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_redemptions_of_one_code_one_wins_and_the_grant_ends(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    for _ in 0..3 {
        let code = world.owner.approves_again(&app, "read:tenants").await;
        let answers = join_all((0..AT_ONCE).map(|_| app.redeems(&code))).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(won.len(), 1, "{answers:?}");
        for refused in lost {
            assert_eq!(refused.refusal(), "400 invalid_grant");
        }
        assert!(!lives(&world, won[0]).await, "the grant has ended");
        let refused = app.refreshes(won[0].member("refresh_token")).await;
        assert_eq!(refused.refusal(), "400 invalid_grant");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_redemptions_at_two_servers_are_no_different(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let second = world.server.beside().await;
    let there = app.moved_to(&second);
    let code = world.owner.approves(&app, "read:tenants").await;
    let answers = join_all(
        (0..AT_ONCE).map(|at| if at % 2 == 0 { app.redeems(&code) } else { there.redeems(&code) }),
    )
    .await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::OK).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let refused = there.refreshes(won[0].member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");

    let code = world.owner.approves_again(&app, "read:tenants").await;
    let first = app.redeems(&code).await;
    let token = first.member("refresh_token");
    let answers = join_all(
        (0..AT_ONCE)
            .map(|at| if at % 2 == 0 { app.refreshes(token) } else { there.refreshes(token) }),
    )
    .await;
    let bodies: HashSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(answers[0].status, StatusCode::OK, "{answers:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_refreshes_with_one_token_get_the_very_same_pair(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let mut latest = tokens(&world, &app).await;
    for round in 0..3 {
        let token = latest.member("refresh_token");
        let answers = join_all((0..AT_ONCE).map(|_| app.refreshes(token))).await;
        let bodies: HashSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(bodies.len(), 1, "round {round}: {bodies:?}");
        assert_eq!(answers[0].status, StatusCode::OK, "{answers:?}");
        // Until the window closes, and not a moment longer: 2 seconds.
        world.server.passes(Duration::from_secs(2));
        assert_eq!(app.refreshes(token).await.text, answers[0].text);
        latest = answers.into_iter().next().unwrap();
    }
    assert!(lives(&world, &latest).await);
    let next = app.refreshes(latest.member("refresh_token")).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_the_window_ends_the_grant(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let (first, sibling) = (tokens(&world, &app).await, tokens(&world, &app).await);
    let second = app.refreshes(first.member("refresh_token")).await;
    world.server.passes(Duration::from_millis(2001));
    let replays =
        join_all((0..AT_ONCE).map(|_| app.refreshes(first.member("refresh_token")))).await;
    for replay in &replays {
        assert_eq!(replay.refusal(), "400 invalid_grant");
    }
    assert!(!lives(&world, &first).await && !lives(&world, &second).await);
    let refused = app.refreshes(second.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
    assert!(lives(&world, &sibling).await, "the user's other grant has nothing to do with it");
    assert_eq!(app.refreshes(sibling.member("refresh_token")).await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_the_successor_was_used_ends_the_grant_inside_the_window_too(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let first = tokens(&world, &app).await;
    let second = app.refreshes(first.member("refresh_token")).await;
    let third = app.refreshes(second.member("refresh_token")).await;
    assert_eq!(third.status, StatusCode::OK, "{third:?}");
    let replay = app.refreshes(first.member("refresh_token")).await;
    assert_eq!(replay.refusal(), "400 invalid_grant");
    for dead in [&first, &second, &third] {
        assert!(!lives(&world, dead).await);
        assert_eq!(
            app.refreshes(dead.member("refresh_token")).await.refusal(),
            "400 invalid_grant"
        );
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_asks_for_something_else_is_refused_and_ends_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let first = tokens(&world, &app).await;
    let token = first.member("refresh_token");
    let narrowed = refreshes_with_scope(&app, token, "read:tenants").await;
    assert_eq!(narrowed.status, StatusCode::OK, "{narrowed:?}");
    assert_eq!(app.refreshes(token).await.refusal(), "400 invalid_grant");
    let refused = refreshes_with_scope(&app, token, "write:tenants").await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
    let again = refreshes_with_scope(&app, token, "read:tenants").await;
    assert_eq!(again.text, narrowed.text);
    assert!(lives(&world, &narrowed).await);
    let next = app.refreshes(narrowed.member("refresh_token")).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_in_other_hands_or_damaged_does_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, thief) = (world.confidential_app().await, world.confidential_app().await);
    let public = world.public_app().await;
    world.owner.logs_in().await;
    let first = tokens(&world, &app).await;
    let token = first.member("refresh_token");
    let tampered = |at: usize| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        String::from_utf8(bytes).unwrap()
    };
    let damaged = [8, token.len() / 2, token.len() - 1].map(tampered).into_iter().chain([
        "pc_rt_".to_owned(),
        "garbage".to_owned(),
        format!("{token}0"),
        token[..token.len() - 1].to_owned(),
        format!(" {token}"),
        "é\u{0}".to_owned(),
        "x".repeat(10_000),
    ]);
    for text in damaged {
        assert_eq!(app.refreshes(&text).await.refusal(), "400 invalid_grant", "{text}");
    }
    for other in [&thief, &public] {
        assert_eq!(other.refreshes(token).await.refusal(), "400 invalid_grant");
    }
    let second = app.refreshes(token).await;
    assert_eq!(second.status, StatusCode::OK, "{second:?}");
    // Nor does another's replay of a spent one, inside or outside the window.
    assert_eq!(thief.refreshes(token).await.refusal(), "400 invalid_grant");
    world.server.passes(Duration::from_secs(3));
    assert_eq!(thief.refreshes(token).await.refusal(), "400 invalid_grant");
    assert!(lives(&world, &second).await);
    assert_eq!(app.refreshes(second.member("refresh_token")).await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_dies_unused_after_a_month_and_in_any_case_after_a_year(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let unused = tokens(&world, &app).await;
    let mut used = tokens(&world, &app).await;
    world.server.passes(30 * DAY - Duration::from_millis(1));
    used = app.refreshes(used.member("refresh_token")).await;
    assert_eq!(used.status, StatusCode::OK, "{used:?}");
    world.server.passes(Duration::from_millis(1));
    let refused = app.refreshes(unused.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");

    // Used every month it goes on, until a year after the user agreed: 12 × 30 days are over, five are left.
    for month in 2..=12 {
        world.server.passes(30 * DAY - Duration::from_millis(2));
        used = app.refreshes(used.member("refresh_token")).await;
        assert_eq!(used.status, StatusCode::OK, "month {month}: {used:?}");
    }
    world.server.passes(5 * DAY + Duration::from_millis(21));
    used = app.refreshes(used.member("refresh_token")).await;
    assert_eq!(used.status, StatusCode::OK, "{used:?}");
    world.server.passes(Duration::from_millis(1));
    let refused = app.refreshes(used.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_refresh_tokens_loses_its_grant_to_a_replayed_code_all_the_same(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.registers(|new| new.grant_types = vec![GrantType::AuthorizationCode]).await;
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    assert!(lives(&world, &tokens).await);
    // Long after the code has expired: whoever comes with it has it from somewhere.
    world.server.passes(Duration::from_secs(300));
    assert_eq!(app.redeems(&code).await.refusal(), "400 invalid_grant");
    assert!(!lives(&world, &tokens).await);
}

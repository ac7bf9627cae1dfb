use std::time::Duration;

use axum::http::StatusCode;
use portcullis_verifier::Rejection;
use portcullis_verifier::rejection::Unavailability;

use super::authorization_server::AuthorizationServer;
use super::{builder, check, until, verifier};

#[tokio::test]
async fn a_lost_connection_is_resumed_where_it_broke() {
    let server = AuthorizationServer::start().await;
    server.revokes("tok_a");
    let verifier = verifier(&server).await;
    let seq = server.revokes("tok_b");
    until(async || verifier.revocations().contains("tok_b")).await;

    server.refuses_listeners(Some(StatusCode::SERVICE_UNAVAILABLE));
    server.drops_its_listeners();
    until(async || server.last_event_ids().len() > 1).await;
    server.revokes("tok_c");
    server.refuses_listeners(None);
    until(async || verifier.revocations().contains("tok_c")).await;

    let ids = server.last_event_ids();
    assert_eq!(ids[0], None);
    assert!(ids[1..].iter().all(|id| *id == Some(seq)), "{ids:?}");
    for token in ["tok_a", "tok_b"] {
        assert!(verifier.revocations().contains(token), "{token}");
    }
}

#[tokio::test]
async fn when_the_log_was_trimmed_a_fresh_snapshot_is_taken() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    server.refuses_listeners(Some(StatusCode::SERVICE_UNAVAILABLE));
    server.drops_its_listeners();
    until(async || server.listeners() == 0 && server.last_event_ids().len() > 1).await;
    server.revokes("tok_a");
    let seq = server.revokes("tok_b");
    server.trims_its_log();
    server.refuses_listeners(None);
    until(async || verifier.revocations().contains("tok_b")).await;
    assert!(verifier.revocations().contains("tok_a"));

    // And the next connection goes on from there.
    let before = server.last_event_ids().len();
    server.drops_its_listeners();
    until(async || server.last_event_ids().len() > before).await;
    assert_eq!(server.last_event_ids().last(), Some(&Some(seq)));
}

#[tokio::test]
async fn everything_is_refused_while_the_feed_is_silent() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).max_staleness(Duration::from_millis(300));
    let verifier = settings.build().await.unwrap();
    let token = server.issues(&server.claims());
    let key = server.makes_key("key_1", serde_json::json!({}));
    until(async || check(&verifier, &token).await.is_ok()).await;
    until(async || check(&verifier, &key).await.is_ok()).await;

    server.beats(false);
    until(async || !verifier.is_available()).await;
    for credential in [token.as_str(), key.as_str(), "garbage"] {
        let answer = check(&verifier, credential).await;
        assert_eq!(answer, Err(Rejection::Unavailable(Unavailability::RevocationFeed)));
    }
    let nothing = verifier.verify(None, &Default::default()).await;
    assert_eq!(nothing, Err(Rejection::MissingCredential));

    server.beats(true);
    until(async || check(&verifier, &token).await.is_ok()).await;
    until(async || check(&verifier, &key).await.is_ok()).await;
}

#[tokio::test]
async fn nobody_listens_once_the_last_clone_is_gone() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let clone = verifier.clone();
    drop(verifier);
    let token = server.issues(&server.claims());
    assert!(check(&clone, &token).await.is_ok());
    assert_eq!(server.listeners(), 1);
    drop(clone);
    until(async || server.listeners() == 0).await;
}

#[tokio::test]
async fn a_snapshot_that_breaks_off_is_taken_again_as_a_whole() {
    let server = AuthorizationServer::start().await;
    for token in 0..5 {
        server.revokes(&format!("tok_{token}"));
    }
    server.breaks_off_a_snapshot_after(2);
    server.breaks_off_a_snapshot_after(4);
    let verifier = verifier(&server).await;
    assert_eq!(server.last_event_ids(), [None; 3]);
    assert_eq!(verifier.health().feed_interruptions, 2);
    assert!((0..5).all(|token| verifier.revocations().contains(&format!("tok_{token}"))));
}

#[tokio::test]
async fn what_was_missed_is_asked_for_again_when_it_breaks_off() {
    let server = AuthorizationServer::start().await;
    let seq = server.revokes("tok_0");
    let verifier = verifier(&server).await;
    server.refuses_listeners(Some(StatusCode::SERVICE_UNAVAILABLE));
    server.drops_its_listeners();
    until(async || server.listeners() == 0 && server.last_event_ids().len() > 1).await;
    for token in 1..5 {
        server.revokes(&format!("tok_{token}"));
    }
    server.breaks_off_a_snapshot_after(2);
    server.refuses_listeners(None);
    until(async || verifier.revocations().contains("tok_4")).await;
    assert!((0..5).all(|token| verifier.revocations().contains(&format!("tok_{token}"))));
    let ids = server.last_event_ids();
    assert!(ids[1..].iter().all(|id| *id == Some(seq)), "{ids:?}");
}

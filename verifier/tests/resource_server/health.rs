use std::time::Duration;

use portcullis_verifier::client::FeedState;
use serde_json::json;

use super::authorization_server::AuthorizationServer;
use super::{check, later, until, verifier};

#[tokio::test]
async fn health_tells_what_is_known_and_what_was_decided() {
    let server = AuthorizationServer::start().await;
    server.revokes("tok_2");
    let verifier = verifier(&server).await;
    let (token, key) = (server.issues(&server.claims()), server.makes_key("key_1", json!({})));
    for _ in 0..3 {
        assert!(check(&verifier, &token).await.is_ok());
        assert!(check(&verifier, &key).await.is_ok());
    }
    let context = Default::default();
    assert!(verifier.verify(None, &context).await.is_err());
    assert!(verifier.verify(Some("Bearer "), &context).await.is_err());
    assert!(verifier.verify(Some("Bearer garbage"), &context).await.is_err());
    server.answers_introspections(false);
    assert!(check(&verifier, &server.makes_key("key_2", json!({}))).await.is_err());

    let health = verifier.health();
    assert_eq!((health.is_available, health.feed), (true, FeedState::Live));
    assert_eq!((health.last_seq, health.revocations), (1, 1));
    assert_eq!((health.remembered_tokens, health.remembered_api_keys), (1, 1));
    assert!(health.signing_keys == 1 && health.signing_keys_age < 60);
    assert_eq!((health.introspections, health.introspections_unanswered), (2, 1));
    assert_eq!(health.feed_interruptions, 0);
    let shown = serde_json::to_value(&health).unwrap();
    assert_eq!(shown["feed"], "live");
    assert_eq!(
        shown["checks"],
        json!({
            "accepted_from_memory": 4, "accepted_anew": 2, "refused_missing": 1, "refused_malformed": 1,
            "refused_invalid": 1, "refused_unavailable": 1,
        })
    );

    server.is_away(true);
    until(async || verifier.health().feed == FeedState::Interrupted).await;
    assert!(verifier.health().feed_interruptions > 0);
    later(Duration::from_secs(400)).await;
    let health = verifier.health();
    assert!(!health.is_available && health.seconds_since_heard >= Some(400));
    assert!(health.signing_keys_age >= 400);
    assert!(check(&verifier, &token).await.is_err());
    assert_eq!(verifier.health().checks.refused_unavailable, 2);
}

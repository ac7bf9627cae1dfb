use std::time::Duration;

use axum::http::StatusCode;
use portcullis_verifier::{BuildError, Verifier};
use serde_json::{Value, json};

use super::authorization_server::{AuthorizationServer, CREDENTIAL};
use super::{AUDIENCE, builder, check, later, until, verifier};

#[tokio::test]
async fn a_verifier_is_set_up_from_the_issuer_alone() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    assert!(verifier.is_available());
    assert!(check(&verifier, &server.issues(&server.claims())).await.is_ok());
}

#[tokio::test]
async fn an_issuer_may_have_a_path() {
    let server = AuthorizationServer::start_at("/tenants/one").await;
    let verifier = verifier(&server).await;
    assert!(check(&verifier, &server.issues(&server.claims())).await.is_ok());
}

#[tokio::test]
async fn a_server_that_calls_itself_something_else_is_refused() {
    let server = AuthorizationServer::start().await;
    server.changes_metadata("issuer", json!(format!("{}/", server.issuer())));
    let error = builder(&server).build().await.unwrap_err();
    assert!(matches!(error, BuildError::IssuerMismatch { .. }), "{error}");
}

#[tokio::test]
async fn what_the_metadata_lacks_is_named() {
    let server = AuthorizationServer::start().await;
    server.changes_metadata("portcullis_revocations_endpoint", Value::Null);
    let error = builder(&server).build().await.unwrap_err();
    assert!(error.to_string().contains("portcullis_revocations_endpoint"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed_and_documents_are_bounded() {
    let server = AuthorizationServer::start().await;
    server.changes_metadata("padding", json!("x".repeat(64 * 1024)));
    let error = builder(&server).build().await.unwrap_err();
    assert!(matches!(error, BuildError::Metadata { .. }), "{error}");
    server.changes_metadata("redirect", json!(format!("{}/jwks", server.issuer())));
    let error = builder(&server).build().await.unwrap_err();
    assert!(matches!(error, BuildError::Metadata { .. }), "{error}");
    assert_eq!(server.jwks_asked(), 0);
}

#[tokio::test]
async fn a_wrong_credential_is_reported_at_once() {
    let server = AuthorizationServer::start().await;
    let error = builder(&server).credential("pc_cs_wrong").build().await.unwrap_err();
    assert!(matches!(error, BuildError::CredentialRefused { status: 401, .. }), "{error}");
    assert!(!error.to_string().contains("pc_cs_wrong"));
}

#[tokio::test]
async fn a_feed_that_is_not_ready_in_time_is_reported_with_the_reason() {
    let server = AuthorizationServer::start().await;
    server.refuses_listeners(Some(StatusCode::BAD_GATEWAY));
    let build = builder(&server).ready_within(Duration::from_millis(1500)).build();
    let error = build.await.unwrap_err();
    assert!(matches!(error, BuildError::FeedNotReady { .. }), "{error}");
    assert!(error.to_string().contains("502"), "{error}");
}

#[tokio::test]
async fn a_snapshot_is_in_when_the_verifier_is_ready() {
    let server = AuthorizationServer::start().await;
    server.revokes("tok_1");
    let verifier = verifier(&server).await;
    assert!(verifier.revocations().contains("tok_1"));
}

#[tokio::test]
async fn settings_are_checked_before_anything_is_sent() {
    let begin = || Verifier::discover("https://auth.example.com");
    let error = begin().credential(CREDENTIAL).build().await.unwrap_err();
    assert!(matches!(error, BuildError::MissingAudience));
    let error = begin().audience(AUDIENCE).build().await.unwrap_err();
    assert!(matches!(error, BuildError::MissingCredential));
    for credential in ["", "secret\n", "two words"] {
        let error = begin().audience(AUDIENCE).credential(credential).build().await.unwrap_err();
        assert!(matches!(error, BuildError::InvalidCredential), "{credential:?}");
    }
    let insecure = Verifier::discover("http://auth.example.com").audience(AUDIENCE);
    let error = insecure.credential(CREDENTIAL).build().await.unwrap_err();
    assert!(matches!(error, BuildError::InvalidIssuer { .. }));
}

#[tokio::test]
async fn signing_keys_are_fetched_again_before_they_are_out_of_date() {
    let server = AuthorizationServer::start().await;
    server.lets_its_keys_be_kept("public, max-age=60");
    let _verifier = verifier(&server).await;
    for asked in 1..4 {
        assert_eq!(server.jwks_asked(), asked);
        later(Duration::from_secs(29)).await;
        // Whatever the server allows, they aren't fetched all the time.
        tokio::task::yield_now().await;
        assert_eq!(server.jwks_asked(), asked);
        later(Duration::from_secs(29)).await;
        until(async || server.jwks_asked() > asked).await;
    }
}

#[tokio::test]
async fn signing_keys_that_may_be_kept_are_not_fetched_again() {
    let server = AuthorizationServer::start().await;
    server.lets_its_keys_be_kept("max-age=3600");
    let verifier = verifier(&server).await;
    // The feed notices the time that went by, and is back before this is looked at.
    later(Duration::from_secs(30 * 60)).await;
    until(async || server.last_event_ids().len() > 1 && verifier.is_available()).await;
    assert_eq!(server.jwks_asked(), 1);
    later(Duration::from_secs(30 * 60)).await;
    until(async || server.jwks_asked() == 2).await;
}

#[tokio::test]
async fn signing_keys_that_cannot_be_fetched_stay_and_are_asked_for_again() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let token = server.issues(&server.claims());
    server.serves_its_keys(false);
    later(Duration::from_secs(300)).await;
    until(async || server.jwks_asked() == 2).await;
    until(async || check(&verifier, &token).await.is_ok()).await;
    server.serves_its_keys(true);
    later(Duration::from_secs(2)).await;
    until(async || server.jwks_asked() == 3 && verifier.health().signing_keys_age < 60).await;
}

use std::time::Duration;

use axum::http::StatusCode;
use portcullis_verifier::{BuildError, Verifier};
use serde_json::{Value, json};

use super::authorization_server::{AuthorizationServer, CREDENTIAL};
use super::{AUDIENCE, builder, check, verifier};

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
    let build = builder(&server).ready_within(Duration::from_millis(300)).build();
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

//! A resource server's view: the verifier against a small authorization server that does what it is told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod api_keys;
mod authorization_server;
mod axum;
mod discovery;
mod examples;
mod feed;
mod health;
mod metrics;
mod tokens;
mod tower;
mod when_stale;

use std::time::Duration;

use portcullis_verifier::{Principal, Rejection, RequestContext, Verifier, VerifierBuilder};

use authorization_server::{AuthorizationServer, CREDENTIAL};

const AUDIENCE: &str = "https://api.example.com";

fn builder(server: &AuthorizationServer) -> VerifierBuilder {
    Verifier::discover(server.issuer()).audience(AUDIENCE).credential(CREDENTIAL)
}

async fn verifier(server: &AuthorizationServer) -> Verifier {
    builder(server).build().await.unwrap()
}

async fn check(verifier: &Verifier, credential: &str) -> Result<Principal, Rejection> {
    let header = format!("Bearer {credential}");
    verifier.verify(Some(&header), &RequestContext::default()).await
}

/// Moves the clock on, for the verifier and the server alike.
async fn later(duration: Duration) {
    // What has just been spawned must be waiting already, or it would begin to only then.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Waits until something can be observed; fails if that takes more than ten seconds.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it should have happened");
}

//! A resource server's view: the verifier against a small authorization server that does what it is told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod api_keys;
mod authorization_server;
mod axum;
mod discovery;
mod examples;
mod feed;
mod tokens;
mod tower;

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

/// Waits until something can be observed; fails if that takes more than ten seconds.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it should have happened");
}

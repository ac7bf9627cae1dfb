//! How the verifier is doing, for Prometheus: an API with `/metrics` beside what it guards.
//!
//! ```text
//! PORTCULLIS_CREDENTIAL=… cargo run --example metrics
//! curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8083/whoami
//! curl http://127.0.0.1:8083/metrics
//! ```
//!
//! The feature `metrics` writes to the facade of the `metrics` crate; any of its exporters will do. Settings:
//! `PORTCULLIS_ISSUER`, `PORTCULLIS_CREDENTIAL`, `METRICS_LISTEN`, `METRICS_AUDIENCE`.

use std::env;
use std::error::Error;
use std::net::SocketAddr;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis_verifier::axum::Verified;
use portcullis_verifier::{Health, Principal, Verifier};

async fn whoami(caller: Verified) -> String {
    let caller: &Principal = &caller;
    format!("{} of {:?}\n", caller.subject(), caller.organization())
}

async fn health(State(verifier): State<Verifier>) -> Json<Health> {
    Json(verifier.health())
}

fn api(verifier: Verifier, exporter: PrometheusHandle) -> Router {
    let metrics = move || std::future::ready(exporter.render());
    Router::new()
        .route("/whoami", get(whoami))
        // For whoever runs the API, and nobody else: in earnest these two are on a listener of their own.
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(verifier)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let issuer = setting("PORTCULLIS_ISSUER", "http://127.0.0.1:8080");
    let audience = setting("METRICS_AUDIENCE", "https://api.example.com");
    let listen = setting("METRICS_LISTEN", "127.0.0.1:8083");
    let credential =
        env::var("PORTCULLIS_CREDENTIAL").map_err(|_| "PORTCULLIS_CREDENTIAL is not set.")?;

    // Before there is a verifier, which publishes at once and then every ten seconds.
    let exporter = PrometheusBuilder::new().install_recorder()?;
    let verifier =
        Verifier::discover(&issuer).audience(&audience).credential(credential).build().await?;
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    println!("Metrics are on http://{}/metrics", listener.local_addr()?);
    let service = api(verifier, exporter).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

//! `GET /healthz` and `GET /readyz`, for supervisors and load balancers; `GET /metrics`, for Prometheus.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;

use crate::app::App;
use crate::signing::Algorithm;

/// `GET /healthz`: the process is alive.
pub async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: the database answers and there is a key to sign with.
pub async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    if let Err(error) = app.db.ping().await {
        tracing::error!(%error, "the database does not answer");
        return (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n");
    }
    match app.signer.has_active(Algorithm::Es256) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "there is no active signing key\n"),
    }
}

/// `GET /metrics`, on the listener of its own: OpenMetrics, which Prometheus reads.
pub async fn metrics(State(app): State<App>) -> Response {
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &app.metrics) {
        tracing::error!(%error, "the metrics can't be written");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

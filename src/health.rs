//! `GET /healthz` and `GET /readyz`, for supervisors and load balancers.

use axum::extract::State;
use axum::http::StatusCode;

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

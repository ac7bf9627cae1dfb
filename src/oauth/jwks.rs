//! `GET /oauth/jwks`: the public keys (RFC 7517), rendered once and cacheable.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::app::App;
use crate::http::document;

/// Long enough to spare us, far shorter than an upcoming key waits.
const CACHE: &str = "public, max-age=300";

/// `GET /oauth/jwks`
pub async fn get(State(app): State<App>, headers: HeaderMap) -> Response {
    document(&headers, app.signer.jwks(), "application/jwk-set+json", CACHE)
}

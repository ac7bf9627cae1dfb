//! `GET /oauth/jwks`: the public keys (RFC 7517), rendered once and cacheable.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::app::App;

/// Long enough to spare us, far shorter than an upcoming key waits.
const CACHE: &str = "public, max-age=300";

/// `GET /oauth/jwks`
pub async fn get(State(app): State<App>, headers: HeaderMap) -> Response {
    let jwks = app.signer.jwks();
    let caching =
        [(header::CACHE_CONTROL, CACHE.to_owned()), (header::ETAG, jwks.etag.to_string())];
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_known = known
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == &*jwks.etag);
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/jwk-set+json")], jwks.json.to_string())
        .into_response()
}

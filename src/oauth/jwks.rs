//! `GET /oauth/jwks`: the public keys (RFC 7517), rendered once and cacheable.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::http::is_known;

/// Long enough to spare us, far shorter than an upcoming key waits.
const CACHE: &str = "public, max-age=300";

/// `GET /oauth/jwks`
pub async fn get(State(app): State<App>, headers: HeaderMap) -> Response {
    let jwks = app.signer.jwks();
    let caching =
        [(header::CACHE_CONTROL, CACHE.to_owned()), (header::ETAG, jwks.etag.to_string())];
    if is_known(&headers, &jwks.etag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/jwk-set+json")], jwks.json.to_string())
        .into_response()
}

//! Entity tags (RFC 9110 §8.8.3), `If-Match` (§13.1.1): two editors don't overwrite one another, and `If-None-Match`
//! (§13.1.2): what somebody has is not sent again.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Problem;
use crate::platform::document::Document;

/// A representation and the version that it is of.
pub struct Versioned<T>(pub i32, pub T);

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.1).into_response();
        tag(&mut response, self.0);
        response
    }
}

/// Adds the `ETag` of the version.
pub(super) fn tag(response: &mut Response, version: i32) {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
}

/// Whether the caller has what bears this tag (`If-None-Match`).
#[must_use]
pub fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut tags = known.unwrap_or_default().split(',');
    tags.any(|tag| matches!(tag.trim().trim_start_matches("W/"), tag if tag == "*" || tag == etag))
}

/// The document; 304 for who has it.
pub fn document(
    headers: &HeaderMap,
    document: Document,
    kind: &'static str,
    cache_control: &'static str,
) -> Response {
    let caching = [(header::CACHE_CONTROL, cache_control), (header::ETAG, document.etag.as_ref())];
    if is_known(headers, &document.etag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, kind)], document.body).into_response()
}

/// The version that an edit is meant for; none where the caller does not care.
pub struct IfMatch(pub Option<i32>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return match parts.headers.contains_key(header::IF_MATCH) {
                // No one version is all of these.
                true => Err(Problem::stale()),
                false => Ok(Self(None)),
            };
        };
        let text = value.to_str().map_err(|_| Problem::stale())?.trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        // A tag that we never gave matches nothing.
        version
            .and_then(|text| text.parse().ok())
            .map(|version| Self(Some(version)))
            .ok_or_else(Problem::stale)
    }
}

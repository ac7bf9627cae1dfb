//! What every request goes through, whatever it asks for.
//!
//! One function, because a layer each for all of this is what a request to an endpoint that answers from memory would
//! spend most of its time in.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{MAX_BODY, render_page_errors};
use crate::app::App;

/// The name under which a request is found in the log and in the audit trail.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// No answer but a feed takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Gives the request its id and a span, bounds its time and its size, and gives the answer the headers that all have.
pub async fn every_request(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id: &str = Uuid::new_v4().as_hyphenated().encode_lower(&mut text);
    // A span names method and path; the query may hold secrets and stays out.
    let span =
        tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id);
    let id = HeaderValue::from_str(id);
    // Ours alone, so that nobody writes into the audit trail under another's id.
    request.headers_mut().remove(REQUEST_ID);
    if let Ok(id) = &id {
        request.headers_mut().insert(REQUEST_ID, id.clone());
    }
    DefaultBodyLimit::max(MAX_BODY).apply(&mut request);
    let answer = async {
        let unless_it_panics = AssertUnwindSafe(next.run(request)).catch_unwind();
        match tokio::time::timeout(TIMEOUT, unless_it_panics).await {
            Ok(Ok(response)) => response,
            // The panic has told of itself on standard error.
            Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    let mut response = render_page_errors(&app, answer.instrument(span).await);
    let headers = response.headers_mut();
    if let Ok(id) = id {
        headers.insert(REQUEST_ID, id);
    }
    let mut unless_said = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    unless_said(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    unless_said(header::REFERRER_POLICY, "same-origin");
    unless_said(header::X_FRAME_OPTIONS, "DENY");
    // Only what is reached over https can promise to be so for a year.
    if app.config.is_https {
        unless_said(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

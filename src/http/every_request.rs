//! What every request goes through, whatever it asks for.
//!
//! One service, because a layer each for all of this is what a request to an endpoint that answers from memory would
//! spend most of its time in.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::Service;
use uuid::Uuid;

use super::{render_page_errors, tell_rate_limit};
use crate::app::App;
use crate::platform::telemetry;

/// The name under which a request is found in the log and in the audit trail.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// No answer but a feed takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The service behind which all routes are: it gives a request its id, bounds its time, and gives the answer the
/// headers that all have. What a request may send is bounded where it is read.
#[derive(Clone)]
pub struct EveryRequest {
    pub app: App,
    pub router: Router,
}

impl Service<Request> for EveryRequest {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = Uuid::new_v4();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let named = telemetry::Request { method, uri, id };
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut text)).ok();
        // Ours alone, so that nobody writes into the audit trail under another's id.
        request.headers_mut().remove(REQUEST_ID);
        if let Some(id) = &id {
            request.headers_mut().insert(REQUEST_ID, id.clone());
        }
        // One wrapped into the other, for an async block keeps what it awaits twice: as it got it, and while it awaits.
        let unless_it_panics = AssertUnwindSafe(self.router.call(request)).catch_unwind();
        let work = tokio::time::timeout(TIMEOUT, unless_it_panics).map(|done| match done {
            Ok(Ok(Ok(response))) => response,
            // The panic has told of itself on standard error.
            Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        });
        let app = self.app.clone();
        let work = named.does(tell_rate_limit(work));
        Box::pin(work.map(move |response| Ok(finished(&app, response, id))))
    }
}

/// The answer with the headers that all have.
fn finished(app: &App, response: Response, id: Option<HeaderValue>) -> Response {
    let mut response = render_page_errors(app, response);
    let headers = response.headers_mut();
    if let Some(id) = id {
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

//! Requests that a page of another site made a browser send.

use std::convert::Infallible;
use std::future::ready;

use axum::http::request::Parts;
use axum::http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::csrf::CsrfLayer;

/// Whether this request changes something and comes from another site, as the browser tells by `Sec-Fetch-Site` and
/// `Origin`. For where only some of the requests are a browser's; the layer that judges here stands before our pages.
pub async fn is_from_elsewhere(parts: &Parts) -> bool {
    let mut request = Request::new(());
    request.method_mut().clone_from(&parts.method);
    request.uri_mut().clone_from(&parts.uri);
    request.headers_mut().clone_from(&parts.headers);
    let let_in = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(()))));
    let Ok(answer) = CsrfLayer::new().layer(let_in).oneshot(request).await;
    answer.status() != StatusCode::OK
}

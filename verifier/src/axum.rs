//! For resource servers built with axum: an extractor and a layer.
//!
//! ```no_run
//! use axum::routing::{get, post};
//! use axum::{Extension, Router};
//! use portcullis_verifier::axum::{RequireScope, Verified};
//! use portcullis_verifier::{Principal, Rejection, ScopeError, Verifier};
//!
//! async fn list(Extension(caller): Extension<Principal>) -> String {
//!     format!("the tenants of {:?}", caller.organization())
//! }
//!
//! async fn rename(Verified(caller): Verified) -> Result<&'static str, Rejection> {
//!     caller.require("write:tenants/acme")?;
//!     Ok("renamed")
//! }
//!
//! fn api(verifier: Verifier) -> Result<Router, ScopeError> {
//!     let reads = RequireScope::new(verifier.clone(), "read:tenants")?;
//!     Ok(Router::new()
//!         .route("/tenants", get(list).route_layer(reads))
//!         .route("/tenants/acme", post(rename))
//!         .with_state(verifier))
//! }
//! ```

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::extract::{FromRef, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use crate::client::{RequestContext, Verifier};
use crate::principal::Principal;
use crate::rejection::Rejection;
use crate::scope::{Scope, ScopeError};

/// Extracts the caller of a request, or refuses it. The state must hold a [`Verifier`] (through [`FromRef`]).
///
/// Put a [`RequestContext`] into the request's extensions if keys are to be confined to networks: only you know which
/// header your proxies can be trusted with.
#[derive(Debug, Clone)]
pub struct Verified(pub Principal);

impl<S> FromRequestParts<S> for Verified
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Verified, Response> {
        let verifier = Verifier::from_ref(state);
        match verify(&verifier, &parts.headers, &parts.extensions).await {
            Ok(principal) => Ok(Verified(principal)),
            Err(rejection) => Err(verifier.refuse(&rejection)),
        }
    }
}

/// Lets only those requests through whose credential covers a scope, with the [`Principal`] in their extensions.
///
/// Refuses with 401, 403 or 503 before the request's body is read.
#[derive(Debug, Clone)]
pub struct RequireScope {
    verifier: Verifier,
    required: Scope,
}

impl RequireScope {
    /// Requires `scope`, written as in `read:tenants`. An error if that is no scope.
    pub fn new(verifier: Verifier, scope: &str) -> Result<RequireScope, ScopeError> {
        Ok(RequireScope { verifier, required: scope.parse()? })
    }

    async fn check(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Principal, Rejection> {
        let principal = verify(&self.verifier, headers, extensions).await?;
        principal.require_scope(&self.required)?;
        Ok(principal)
    }
}

impl<S> Layer<S> for RequireScope {
    type Service = RequireScopeService<S>;

    fn layer(&self, inner: S) -> RequireScopeService<S> {
        RequireScopeService { inner, rule: self.clone() }
    }
}

/// The service that [`RequireScope`] makes.
#[derive(Debug, Clone)]
pub struct RequireScopeService<S> {
    inner: S,
    rule: RequireScope,
}

impl<S> Service<Request> for RequireScopeService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that has been polled ready goes along; a fresh clone stays for the next call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let rule = self.rule.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            match rule.check(&parts.headers, &parts.extensions).await {
                Ok(principal) => {
                    parts.extensions.insert(principal);
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(rejection) => Ok(rule.verifier.refuse(&rejection)),
            }
        }
        .boxed()
    }
}

async fn verify(
    verifier: &Verifier,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Principal, Rejection> {
    let context = extensions.get::<RequestContext>().copied().unwrap_or_default();
    let header = authorization(headers)?;
    verifier.verify(header, &context).await
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Rejection::MalformedRequest("There is more than one Authorization header."));
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| {
        Rejection::MalformedRequest("The Authorization header has a character that is not ASCII.")
    })
}

impl Verifier {
    /// The response to a request that is refused, with this verifier's realm and resource metadata.
    pub fn refuse(&self, rejection: &Rejection) -> Response {
        respond(rejection, &self.challenge(rejection))
    }
}

/// As [`Verifier::refuse`], without realm and resource metadata.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        respond(&self, &self.challenge(None, None))
    }
}

fn respond(rejection: &Rejection, challenge: &str) -> Response {
    let status =
        StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let body = axum::Json(serde_json::json!({
        "error": rejection.code(),
        "error_description": rejection.description(),
    }));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Rejection::Unavailable(_) = rejection {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

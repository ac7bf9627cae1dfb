//! For resource servers built with tower: a layer for any service that takes `http` requests.
//!
//! ```no_run
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use portcullis_verifier::tower::RequireScope;
//! use portcullis_verifier::{Principal, ScopeError, Verifier};
//! use tower::{Layer, Service};
//!
//! async fn list(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     let caller = request.extensions().get::<Principal>();
//!     let organization = caller.and_then(Principal::organization);
//!     Ok(Response::new(format!("the tenants of {organization:?}").into()))
//! }
//!
//! fn api(
//!     verifier: Verifier,
//! ) -> Result<
//!     impl Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
//!     ScopeError,
//! > {
//!     Ok(RequireScope::new(verifier, "read:tenants")?.layer(tower::service_fn(list)))
//! }
//! ```
//!
//! # From where a request comes
//!
//! API keys may be confined to networks, and are held against the caller's address. It is, in this order,
//!
//! 1. that of a [`RequestContext`] in the request's extensions;
//! 2. worked out from the peer's address and `X-Forwarded-For`, by the verifier's
//!    [trusted proxies](crate::VerifierBuilder::trusted_proxies). The peer's address is looked for in the extensions: as
//!    axum's `ConnectInfo<SocketAddr>` (with the feature `axum`), or as a [`SocketAddr`];
//! 3. unknown, and keys that are confined to networks are refused.
//!
//! # When the authorization server has not been heard for too long
//!
//! What then becomes of a request is decided by the first of these that says something: a [`RequestContext`] in its
//! extensions, [`RequireScope::when_stale`], a [`WhenStale`] in its extensions,
//! [`VerifierBuilder::when_stale`](crate::VerifierBuilder::when_stale).

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::client::{RequestContext, Verifier, WhenStale};
use crate::principal::Principal;
use crate::rejection::Rejection;
use crate::scope::{Scope, ScopeError};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Lets only those requests through whose credential covers a scope, with the [`Principal`] in their extensions.
///
/// Refuses with 400, 401, 403 or 503 before the request's body is read.
///
/// Any service will do whose response has a body that can be made of a [`String`], as those of axum and
/// `http_body_util::Full<Bytes>` can.
#[derive(Debug, Clone)]
pub struct RequireScope {
    verifier: Verifier,
    required: Scope,
    when_stale: Option<WhenStale>,
}

impl RequireScope {
    /// Requires `scope`, written as in `read:tenants`. An error if that is no scope.
    pub fn new(verifier: Verifier, scope: &str) -> Result<RequireScope, ScopeError> {
        Ok(RequireScope { verifier, required: scope.parse()?, when_stale: None })
    }

    /// How requests to what is behind this layer are decided when the authorization server has not been heard for too
    /// long; without it as [`VerifierBuilder::when_stale`](crate::VerifierBuilder::when_stale) says.
    pub fn when_stale(mut self, policy: WhenStale) -> RequireScope {
        self.when_stale = Some(policy);
        self
    }

    async fn check(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Principal, Rejection> {
        let principal = verify(&self.verifier, headers, extensions, self.when_stale).await?;
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

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for RequireScopeService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    RequestBody: Send + 'static,
    ResponseBody: From<String>,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<ResponseBody>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
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

impl Verifier {
    /// The response to a request that is refused, with this verifier's realm and resource metadata.
    pub fn refuse<B: From<String>>(&self, rejection: &Rejection) -> Response<B> {
        respond(rejection, &self.challenge(rejection))
    }
}

/// Checks the credential of a request, from wherever it comes.
pub(crate) async fn verify(
    verifier: &Verifier,
    headers: &HeaderMap,
    extensions: &Extensions,
    when_stale: Option<WhenStale>,
) -> Result<Principal, Rejection> {
    let header = authorization(headers)?;
    let mut context = context(verifier, headers, extensions);
    let policies = [context.when_stale, when_stale, extensions.get().copied()];
    context.when_stale = policies.into_iter().flatten().next();
    verifier.verify(header, &context).await
}

/// The answer to a request that is refused (RFC 6750 §3).
pub(crate) fn respond<B: From<String>>(rejection: &Rejection, challenge: &str) -> Response<B> {
    let body = serde_json::json!({
        "error": rejection.code(),
        "error_description": rejection.description(),
    });
    let mut response = Response::new(B::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Rejection::Unavailable(_) = rejection {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
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

fn context(verifier: &Verifier, headers: &HeaderMap, extensions: &Extensions) -> RequestContext {
    if let Some(context) = extensions.get::<RequestContext>() {
        return *context;
    }
    let client_address = peer(extensions).map(|peer| {
        let forwarded = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        verifier.trusted_proxies().client_address(peer, forwarded)
    });
    RequestContext { client_address, ..RequestContext::default() }
}

fn peer(extensions: &Extensions) -> Option<IpAddr> {
    #[cfg(feature = "axum")]
    if let Some(peer) = crate::axum::peer(extensions) {
        return Some(peer.ip());
    }
    extensions.get::<SocketAddr>().map(SocketAddr::ip)
}

//! For resource servers built with axum: an extractor, a layer, and the API's description of itself.
//!
//! ```no_run
//! use axum::extract::Path;
//! use axum::routing::{get, post};
//! use axum::{Extension, Router};
//! use portcullis_verifier::axum::{Refusal, RequireScope, Verified, protected_resource};
//! use portcullis_verifier::{Principal, ScopeError, Verifier};
//!
//! async fn list(Extension(caller): Extension<Principal>) -> String {
//!     format!("the tenants of {:?}", caller.organization())
//! }
//!
//! async fn rename(caller: Verified, Path(id): Path<String>) -> Result<&'static str, Refusal> {
//!     caller.require(&format!("write:tenants/{id}"))?;
//!     Ok("renamed")
//! }
//!
//! fn api(verifier: Verifier) -> Result<Router, ScopeError> {
//!     let reads = RequireScope::new(verifier.clone(), "read:tenants")?;
//!     Ok(Router::new()
//!         .route("/tenants", get(list).route_layer(reads))
//!         .route("/tenants/{id}", post(rename))
//!         .merge(protected_resource(&verifier))
//!         .with_state(verifier))
//! }
//! ```
//!
//! # From where a request comes
//!
//! API keys may be confined to networks. Serve with
//! `into_make_service_with_connect_info::<SocketAddr>()`, and name your proxies to
//! [`VerifierBuilder::trusted_proxies`](crate::VerifierBuilder::trusted_proxies): then the caller's address is found
//! without further doing. Where the address can't be known, such keys are refused. The module [`tower`](crate::tower)
//! tells what else is looked at.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL, CONTENT_TYPE,
};
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::client::Verifier;
use crate::principal::Principal;
use crate::rejection::Rejection;
pub use crate::tower::{RequireScope, RequireScopeService};
use crate::tower::{respond, verify};

/// As long as the authorization server's own metadata.
const CACHE: &str = "public, max-age=300";

/// Extracts the caller of a request, or refuses it. The state must hold a [`Verifier`] (through [`FromRef`]).
///
/// It is a [`Principal`] by all that can be asked of it. A route can have a policy of its own for when the authorization
/// server has not been heard for too long: `.layer(Extension(WhenStale::Introspect))`.
#[derive(Debug, Clone)]
pub struct Verified {
    principal: Principal,
    verifier: Verifier,
}

impl Verified {
    /// As [`Principal::require`], for scopes that depend on the request. What it refuses with has the challenge of the
    /// verifier, realm and resource metadata included.
    pub fn require(&self, scope: &str) -> Result<(), Refusal> {
        self.principal.require(scope).map_err(|rejection| Refusal::new(&self.verifier, rejection))
    }

    /// The caller alone.
    pub fn into_principal(self) -> Principal {
        self.principal
    }
}

impl Deref for Verified {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl<S> FromRequestParts<S> for Verified
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Verified, Refusal> {
        let verifier = Verifier::from_ref(state);
        match verify(&verifier, &parts.headers, &parts.extensions, None).await {
            Ok(principal) => Ok(Verified { principal, verifier }),
            Err(rejection) => Err(Refusal::new(&verifier, rejection)),
        }
    }
}

/// A request was refused: what a handler answers then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    rejection: Rejection,
    challenge: String,
}

impl Refusal {
    fn new(verifier: &Verifier, rejection: Rejection) -> Refusal {
        Refusal { challenge: verifier.challenge(&rejection), rejection }
    }

    /// Why it was refused.
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        respond(&self.rejection, &self.challenge)
    }
}

/// `GET /.well-known/oauth-protected-resource` and the path of the audience after it: what
/// [`VerifierBuilder::protected_resource`](crate::VerifierBuilder::protected_resource) was told, for clients that look
/// for the authorization server of this API (RFC 9728). Without that there is no route.
///
/// Merge it into the router that stands at the root of the audience's host. Pages of every origin may read it.
pub fn protected_resource<S: Clone + Send + Sync + 'static>(verifier: &Verifier) -> Router<S> {
    let Some(metadata) = verifier.protected_resource() else {
        return Router::new();
    };
    let json: Arc<str> = metadata.json().into();
    let document = async move || {
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, CACHE),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        ];
        (headers, json.to_string())
    };
    // Clients in a browser send headers of their own, and so their browser asks first.
    let preflight = async || {
        let headers = [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        ];
        (StatusCode::NO_CONTENT, headers)
    };
    Router::new().route(metadata.path(), get(document).options(preflight))
}

/// Without realm and resource metadata, which only a verifier knows: [`Verified::require`] and [`Verifier::refuse`] name
/// them.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        respond(&self, &self.challenge(None, None))
    }
}

/// Who has made the connection, where axum was asked to remember it.
pub(crate) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let real = extensions.get().map(|ConnectInfo(peer)| *peer);
    real.or_else(|| extensions.get().map(|MockConnectInfo(peer)| *peer))
}

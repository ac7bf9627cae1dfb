//! Checks Portcullis access tokens and API keys in a resource server, with live revocation.
//!
//! A [`Verifier`] finds the authorization server by its issuer, fetches its signing keys and follows its revocation log,
//! so that a token or key that is revoked there is refused here a moment later.
//!
//! # Quick start
//!
//! ```no_run
//! use portcullis_verifier::{RequestContext, Verifier};
//!
//! # async fn example(credential: String, header: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::discover("https://auth.example.com")
//!     .audience("https://api.example.com")
//!     .credential(credential)
//!     .build()
//!     .await?;
//!
//! // For each request, with the value of its `Authorization` header:
//! let caller = verifier.verify(header, &RequestContext::default()).await?;
//! caller.require("read:tenants")?;
//! println!("{} of {:?}", caller.subject(), caller.organization());
//! # Ok(())
//! # }
//! ```
//!
//! Scopes are no mere words: a broader one covers narrower ones.
//!
//! ```
//! use portcullis_verifier::{Scope, ScopeSet};
//!
//! let granted: ScopeSet = "write:tenants read:users/acme".parse()?;
//! let covers = |required: &str| required.parse::<Scope>().map(|scope| granted.covers(&scope));
//! assert!(covers("read:tenants")?);
//! assert!(covers("write:tenants/acme")?);
//! assert!(covers("read:users/acme")?);
//! assert!(!covers("read:users")?);
//! # Ok::<(), portcullis_verifier::ScopeError>(())
//! ```
//!
//! A refusal knows its status and its challenge (RFC 6750 §3):
//!
//! ```
//! use portcullis_verifier::{Rejection, bearer_token};
//!
//! assert_eq!(bearer_token("Bearer abc"), Ok("abc"));
//! let refused = bearer_token("Basic YTpi").unwrap_err();
//! assert_eq!((refused.status(), refused.challenge(None, None)), (401, "Bearer".to_owned()));
//! let refused = Rejection::InsufficientScope { required: "read:tenants".parse()? };
//! assert_eq!(refused.status(), 403);
//! assert!(refused.challenge(None, None).ends_with("scope=\"read:tenants\""));
//! # Ok::<(), portcullis_verifier::ScopeError>(())
//! ```
//!
//! With the feature `axum` there are an extractor, a layer, and the API's description of itself; with the feature
//! `tower` a layer for every service that takes `http` requests. See the modules of these names.
//!
//! # How it decides
//!
//! - An access token is a JWT (RFC 9068): its signature, type, issuer, audience and time are checked here, and then that
//!   neither it nor its grant, client, subject, organization or project is in the revocation log. The log can also say
//!   that one of these has changed so that tokens issued before a certain moment no longer tell the truth: they are
//!   refused, and the client gets a new one by refreshing.
//!   A token that was accepted is remembered by its SHA-256 until it expires or dies, so that the next check of it costs
//!   no signature; one whose signing key is no longer published is checked again.
//! - An API key whose checksum is wrong is refused on the spot. Any other is introspected once (RFC 7662) and remembered
//!   by its SHA-256 until the log says that the key, its organization, project, creator or owner (the user whose role
//!   bounds it now) has changed. While it is used it is introspected again once a minute, behind the back of whoever
//!   uses it, for what the log doesn't carry.
//!
//! # When the authorization server is away
//!
//! What was learned stays valid for as long as the log has been heard within
//! [`max_staleness`](VerifierBuilder::max_staleness), five minutes by default; the server gives a sign of life every ten
//! seconds. Credentials that are new meanwhile are decided as far as they can be: access tokens by the keys at hand, API
//! keys not at all (503). After that, what has been revoked meanwhile can't be known, and [`WhenStale`] decides: refuse
//! every request with 503 (the default), ask about each credential, or go on with what is known. A route or a scope can
//! have a policy of its own: see [`RequestContext::when_stale`].
//!
//! # How it is doing
//!
//! [`Verifier::health`] tells it as a value. With the feature `metrics` the same goes to the recorder of the `metrics`
//! crate every ten seconds, labelled with the `audience`: the gauges `portcullis_verifier_available`,
//! `_feed_silence_seconds`, `_revocations`, `_remembered_tokens`, `_remembered_api_keys`, `_signing_keys` and
//! `_signing_keys_age_seconds`; the counters `portcullis_verifier_feed_interruptions_total`, `_introspections_total`,
//! `_introspections_unanswered_total`, and `_checks_total` with the label `outcome` (the names in
//! [`Checks`](client::Checks)). What goes wrong is told through `tracing`.
//!
//! # The parts
//!
//! All but [`client`], `tower` and `axum` are pure: they do no input or output and take the time as an argument. The
//! authorization server issues what it issues with these same parts.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "axum")]
pub mod axum;
pub mod base62;
pub mod bearer;
pub mod claims;
pub mod client;
pub mod client_address;
pub mod jwks;
pub mod key;
pub mod network;
pub mod principal;
pub mod protected_resource;
pub mod rejection;
pub mod revocation;
pub mod scope;
pub mod token;
#[cfg(feature = "tower")]
pub mod tower;

pub use bearer::bearer_token;
pub use claims::{AccessTokenClaims, Audience};
pub use client::{BuildError, Health, RequestContext, Verifier, VerifierBuilder, WhenStale};
pub use client_address::TrustedProxies;
pub use jwks::KeySet;
pub use principal::{ApiKey, Principal};
pub use protected_resource::ProtectedResource;
pub use rejection::Rejection;
pub use revocation::RevocationSet;
pub use scope::{Scope, ScopeError, ScopeSet};
pub use token::{Expected, TokenError, verify_access_token};

/// The code of the README and of the guide, as tests.
#[cfg(all(doctest, feature = "axum"))]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/guides/resource-server.md")]
    struct Guide;
}

//! A [`Verifier`]: all that a resource server needs to check credentials, kept up to date in the background.
//!
//! Access tokens are checked here, by signature and against the revocation log. API keys are asked about once and then
//! remembered for a minute, or until the log says that something about them has changed.

mod api_keys;
mod build;
mod event_stream;
mod feed;
mod http;
mod introspection;
mod metadata;
mod signing_keys;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::AbortHandle;

pub use build::{BuildError, VerifierBuilder};
pub use http::FetchError;
pub use signing_keys::SigningKeysError;

use crate::bearer::bearer_token;
use crate::client_address::TrustedProxies;
use crate::principal::Principal;
use crate::protected_resource::ResourceMetadata;
use crate::rejection::{InvalidToken, Rejection, Unavailability};
use crate::revocation::RevocationSet;
use crate::token::{Expected, TokenError, verify_access_token};
use api_keys::ApiKeys;
use feed::Feed;
use signing_keys::SigningKeys;

/// Checks the credentials of requests to one resource server.
///
/// Cheap to clone; the clones share everything. The background tasks end when the last clone is dropped.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: String,
    audience: String,
    leeway_seconds: u64,
    max_staleness: Duration,
    realm: Option<String>,
    resource_metadata: Option<String>,
    protected_resource: Option<ResourceMetadata>,
    trusted_proxies: TrustedProxies,
    signing_keys: Arc<SigningKeys>,
    feed: Arc<Feed>,
    api_keys: ApiKeys,
    _tasks: BackgroundTasks,
}

/// What else is known of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// From where the request comes: the client itself, not a proxy in front of this server.
    ///
    /// API keys that may only be used from certain networks, and tokens that were exchanged for one, are refused while
    /// this is `None`.
    pub client_address: Option<IpAddr>,
}

impl Verifier {
    /// Begins to set up a verifier for the authorization server with this issuer, say `https://auth.example.com`.
    ///
    /// It must be, character by character, what the server calls itself (RFC 8414 §3.3).
    pub fn discover(issuer: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder::new(issuer.into())
    }

    /// Checks the credential in the value of a request's `Authorization` header.
    pub async fn verify(
        &self,
        authorization_header: Option<&str>,
        context: &RequestContext,
    ) -> Result<Principal, Rejection> {
        let header = authorization_header.ok_or(Rejection::MissingCredential)?;
        let credential = bearer_token(header)?;
        if !self.is_available() {
            return Err(Rejection::Unavailable(Unavailability::RevocationFeed));
        }
        let is_token = credential.split('.').count() == 3;
        if is_token && !self.inner.api_keys.may_be_imported(credential) {
            self.verify_token(credential, context).await
        } else {
            self.inner
                .api_keys
                .verify(credential, context.client_address, self.revocations(), now_unix())
                .await
        }
    }

    /// Whether the revocation feed is alive enough for requests to be decided. For a health check.
    pub fn is_available(&self) -> bool {
        self.inner.feed.silent_for().is_some_and(|silence| silence <= self.inner.max_staleness)
    }

    /// What is known to have been revoked or changed.
    pub fn revocations(&self) -> &RevocationSet {
        &self.inner.feed.revocations
    }

    /// The value of `WWW-Authenticate` for a refusal, with this verifier's realm and resource metadata.
    pub fn challenge(&self, rejection: &Rejection) -> String {
        let Inner { realm, resource_metadata, .. } = &*self.inner;
        rejection.challenge(realm.as_deref(), resource_metadata.as_deref())
    }

    /// What this resource server says about itself, where
    /// [`VerifierBuilder::protected_resource`] was told it.
    pub fn protected_resource(&self) -> Option<&ResourceMetadata> {
        self.inner.protected_resource.as_ref()
    }

    /// The proxies whose `X-Forwarded-For` is believed.
    pub fn trusted_proxies(&self) -> &TrustedProxies {
        &self.inner.trusted_proxies
    }

    async fn verify_token(
        &self,
        token: &str,
        context: &RequestContext,
    ) -> Result<Principal, Rejection> {
        let expected = Expected {
            issuer: &self.inner.issuer,
            audience: Some(&self.inner.audience),
            leeway_seconds: self.inner.leeway_seconds,
        };
        let keys = self.inner.signing_keys.current();
        let claims =
            match verify_access_token(token, &keys, &expected, now_unix()) {
                Err(TokenError::UnknownKey { kid }) => {
                    let keys =
                        self.inner.signing_keys.current_with(&kid).await.map_err(|_| {
                            Rejection::Unavailable(Unavailability::AuthorizationServer)
                        })?;
                    verify_access_token(token, &keys, &expected, now_unix())
                }
                decided => decided,
            };
        let claims = claims.map_err(|error| {
            tracing::debug!(%error, "an access token was refused");
            Rejection::from(error)
        })?;
        if self.revocations().is_revoked(&claims)
            || !claims.may_be_used_from(context.client_address)
        {
            return Err(Rejection::InvalidToken(InvalidToken::NotAccepted));
        }
        Ok(Principal::from_claims(claims))
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.inner.issuer)
            .field("audience", &self.inner.audience)
            .finish_non_exhaustive()
    }
}

/// Tasks that end with their owner.
#[derive(Default)]
struct BackgroundTasks(Vec<AbortHandle>);

impl BackgroundTasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for BackgroundTasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Seconds since 1970 by the machine's clock.
fn now_unix() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the one place of this crate that asks the time")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

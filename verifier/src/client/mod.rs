//! A [`Verifier`]: all that a resource server needs to check credentials, kept up to date in the background.
//!
//! Access tokens are checked here, by signature and against the revocation log, and remembered by their SHA-256 until
//! they expire or die. API keys are asked about once and then remembered until the log says that something about them
//! has changed. How these are decided when the server is away is told at [`WhenStale`].
//!
//! What will report the calls that credentials are used for is to hook in where [`Verifier::verify`] counts its
//! answers: there the principal is known, and nothing has been sent to the caller yet.

mod access_tokens;
mod api_keys;
mod backoff;
mod build;
mod event_stream;
mod feed;
mod health;
mod http;
mod introspection;
mod metadata;
#[cfg(feature = "metrics")]
mod metrics;
mod remembered;
mod signing_keys;
mod when_stale;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use build::{BuildError, VerifierBuilder};
pub use health::{Checks, FeedState, Health};
pub use http::FetchError;
pub use signing_keys::SigningKeysError;
pub use when_stale::WhenStale;

use crate::bearer::{bearer_token, unchecked_bearer_token};
use crate::client_address::TrustedProxies;
use crate::principal::Principal;
use crate::protected_resource::ResourceMetadata;
use crate::rejection::{Rejection, Unavailability};
use crate::revocation::RevocationSet;
use access_tokens::AccessTokens;
use api_keys::ApiKeys;
use feed::Feed;
use health::Tally;
use introspection::Introspection;
use remembered::Digest;
use signing_keys::SigningKeys;

/// Checks the credentials of requests to one resource server.
///
/// Cheap to clone; the clones share everything. The background tasks end when the last clone is dropped.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
    /// These hold on to what is inside, so they aren't kept there.
    _tasks: Arc<BackgroundTasks>,
}

struct Inner {
    issuer: String,
    audience: String,
    max_staleness: Duration,
    when_stale: WhenStale,
    realm: Option<String>,
    resource_metadata: Option<String>,
    protected_resource: Option<ResourceMetadata>,
    trusted_proxies: TrustedProxies,
    signing_keys: Arc<SigningKeys>,
    feed: Arc<Feed>,
    introspection: Arc<Introspection>,
    tokens: AccessTokens,
    api_keys: Arc<ApiKeys>,
    tally: Tally,
}

const TIDY_EVERY: Duration = Duration::from_secs(60);

/// What else is known of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// From where the request comes: the client itself, not a proxy in front of this server.
    ///
    /// API keys that may only be used from certain networks, and tokens that were exchanged for one, are refused while
    /// this is `None`.
    pub client_address: Option<IpAddr>,
    /// How this request is decided when the authorization server has not been heard for too long. `None` leaves it to
    /// [`VerifierBuilder::when_stale`].
    pub when_stale: Option<WhenStale>,
}

/// When and from where a request is made.
struct Moment {
    instant: Instant,
    /// In seconds since 1970.
    unix: i64,
    client_address: Option<IpAddr>,
}

/// What could be said of a request at once.
enum Recalled<'a> {
    Decided(Result<Principal, Rejection>),
    /// A credential that isn't remembered, or that must not be decided from memory.
    Undecided {
        header: &'a str,
        digest: Digest,
        live: bool,
    },
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
        let at = Moment {
            instant: Instant::now(),
            unix: now_unix(),
            client_address: context.client_address,
        };
        let (answer, from_memory) = match self.recall(authorization_header, context, &at) {
            Recalled::Decided(answer) => (answer, true),
            // In a box, so that the future of every request isn't as large as that of the rare one.
            Recalled::Undecided { header, digest, live } => {
                (Box::pin(self.find_out(header, digest, live, &at)).await, false)
            }
        };
        self.inner.tally.count(&answer, from_memory);
        answer
    }

    /// Whether the revocation feed has been heard within
    /// [`max_staleness`](VerifierBuilder::max_staleness). For a health check; [`health`](Self::health) tells more.
    pub fn is_available(&self) -> bool {
        self.inner.has_heard(Instant::now())
    }

    /// How this verifier is doing.
    pub fn health(&self) -> Health {
        self.inner.health()
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

    /// Decides what can be decided without waiting.
    fn recall<'a>(
        &self,
        header: Option<&'a str>,
        context: &RequestContext,
        at: &Moment,
    ) -> Recalled<'a> {
        let Some(header) = header else {
            return Recalled::Decided(Err(Rejection::MissingCredential));
        };
        let credential = match unchecked_bearer_token(header) {
            Ok(credential) => credential,
            Err(rejection) => return Recalled::Decided(Err(rejection)),
        };
        let live = match self.policy(context, at.instant) {
            None | Some(WhenStale::KeepVerifyingSignatures) => false,
            Some(WhenStale::Introspect) => true,
            Some(WhenStale::FailClosed) => {
                let unavailable = Rejection::Unavailable(Unavailability::RevocationFeed);
                let rejection = bearer_token(header).err().unwrap_or(unavailable);
                return Recalled::Decided(Err(rejection));
            }
        };
        let digest = Digest::of(credential);
        if !live {
            let Inner { tokens, api_keys, .. } = &*self.inner;
            let known = tokens.recall(&digest, at);
            if let Some(answer) = known.or_else(|| api_keys.recall(credential, &digest, at)) {
                return Recalled::Decided(answer);
            }
        }
        Recalled::Undecided { header, digest, live }
    }

    async fn find_out(
        &self,
        header: &str,
        digest: Digest,
        live: bool,
        at: &Moment,
    ) -> Result<Principal, Rejection> {
        let Inner { tokens, api_keys, .. } = &*self.inner;
        let credential = bearer_token(header)?;
        let is_token = credential.split('.').count() == 3;
        if !is_token || api_keys.may_be_imported(credential) {
            api_keys.verify(credential, digest, at, live).await
        } else if live {
            tokens.verify_live(credential, digest, at).await
        } else {
            tokens.verify(credential, digest, at).await
        }
    }

    /// What applies now that the feed has been silent for too long; `None` while it hasn't.
    fn policy(&self, context: &RequestContext, now: Instant) -> Option<WhenStale> {
        let is_stale = !self.inner.has_heard(now);
        is_stale.then(|| context.when_stale.unwrap_or(self.inner.when_stale))
    }
}

impl Inner {
    fn has_heard(&self, now: Instant) -> bool {
        self.feed.silent_for(now).is_some_and(|silence| silence <= self.max_staleness)
    }

    fn health(&self) -> Health {
        let (now, keys) = (Instant::now(), self.signing_keys.current());
        let (introspections, introspections_unanswered) = self.introspection.counts();
        Health {
            is_available: self.has_heard(now),
            feed: if self.feed.is_live() { FeedState::Live } else { FeedState::Interrupted },
            seconds_since_heard: self.feed.silent_for(now).map(|silence| silence.as_secs()),
            feed_interruptions: self.feed.interruptions(),
            last_seq: self.feed.revocations.last_seq(),
            revocations: self.feed.revocations.len(),
            remembered_tokens: self.tokens.remembered(),
            remembered_api_keys: self.api_keys.remembered(),
            signing_keys: keys.set.len(),
            signing_keys_age: now.saturating_duration_since(keys.fetched_at).as_secs(),
            introspections,
            introspections_unanswered,
            checks: self.tally.checks(),
        }
    }

    /// Forgets what has expired, for ever.
    async fn keep_tidy(&self) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let at = Moment { instant: Instant::now(), unix: now_unix(), client_address: None };
            self.tokens.forget_expired(&at);
            self.api_keys.forget_expired(&at);
        }
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

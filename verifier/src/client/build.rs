//! Setting up a [`Verifier`]: discovery, keys, the first snapshot of the revocation log.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::access_tokens::AccessTokens;
use super::api_keys::ApiKeys;
use super::feed::{Feed, Status};
use super::http::{Http, is_loopback};
use super::introspection::Introspection;
use super::metadata;
use super::signing_keys::{SigningKeys, SigningKeysError};
use super::{BackgroundTasks, Inner, Tally, Verifier, WhenStale};
use crate::bearer::bearer_token;
use crate::client_address::TrustedProxies;
use crate::protected_resource::{ProtectedResource, ResourceError};

const DEFAULT_READY_WITHIN: Duration = Duration::from_secs(10);
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(5 * 60);
const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
const DEFAULT_REMEMBERED_TOKENS: usize = 100_000;
const MOST_REMEMBERED_API_KEYS: usize = 100_000;

/// The settings of a [`Verifier`]; begun with [`Verifier::discover`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build`"]
pub struct VerifierBuilder {
    issuer: String,
    audience: Option<String>,
    credential: Option<SecretString>,
    ready_within: Duration,
    max_staleness: Duration,
    when_stale: WhenStale,
    leeway: Duration,
    remembered_tokens: usize,
    realm: Option<String>,
    resource_metadata: Option<String>,
    protected_resource: Option<ProtectedResource>,
    trusted_proxies: TrustedProxies,
}

/// Why a [`Verifier`] couldn't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The issuer isn't a URL that may be asked.
    #[error("the issuer {issuer:?} can't be used: {reason}")]
    InvalidIssuer {
        /// The issuer as it was given.
        issuer: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// [`VerifierBuilder::audience`] wasn't called.
    #[error("no audience was set: without one, tokens for other APIs would be accepted")]
    MissingAudience,
    /// [`VerifierBuilder::credential`] wasn't called.
    #[error("no credential was set: this resource server must authenticate to follow revocations")]
    MissingCredential,
    /// The credential has characters that no bearer token has, a line break at its end perhaps.
    #[error(
        "the credential can't be sent as a bearer token: does it have a stray space or line break?"
    )]
    InvalidCredential,
    /// TLS couldn't be set up.
    #[error("the HTTP client can't be set up")]
    HttpClient(#[source] reqwest::Error),
    /// The server's metadata couldn't be had.
    #[error("the authorization server's metadata at {url} can't be read")]
    Metadata {
        /// Where it was looked for.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The metadata names another issuer, by as little as a slash.
    #[error("the authorization server calls itself {found:?}, not {expected:?}")]
    IssuerMismatch {
        /// The issuer as it was given.
        expected: String,
        /// The issuer in the metadata.
        found: String,
    },
    /// The metadata lacks an endpoint: no Portcullis, or an older one.
    #[error("the authorization server's metadata has no `{member}`")]
    MissingEndpoint {
        /// The metadata's member.
        member: &'static str,
    },
    /// An endpoint in the metadata isn't a URL that may be asked.
    #[error(
        "the authorization server's `{member}` is {url:?}; it must begin with https:// (or http:// on this machine)"
    )]
    UnusableEndpoint {
        /// The metadata's member.
        member: &'static str,
        /// Its value.
        url: String,
    },
    /// The signing keys couldn't be had.
    #[error("the authorization server's signing keys at {url} can't be read")]
    SigningKeys {
        /// Where they were looked for.
        url: String,
        /// What went wrong.
        #[source]
        source: SigningKeysError,
    },
    /// The server won't let this credential follow revocations.
    #[error(
        "the authorization server refused this resource server's credential (status {status}) at {url}"
    )]
    CredentialRefused {
        /// The revocation feed.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// No complete snapshot of the revocation log within [`VerifierBuilder::ready_within`].
    #[error("the revocation feed at {url} was not complete in time: {reason}")]
    FeedNotReady {
        /// The revocation feed.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// [`VerifierBuilder::protected_resource`] was told something that can't be published.
    #[error("this resource server can't be described")]
    ProtectedResource(#[from] ResourceError),
}

impl VerifierBuilder {
    pub(super) fn new(issuer: String) -> VerifierBuilder {
        VerifierBuilder {
            issuer,
            audience: None,
            credential: None,
            ready_within: DEFAULT_READY_WITHIN,
            max_staleness: DEFAULT_MAX_STALENESS,
            when_stale: WhenStale::default(),
            leeway: DEFAULT_LEEWAY,
            remembered_tokens: DEFAULT_REMEMBERED_TOKENS,
            realm: None,
            resource_metadata: None,
            protected_resource: None,
            trusted_proxies: TrustedProxies::default(),
        }
    }

    /// The audience URI of this resource server. Access tokens for others are refused. Required.
    pub fn audience(mut self, audience: impl Into<String>) -> VerifierBuilder {
        self.audience = Some(audience.into());
        self
    }

    /// What this resource server authenticates with to follow revocations and introspect API keys. Required.
    pub fn credential(mut self, credential: impl Into<SecretString>) -> VerifierBuilder {
        self.credential = Some(credential.into());
        self
    }

    /// Within what time [`build`](Self::build) must have the first snapshot of the revocation log; 10 seconds by default.
    pub fn ready_within(mut self, ready_within: Duration) -> VerifierBuilder {
        self.ready_within = ready_within;
        self
    }

    /// For how long the revocation feed may be silent before [`when_stale`](Self::when_stale) decides; 5 minutes by
    /// default. Until then what was learned stays valid.
    ///
    /// The server sends a sign of life every 10 seconds, so anything below 30 seconds refuses requests at the least hitch.
    pub fn max_staleness(mut self, max_staleness: Duration) -> VerifierBuilder {
        self.max_staleness = max_staleness;
        self
    }

    /// How requests are decided once the revocation feed has been silent for too long; by default they are all refused.
    ///
    /// A single request can have it otherwise: [`RequestContext::when_stale`](super::RequestContext::when_stale).
    pub fn when_stale(mut self, when_stale: WhenStale) -> VerifierBuilder {
        self.when_stale = when_stale;
        self
    }

    /// How many access tokens are remembered, so that their signatures needn't be checked again; 100,000 by default,
    /// which takes some 100 MB when it is full. With 0 every check is one of the signature.
    pub fn remember_tokens(mut self, remembered_tokens: usize) -> VerifierBuilder {
        self.remembered_tokens = remembered_tokens;
        self
    }

    /// By how much the clocks of the authorization server and this machine may differ; 5 seconds by default, at most 60.
    pub fn leeway(mut self, leeway: Duration) -> VerifierBuilder {
        // Entries of the revocation log are kept for a minute longer than the tokens that they concern.
        self.leeway = leeway.min(Duration::from_secs(60));
        self
    }

    /// The `realm` of `WWW-Authenticate`; none by default.
    pub fn realm(mut self, realm: impl Into<String>) -> VerifierBuilder {
        self.realm = Some(realm.into());
        self
    }

    /// The URL of this resource server's metadata (RFC 9728), which refusals then point to.
    pub fn resource_metadata(mut self, url: impl Into<String>) -> VerifierBuilder {
        self.resource_metadata = Some(url.into());
        self
    }

    /// What this resource server says about itself. Refusals then point to the document (RFC 9728), unless
    /// [`resource_metadata`](Self::resource_metadata) names another; with the feature `axum` the function
    /// `protected_resource` of that module serves it.
    pub fn protected_resource(mut self, resource: ProtectedResource) -> VerifierBuilder {
        self.protected_resource = Some(resource);
        self
    }

    /// The proxies whose `X-Forwarded-For` is believed when extractor and layers look for the caller's address; none by
    /// default.
    pub fn trusted_proxies(mut self, proxies: impl Into<TrustedProxies>) -> VerifierBuilder {
        self.trusted_proxies = proxies.into();
        self
    }

    /// Asks the authorization server for its metadata and keys, and follows its revocation log.
    ///
    /// Comes back when all that has been revoked so far is known, or after [`ready_within`](Self::ready_within) with the reason why not.
    /// Must be called within a tokio runtime.
    pub async fn build(self) -> Result<Verifier, BuildError> {
        let deadline = Instant::now() + self.ready_within;
        let audience = self.audience.ok_or(BuildError::MissingAudience)?;
        let credential = self.credential.ok_or(BuildError::MissingCredential)?;
        if bearer_token(&format!("Bearer {}", credential.expose_secret())).is_err() {
            return Err(BuildError::InvalidCredential);
        }
        let protected_resource = self.protected_resource.as_ref();
        let protected_resource = protected_resource
            .map(|resource| resource.describe(&self.issuer, &audience))
            .transpose()?;
        let described_at = protected_resource.as_ref().map(|metadata| metadata.url().to_owned());
        let loopback = is_loopback(&metadata::issuer_url(&self.issuer)?);
        let http = Arc::new(Http::new(credential, loopback).map_err(BuildError::HttpClient)?);
        let metadata = metadata::fetch(&http, &self.issuer).await?;

        let url = metadata.jwks_uri.to_string();
        let signing_keys = SigningKeys::fetch(http.clone(), metadata.jwks_uri)
            .await
            .map_err(|source| BuildError::SigningKeys { url, source })?;
        let signing_keys = Arc::new(signing_keys);

        let feed = Arc::new(Feed::new());
        let url = metadata.revocations_endpoint.to_string();
        let mut tasks = BackgroundTasks::default();
        tasks.spawn(feed.clone().follow(http.clone(), metadata.revocations_endpoint));
        wait_until_ready(&feed, url, deadline).await?;
        let keys = signing_keys.clone();
        tasks.spawn(async move { keys.keep_fresh().await });

        let introspection = Introspection::new(http, metadata.introspection_endpoint);
        let introspection = Arc::new(introspection);
        let inner = Arc::new(Inner {
            issuer: self.issuer.clone(),
            audience: audience.clone(),
            max_staleness: self.max_staleness,
            when_stale: self.when_stale,
            realm: self.realm,
            resource_metadata: self.resource_metadata.or(described_at),
            protected_resource,
            trusted_proxies: self.trusted_proxies,
            tokens: AccessTokens::new(
                self.issuer,
                audience,
                self.leeway.as_secs(),
                signing_keys.clone(),
                feed.clone(),
                introspection.clone(),
                self.remembered_tokens,
            ),
            api_keys: Arc::new(ApiKeys::new(
                introspection.clone(),
                feed.clone(),
                metadata.imported_prefixes,
                MOST_REMEMBERED_API_KEYS,
            )),
            signing_keys,
            feed,
            introspection,
            tally: Tally::default(),
        });
        let tidied = inner.clone();
        tasks.spawn(async move { tidied.keep_tidy().await });
        #[cfg(feature = "metrics")]
        tasks.spawn(super::metrics::keep_published(inner.clone()));
        Ok(Verifier { inner, _tasks: Arc::new(tasks) })
    }
}

async fn wait_until_ready(feed: &Feed, url: String, deadline: Instant) -> Result<(), BuildError> {
    let mut status = feed.status();
    let settled = status.wait_for(|now| matches!(now, Status::Ready | Status::Refused(_)));
    let settled =
        timeout_at(deadline, settled).await.ok().and_then(Result::ok).map(|now| now.clone());
    match settled {
        Some(Status::Ready) => Ok(()),
        Some(Status::Refused(status)) => Err(BuildError::CredentialRefused { url, status }),
        _ => {
            let reason = match &*status.borrow() {
                Status::Failed(reason) => reason.clone(),
                _ => "it sent no `ready` event".to_owned(),
            };
            Err(BuildError::FeedNotReady { url, reason })
        }
    }
}

//! The authorization server's public keys, kept fresh.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::http::{FetchError, Http};
use crate::jwks::{KeySet, KeySetError};

const REFRESH_EVERY: Duration = Duration::from_secs(5 * 60);
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// However many tokens name unknown keys, the server is asked no more often than this.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(1);

/// Why the key set couldn't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeysError {
    /// There was no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer was no acceptable key set.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

/// The key set of `jwks_uri`, fetched anew every five minutes and when a token names a key that isn't in it.
pub(super) struct SigningKeys {
    http: Arc<Http>,
    url: Url,
    current: RwLock<Arc<KeySet>>,
    /// Held while fetching, so that those who come meanwhile wait and find the key.
    last_refresh: tokio::sync::Mutex<Refresh>,
}

struct Refresh {
    succeeded: bool,
    /// When a token with an unknown key last caused one.
    for_unknown_key: Option<Instant>,
}

/// The server couldn't be asked whether there is such a key.
pub(super) struct Unreachable;

impl SigningKeys {
    pub(super) async fn fetch(http: Arc<Http>, url: Url) -> Result<SigningKeys, SigningKeysError> {
        let keys = fetch(&http, &url).await?;
        if keys.is_empty() {
            tracing::warn!(%url, "the authorization server has published no usable signing key");
        }
        Ok(SigningKeys {
            http,
            url,
            current: RwLock::new(Arc::new(keys)),
            last_refresh: tokio::sync::Mutex::new(Refresh {
                succeeded: true,
                for_unknown_key: None,
            }),
        })
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key set after making sure that it isn't merely too old to have `kid`.
    pub(super) async fn current_with(&self, kid: &str) -> Result<Arc<KeySet>, Unreachable> {
        let mut last = self.last_refresh.lock().await;
        let current = self.current();
        if current.contains(kid) {
            return Ok(current);
        }
        if last.for_unknown_key.is_none_or(|at| at.elapsed() >= UNKNOWN_KEY_INTERVAL) {
            last.for_unknown_key = Some(Instant::now());
            self.refresh(&mut last).await;
        }
        if last.succeeded { Ok(self.current()) } else { Err(Unreachable) }
    }

    /// Refreshes for ever.
    pub(super) async fn keep_fresh(&self) {
        let mut wait = REFRESH_EVERY;
        loop {
            tokio::time::sleep(wait).await;
            let mut last = self.last_refresh.lock().await;
            self.refresh(&mut last).await;
            wait = if last.succeeded { REFRESH_EVERY } else { RETRY_AFTER };
        }
    }

    /// On failure the keys at hand stay: their tokens are no worse for it.
    async fn refresh(&self, last: &mut Refresh) {
        // Until proved otherwise: the caller may go away while this waits.
        last.succeeded = false;
        match fetch(&self.http, &self.url).await {
            Ok(keys) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                last.succeeded = true;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(url = %self.url, error, "the signing keys could not be refreshed");
            }
        }
    }
}

async fn fetch(http: &Http, url: &Url) -> Result<KeySet, SigningKeysError> {
    Ok(KeySet::from_json(&http.get(url).await?)?)
}

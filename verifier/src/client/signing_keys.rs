//! The authorization server's public keys, kept fresh.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::backoff::{shortened, wait_after};
use super::http::{FetchError, Http};
use crate::jwks::{KeySet, KeySetError};

/// How long a key set is good for when the server doesn't say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Whatever the server says, the keys are fetched no more often and no less often than this.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(30);
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
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

/// The key set of `jwks_uri`, fetched anew before it is out of date and when a token names a key that isn't in it.
pub(super) struct SigningKeys {
    http: Arc<Http>,
    url: Url,
    current: RwLock<Arc<Keys>>,
    /// The same as that of `current`, to be read without its lock.
    generation: AtomicU64,
    /// Held while fetching, so that those who come meanwhile wait and find the key.
    last_refresh: tokio::sync::Mutex<Refresh>,
}

/// A key set as it was fetched.
pub(super) struct Keys {
    pub(super) set: KeySet,
    /// Another one than before when a key has gone. What was verified with a key of an earlier generation has to be
    /// verified again.
    pub(super) generation: u64,
    pub(super) fetched_at: Instant,
}

struct Refresh {
    succeeded: bool,
    /// When a token with an unknown key last caused one.
    for_unknown_key: Option<Instant>,
    /// For how long the keys at hand may be kept, as the server has it.
    fresh_for: Option<Duration>,
}

/// The server couldn't be asked whether there is such a key.
pub(super) struct Unreachable;

impl SigningKeys {
    pub(super) async fn fetch(http: Arc<Http>, url: Url) -> Result<SigningKeys, SigningKeysError> {
        let (set, fresh_for) = fetch(&http, &url).await?;
        if set.is_empty() {
            tracing::warn!(%url, "the authorization server has published no usable signing key");
        }
        let keys = Keys { set, generation: 0, fetched_at: Instant::now() };
        Ok(SigningKeys {
            http,
            url,
            current: RwLock::new(Arc::new(keys)),
            generation: AtomicU64::new(0),
            last_refresh: tokio::sync::Mutex::new(Refresh {
                succeeded: true,
                for_unknown_key: None,
                fresh_for,
            }),
        })
    }

    pub(super) fn current(&self) -> Arc<Keys> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The key set after making sure that it isn't merely too old to have `kid`.
    pub(super) async fn current_with(&self, kid: &str) -> Result<Arc<Keys>, Unreachable> {
        let mut last = self.last_refresh.lock().await;
        let current = self.current();
        if current.set.contains(kid) {
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
        let mut failures = 0;
        let mut wait = lifetime(self.last_refresh.lock().await.fresh_for);
        loop {
            tokio::time::sleep(wait).await;
            let mut last = self.last_refresh.lock().await;
            self.refresh(&mut last).await;
            if last.succeeded {
                failures = 0;
                wait = lifetime(last.fresh_for);
            } else {
                wait = wait_after(failures, FIRST_RETRY, LAST_RETRY);
                failures = failures.saturating_add(1);
            }
        }
    }

    /// On failure the keys at hand stay: their tokens are no worse for it.
    async fn refresh(&self, last: &mut Refresh) {
        // Until proved otherwise: the caller may go away while this waits.
        last.succeeded = false;
        match fetch(&self.http, &self.url).await {
            Ok((set, fresh_for)) => {
                self.replace(set);
                last.fresh_for = fresh_for;
                last.succeeded = true;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(url = %self.url, error, "the signing keys could not be refreshed");
            }
        }
    }

    fn replace(&self, set: KeySet) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let lost_none = set.has_all_of(&current.set);
        let generation = current.generation + u64::from(!lost_none);
        *current = Arc::new(Keys { set, generation, fetched_at: Instant::now() });
        self.generation.store(generation, Ordering::Release);
    }
}

/// When to fetch again keys that are good for so long: in time, and not when everybody does.
fn lifetime(fresh_for: Option<Duration>) -> Duration {
    let lifetime = fresh_for.unwrap_or(DEFAULT_LIFETIME).min(LONGEST_LIFETIME);
    shortened(lifetime * 9 / 10, 4).max(SHORTEST_LIFETIME)
}

async fn fetch(http: &Http, url: &Url) -> Result<(KeySet, Option<Duration>), SigningKeysError> {
    let document = http.get(url).await?;
    Ok((KeySet::from_json(&document.body)?, document.fresh_for))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_before_they_are_out_of_date() {
        for (fresh_for, most) in
            [(None, 270), (Some(300), 270), (Some(60), 54), (Some(10_000_000), 3240)]
        {
            let wait = lifetime(fresh_for.map(Duration::from_secs)).as_secs();
            assert!((most * 2 / 3..=most).contains(&wait), "{fresh_for:?}: {wait}");
        }
        for fresh_for in [0, 1, 30] {
            assert_eq!(lifetime(Some(Duration::from_secs(fresh_for))), SHORTEST_LIFETIME);
        }
    }
}

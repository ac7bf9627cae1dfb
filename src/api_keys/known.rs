//! Keys in memory: a script that calls often costs one look-up a minute.
//!
//! What is kept is true to the revocation log: it bears the moment at which it was asked for, and whatever the log has
//! brought since about the key, its owner, project or organization makes it stale.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use entity::{SecretId, Timestamp};
use moka::future::Cache;
use moka::ops::compute::Op;
use portcullis_verifier::revocation::Mark;
use portcullis_verifier::{Principal, ScopeSet};
use sea_orm::DbErr;
use serde_json::value::RawValue;

use super::decide::Memo;
use super::uses::Recent;
use super::{ApiKey, store};
use crate::platform::batch::Batcher;
use crate::platform::db::{Db, in_time};
use crate::revocation::{Revocations, Subject};

const CAPACITY: u64 = 50_000;
const LIFETIME: Duration = Duration::from_secs(60);
/// Kept apart from the good ones, so that made-up keys can't crowd these out.
const UNKNOWN_CAPACITY: u64 = 50_000;
/// Short, for a key that is imported may have been tried before.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(2);
/// How often what was read may turn out to be overtaken by the log before the key is given up.
const MOST_ATTEMPTS: usize = 4;

/// The keys that this process has seen lately, by the SHA-256 of their secret.
pub(super) struct KnownKeys {
    known: Cache<[u8; 32], Arc<Known>>,
    unknown: Cache<[u8; 32], ()>,
    /// What is neither here nor there is asked for, with whatever else is at that moment.
    look_ups: Batcher<[u8; 32], Result<Option<store::Found>, DbErr>>,
}

/// All that is asked of a key.
pub struct Known {
    pub key: ApiKey,
    /// The secret that was presented.
    pub secret: SecretId,
    /// When that secret ends, if it was rotated out.
    pub secret_ends: Option<Timestamp>,
    /// The most that its owner may do: nothing when they are suspended or no member any more.
    pub reach: ScopeSet,
    /// What the key may do within that.
    pub scopes: ScopeSet,
    /// How often all keys of the organization together may be used in a minute.
    pub organization_per_minute: Option<u32>,
    /// What is told of it by `POST /v1/api-keys/verify`, by introspection, and to a reverse proxy, value by value.
    pub as_verified: Rendering<Arc<RawValue>>,
    pub as_introspected: Rendering<Bytes>,
    pub as_told: Rendering<Arc<[Bytes]>>,
    pub(super) recent: Mutex<Recent>,
    pub(super) memo: Memo,
    /// What it depends on, as the log names it.
    subjects: Vec<String>,
    asked_at: Mark,
    /// How much of the log was known when it was last held against it. While there is no more, it is true.
    true_at: Mutex<Mark>,
}

/// A text about a key that depends on nothing but the key and what it may do where it is used. Most keys are used at
/// one API: its text is kept.
pub struct Rendering<T>(Mutex<Option<(ScopeSet, T)>>);

impl<T: Clone> Rendering<T> {
    /// The text for these scopes, made by `render` where it is not there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn with<E>(
        &self,
        scopes: &ScopeSet,
        render: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, text)) if of == scopes => Ok(text.clone()),
            _ => {
                let text = render()?;
                *last = Some((scopes.clone(), text.clone()));
                Ok(text)
            }
        }
    }
}

impl<T> Default for Rendering<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Why nothing is known of a key.
enum Miss {
    Unknown,
    Failed(DbErr),
}

/// The database failed, for everybody who waited for the same answer.
#[derive(Debug)]
struct LookUpFailed(DbErr);

impl fmt::Display for LookUpFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API key can't be looked up")
    }
}

impl std::error::Error for LookUpFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl KnownKeys {
    /// # Panics
    /// Outside a runtime.
    pub(super) fn new(db: &Db) -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build();
        let db = db.clone();
        let look_ups = Batcher::new(move |digests| look_up(db.clone(), digests));
        Self { known, unknown: unknown_keys(), look_ups }
    }

    /// The key with this secret, as it was at the beginning of the call or later.
    ///
    /// However many ask for the same key at once, one of them reads it.
    pub(super) async fn find(
        &self,
        revocations: &Revocations,
        digest: [u8; 32],
    ) -> anyhow::Result<Option<Arc<Known>>> {
        let called_at = revocations.mark();
        for _ in 0..MOST_ATTEMPTS {
            let known = match self.known.get(&digest).await {
                Some(known) => known,
                None => {
                    // Boxed, like all that is seldom gone: it would be carried along by every call.
                    let read = self.read(revocations, digest);
                    match Box::pin(self.known.try_get_with(digest, read)).await {
                        Ok(known) => known,
                        Err(miss) => {
                            return match &*miss {
                                Miss::Unknown => Ok(None),
                                Miss::Failed(error) => Err(LookUpFailed(error.clone()).into()),
                            };
                        }
                    }
                }
            };
            if known.asked_at >= called_at || !known.is_stale(revocations) {
                return Ok(Some(known));
            }
            Box::pin(self.forget(digest, &known)).await;
        }
        anyhow::bail!("an API key changes faster than it can be read")
    }

    async fn read(&self, revocations: &Revocations, digest: [u8; 32]) -> Result<Arc<Known>, Miss> {
        if self.unknown.contains_key(&digest) {
            return Err(Miss::Unknown);
        }
        // Before it is asked for, and so before the statement begins.
        let asked_at = revocations.mark();
        let found = self.look_ups.ask(digest).await;
        match found.unwrap_or_else(|lost| Err(DbErr::Custom(lost.to_string()))) {
            Ok(Some(found)) => Ok(Arc::new(Known::new(found, asked_at))),
            Ok(None) => {
                self.unknown.insert(digest, ()).await;
                Err(Miss::Unknown)
            }
            Err(error) => Err(Miss::Failed(error)),
        }
    }

    /// Removes that very answer, not a newer one that another call may have put there meanwhile.
    async fn forget(&self, digest: [u8; 32], stale: &Arc<Known>) {
        self.known
            .entry(digest)
            .and_compute_with(|entry| {
                let same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), stale));
                std::future::ready(if same { Op::Remove } else { Op::Nop })
            })
            .await;
    }
}

fn unknown_keys() -> Cache<[u8; 32], ()> {
    Cache::builder().max_capacity(UNKNOWN_CAPACITY).time_to_live(UNKNOWN_LIFETIME).build()
}

/// One answer for each, in their order. A database that fails lets nobody in: all are told.
async fn look_up(db: Db, digests: Vec<[u8; 32]>) -> Vec<Result<Option<store::Found>, DbErr>> {
    match in_time(store::find_presented(db.reader(), digests.clone())).await {
        // None asks twice for the same at once: `try_get_with` sees to that.
        Ok(mut found) => digests.iter().map(|digest| found.remove(digest).transpose()).collect(),
        Err(error) => digests.iter().map(|_| Err(error.clone())).collect(),
    }
}

impl Known {
    fn new(found: store::Found, asked_at: Mark) -> Self {
        let store::Found { key, secret, secret_ends, reach, organization_per_minute } = found;
        let reach = reach.unwrap_or_default();
        let mut subjects = vec![
            Subject::ApiKey(key.id).to_string(),
            Subject::Organization(key.organization).to_string(),
        ];
        subjects.extend(key.owner.map(|owner| Subject::User(owner).to_string()));
        subjects.extend(key.project.map(|project| Subject::Project(project).to_string()));
        Self {
            scopes: key.scopes.intersection(&reach),
            key,
            secret,
            secret_ends,
            reach,
            organization_per_minute,
            as_verified: Rendering::default(),
            as_introspected: Rendering::default(),
            as_told: Rendering::default(),
            recent: Mutex::default(),
            memo: Memo::default(),
            subjects,
            asked_at,
            true_at: Mutex::new(asked_at),
        }
    }

    /// What it depends on, as the log names it.
    #[must_use]
    pub fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// The caller who holds it, with those of its scopes that count where it is used.
    #[must_use]
    pub fn principal(&self, scopes: ScopeSet) -> Principal {
        let key = &self.key;
        Principal::from_api_key(portcullis_verifier::ApiKey {
            id: key.id.to_string(),
            subject: key.id.to_string(),
            organization: key.organization.to_string(),
            project: key.project.map(|project| project.to_string()),
            scopes,
            creator: Some(key.created_by.to_string()),
            owner: key.owner.map(|owner| owner.to_string()),
            expires_at: self.ends().map(Timestamp::unix_seconds),
        })
    }

    fn is_stale(&self, revocations: &Revocations) -> bool {
        // The moment before the look, so that what comes during it is looked for the next time.
        let now = revocations.mark();
        let mut true_at = self.true_at.lock().unwrap_or_else(PoisonError::into_inner);
        if *true_at == now {
            return false;
        }
        if self.subjects.iter().any(|subject| revocations.changed_since(subject, self.asked_at)) {
            return true;
        }
        *true_at = now;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_for_the_same_scopes() {
        let (one, other): (ScopeSet, ScopeSet) =
            ("read:a".parse().unwrap(), "read:b".parse().unwrap());
        let rendering = Rendering::default();
        let made =
            |scopes, text: &'static str| rendering.with(scopes, || Ok::<_, ()>(text)).unwrap();
        assert_eq!(made(&one, "first"), "first");
        assert_eq!(made(&one, "second"), "first");
        assert_eq!(made(&other, "third"), "third");
        assert_eq!(rendering.with(&one, || Err(())), Err(()));
        assert_eq!(made(&other, "fourth"), "third");
    }

    #[tokio::test]
    async fn made_up_keys_do_not_grow_the_memory() {
        let unknown = unknown_keys();
        for number in 0..2 * UNKNOWN_CAPACITY {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            unknown.insert(digest, ()).await;
        }
        unknown.run_pending_tasks().await;
        assert!(unknown.entry_count() <= UNKNOWN_CAPACITY);
    }
}

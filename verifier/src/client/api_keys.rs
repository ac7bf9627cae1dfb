//! API keys: asked about once, remembered by their digest, forgotten when the feed says so.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;

use super::introspection::{Active, Introspection};
use crate::key;
use crate::principal::Principal;
use crate::rejection::{InvalidToken, Rejection, Unavailability};
use crate::revocation::{Mark, RevocationSet};

const MAX_KNOWN: u64 = 100_000;
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Kept apart from the good ones, so that made-up keys can't crowd these out.
const MAX_UNKNOWN: u64 = 10_000;
const UNKNOWN_FOR: Duration = Duration::from_secs(2);
/// How often an answer may turn out to be overtaken by the feed before the question is given up.
const MAX_ATTEMPTS: usize = 4;

/// Nothing of a key's text is kept, only its SHA-256.
pub(super) struct ApiKeys {
    introspection: Introspection,
    known: Cache<[u8; 32], Arc<Known>>,
    unknown: Cache<[u8; 32], ()>,
    /// What keys begin with that the server has imported: they have no checksum of ours.
    imported_prefixes: Vec<String>,
}

struct Known {
    answer: Active,
    principal: Principal,
    /// What the feed had brought when the question was put: whatever comes later may not be in the answer.
    asked_at: Mark,
}

impl Known {
    fn is_stale(&self, revocations: &RevocationSet) -> bool {
        let key = &self.answer.key;
        [&key.id, &key.organization]
            .into_iter()
            .chain(&key.project)
            .chain(&key.creator)
            .chain(&key.owner)
            .any(|subject| revocations.changed_since(subject, self.asked_at))
    }
}

impl ApiKeys {
    pub(super) fn new(introspection: Introspection, imported_prefixes: Vec<String>) -> ApiKeys {
        ApiKeys {
            introspection,
            imported_prefixes,
            known: Cache::builder().max_capacity(MAX_KNOWN).time_to_live(KNOWN_FOR).build(),
            unknown: Cache::builder().max_capacity(MAX_UNKNOWN).time_to_live(UNKNOWN_FOR).build(),
        }
    }

    pub(super) fn may_be_imported(&self, text: &str) -> bool {
        key::may_be_imported(text, &self.imported_prefixes)
    }

    pub(super) async fn verify(
        &self,
        text: &str,
        client_address: Option<IpAddr>,
        revocations: &RevocationSet,
        now_unix: i64,
    ) -> Result<Principal, Rejection> {
        if !key::has_valid_checksum(text) && !self.may_be_imported(text) {
            return Err(Rejection::InvalidToken(InvalidToken::Malformed));
        }
        let known = self.find(text, revocations).await?;
        if known.answer.key.expires_at.is_some_and(|end| end <= now_unix) {
            return Err(Rejection::InvalidToken(InvalidToken::Expired));
        }
        if !known.answer.may_be_used_from(client_address) {
            return Err(Rejection::InvalidToken(InvalidToken::NotAccepted));
        }
        Ok(known.principal.clone())
    }

    /// What is known of a key that hasn't been revoked, as of this call or of the last change that the feed has brought.
    async fn find(&self, text: &str, revocations: &RevocationSet) -> Result<Arc<Known>, Rejection> {
        let digest = key::digest(text);
        let called_at = revocations.mark();
        for _ in 0..MAX_ATTEMPTS {
            let question = self.ask(text, digest, revocations);
            let known = self
                .known
                .try_get_with(digest, question)
                .await
                .map_err(|rejection| (*rejection).clone())?;
            let key = &known.answer.key;
            if revocations.contains(&key.id) || revocations.contains(&key.organization) {
                return Err(Rejection::InvalidToken(InvalidToken::NotAccepted));
            }
            if known.asked_at >= called_at || !known.is_stale(revocations) {
                return Ok(known);
            }
            self.forget(digest, &known).await;
        }
        Err(Rejection::Unavailable(Unavailability::AuthorizationServer))
    }

    async fn ask(
        &self,
        text: &str,
        digest: [u8; 32],
        revocations: &RevocationSet,
    ) -> Result<Arc<Known>, Rejection> {
        if self.unknown.contains_key(&digest) {
            return Err(Rejection::InvalidToken(InvalidToken::NotAccepted));
        }
        let asked_at = revocations.mark();
        match self.introspection.ask(text).await {
            Ok(Some(answer)) => {
                let principal = Principal::from_api_key(answer.key.clone());
                Ok(Arc::new(Known { answer, principal, asked_at }))
            }
            Ok(None) => {
                self.unknown.insert(digest, ()).await;
                Err(Rejection::InvalidToken(InvalidToken::NotAccepted))
            }
            Err(_) => Err(Rejection::Unavailable(Unavailability::AuthorizationServer)),
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

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use entity::Timestamp;
use moka::sync::Cache;
use portcullis_verifier::revocation::Mark;
use portcullis_verifier::token::MAX_LENGTH;
use portcullis_verifier::{
    AccessTokenClaims, Expected, KeySet, Principal, key, verify_access_token,
};
use serde::Serialize;

use crate::revocation::Revocations;

/// At some 3 KiB each.
const CAPACITY: u64 = 10_000;

/// The access tokens that were found good lately, by their SHA-256: checking a signature is dearer than all else that is
/// done with a token.
pub struct AcceptedTokens {
    known: Cache<[u8; 32], Arc<AcceptedToken>>,
}

/// An access token of ours whose signature was found good.
pub struct AcceptedToken {
    pub claims: AccessTokenClaims,
    /// What it was verified with. Others may no longer have the key.
    keys: Arc<KeySet>,
    /// How much of the log was known when the token was last looked for in it. While there is no more, it lives.
    alive_at: Mutex<Option<Mark>>,
    principal: OnceLock<Principal>,
    introspection: OnceLock<Bytes>,
    /// What a reverse proxy is told of it, value by value.
    pub as_told: OnceLock<Arc<[Bytes]>>,
}

impl Default for AcceptedTokens {
    fn default() -> Self {
        Self { known: Cache::new(CAPACITY) }
    }
}

impl AcceptedTokens {
    /// As [`inspect`](super::inspect), but that a token which was accepted before is not verified again. Whether it lives
    /// is looked for each time.
    #[must_use]
    pub fn inspect(
        &self,
        keys: &Arc<KeySet>,
        issuer: &str,
        revocations: &Revocations,
        now: Timestamp,
        token: &str,
    ) -> Option<Arc<AcceptedToken>> {
        // An API key is looked at as a token too: it is not hashed for that.
        if token.len() > MAX_LENGTH || !token.contains('.') {
            return None;
        }
        let digest = key::digest(token);
        if let Some(known) = self.known.get(&digest) {
            if Arc::ptr_eq(&known.keys, keys) && known.lives(revocations, now) {
                return Some(known);
            }
            self.known.invalidate(&digest);
        }
        let expected = Expected { issuer, audience: None, leeway_seconds: 0 };
        let claims = verify_access_token(token, keys, &expected, now.unix_seconds()).ok()?;
        let read = Arc::new(AcceptedToken {
            claims,
            keys: keys.clone(),
            alive_at: Mutex::new(None),
            principal: OnceLock::new(),
            introspection: OnceLock::new(),
            as_told: OnceLock::new(),
        });
        if !read.lives(revocations, now) {
            return None;
        }
        self.known.insert(digest, read.clone());
        Some(read)
    }
}

impl AcceptedToken {
    /// The caller who holds it.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.principal.get_or_init(|| Principal::from_claims(self.claims.clone()))
    }

    /// The answer to whoever may ask about it (RFC 7662 §2.2). It says nothing that depends on the time.
    ///
    /// # Errors
    /// When it can't be rendered.
    pub fn introspection(&self) -> serde_json::Result<Bytes> {
        #[derive(Serialize)]
        struct Answer<'a> {
            active: bool,
            token_type: &'static str,
            #[serde(flatten)]
            claims: &'a AccessTokenClaims,
        }
        if let Some(rendered) = self.introspection.get() {
            return Ok(rendered.clone());
        }
        let answer = Answer { active: true, token_type: "Bearer", claims: &self.claims };
        let rendered = Bytes::from(serde_json::to_vec(&answer)?);
        Ok(self.introspection.get_or_init(|| rendered).clone())
    }

    fn lives(&self, revocations: &Revocations, now: Timestamp) -> bool {
        let now = now.unix_seconds();
        if now >= self.claims.exp || self.claims.nbf.is_some_and(|nbf| now < nbf) {
            return false;
        }
        // The moment before the look, so that what comes during it is looked for the next time.
        let mark = Some(revocations.mark());
        let mut alive_at = self.alive_at.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive_at != mark {
            if revocations.is_revoked(&self.claims) {
                return false;
            }
            *alive_at = mark;
        }
        true
    }
}

//! Phantom tokens: the caller has a key, the API behind the proxy gets a token, and a token serves many calls.
//!
//! What is kept is true to the revocation log, as keys in memory are: it bears the moment at which the key was asked
//! for, and whatever the log has brought since about the key, its owner, project or organization, or about the API,
//! makes it stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use entity::{ResourceServerId, SecretId, Timestamp};
use moka::future::Cache;
use moka::ops::compute::Op;
use portcullis_verifier::revocation::Mark;
use portcullis_verifier::{AccessTokenClaims, ScopeSet};
use secrecy::{ExposeSecret as _, SecretString};

use super::authority;
use crate::api_keys::Known;
use crate::platform::db::Db;
use crate::resource_servers::ResourceServer;
use crate::revocation::{Revocations, Subject};
use crate::signing::Signer;
use crate::status_lists::StatusLists;
use crate::tokens::{TokenSettings, inspect, issue};

/// A token is about a kilobyte.
const CAPACITY: u64 = 10_000;
/// What nobody asks for is forgotten.
const IDLE: Duration = Duration::from_secs(600);
/// How often what is kept may turn out to be stale before the call is given up.
const MOST_ATTEMPTS: usize = 4;

/// Everything that exchanging looks at.
pub struct Exchange<'a> {
    pub db: &'a Db,
    pub signer: &'a Signer,
    pub revocations: &'a Revocations,
    pub status_lists: &'a StatusLists,
    pub settings: &'a TokenSettings,
    pub issuer: &'a str,
    pub now: Timestamp,
    /// The log's moment before the key was asked for.
    pub asked_at: Mark,
}

/// The tokens that this process has made lately in the place of keys, by the secret that was presented and the API.
pub struct PhantomTokens(Cache<(SecretId, ResourceServerId), Arc<Phantom>>);

struct Phantom {
    token: SecretString,
    /// None of one that was dead when it was made: for a moment after its key was narrowed, none can be had.
    claims: Option<AccessTokenClaims>,
    /// When half of its life is over.
    renew_at: Timestamp,
    /// What it depends on, as the log names it.
    subjects: Vec<String>,
    asked_at: Mark,
}

impl Default for PhantomTokens {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_idle(IDLE).build())
    }
}

impl PhantomTokens {
    /// A token for the API in the place of a key that was just found good there, for these scopes: one that was made
    /// before and has at least half of its life left, else a new one. However many ask at once, one is made.
    ///
    /// # Errors
    /// When there is no key to sign with, or the database fails where the token must be written down.
    pub async fn token(
        &self,
        exchange: &Exchange<'_>,
        known: &Known,
        api: &ResourceServer,
        scopes: &ScopeSet,
    ) -> anyhow::Result<SecretString> {
        let of = (known.secret, api.id);
        let is_made_here = AtomicBool::new(false);
        for _ in 0..MOST_ATTEMPTS {
            let make = async {
                is_made_here.store(true, Ordering::Relaxed);
                make(exchange, known, api, scopes.clone()).await.map(Arc::new)
            };
            let phantom = self.0.try_get_with(of, make).await;
            let phantom = phantom.map_err(|error| anyhow!("no token can be made: {error:#}"))?;
            if is_made_here.load(Ordering::Relaxed) || phantom.is_good(exchange) {
                return Ok(phantom.token.clone());
            }
            self.forget(of, &phantom).await;
        }
        anyhow::bail!("an API key changes faster than a token can be made for it")
    }

    /// Removes that very token, not a newer one that another call may have put there meanwhile.
    async fn forget(&self, of: (SecretId, ResourceServerId), stale: &Arc<Phantom>) {
        self.0
            .entry(of)
            .and_compute_with(|entry| {
                let same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), stale));
                std::future::ready(if same { Op::Remove } else { Op::Nop })
            })
            .await;
    }
}

async fn make(
    exchange: &Exchange<'_>,
    known: &Known,
    api: &ResourceServer,
    scopes: ScopeSet,
) -> anyhow::Result<Phantom> {
    let Exchange { db, signer, revocations, settings, issuer, now, asked_at, .. } = *exchange;
    let place = exchange.status_lists.reserve(db, now, api).await?;
    let minted = issue(signer, issuer, settings, now, &authority(known, api, scopes, place), None)?;
    let response = minted.recorded(db.writer()).await?;
    let token = response.access_token().clone();
    let mut subjects = known.subjects().to_vec();
    subjects.push(Subject::ResourceServer(api.id).to_string());
    Ok(Phantom {
        claims: inspect(&signer.public_keys(), issuer, revocations, now, token.expose_secret()),
        renew_at: now + Duration::from_secs(response.expires_in()) / 2,
        token,
        subjects,
        asked_at,
    })
}

impl Phantom {
    fn is_good(&self, exchange: &Exchange<'_>) -> bool {
        let revocations = exchange.revocations;
        let is_alive = self.claims.as_ref().is_some_and(|claims| !revocations.is_revoked(claims));
        let is_true = self.asked_at >= exchange.asked_at
            || !self.subjects.iter().any(|it| revocations.changed_since(it, self.asked_at));
        is_alive && is_true && exchange.now < self.renew_at
    }
}

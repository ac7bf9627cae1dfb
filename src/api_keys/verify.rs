//! Checking what a caller presents as an API key: parse, find, decide, count, remember.

use std::sync::Arc;

use entity::Timestamp;
use portcullis_verifier::{ScopeSet, key};

use super::known::{Known, KnownKeys};
use super::uses::{Rule, Uses};
use super::{ApiKeySettings, Facts, Verdict, Wanted, decide, watch};
use crate::alerts::Alerts;
use crate::audit::Source;
use crate::platform::db::Db;
use crate::rate_limit::{KeyLimits, Standing};
use crate::revocation::Revocations;

/// The API keys as those see them who check them: in memory, true to the log, and counting.
pub struct ApiKeys {
    known: KnownKeys,
    pub(super) uses: Uses,
    pub(super) alerts: Alerts,
    settings: ApiKeySettings,
}

/// A text that somebody presents as a key.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    pub text: &'a str,
    pub wanted: Wanted<'a>,
    /// How much of its rate limit the call uses up; none where it is not limited.
    pub cost: Option<u32>,
    /// The request that asks, by whose id the owner finds a refusal again.
    pub source: &'a Source,
}

/// A checked key: what was found, and the verdict over it.
pub struct Verified {
    /// None where nothing was found; what was found may still be no business of whoever asks.
    pub known: Option<Arc<Known>>,
    pub verdict: Verdict,
    /// How its rate limit stands, where it was counted.
    pub standing: Option<Standing>,
}

impl Verified {
    /// The key, and what it is good for now.
    #[must_use]
    pub fn valid(self) -> Option<(Arc<Known>, ScopeSet)> {
        match (self.known, self.verdict) {
            (Some(known), Verdict::Valid(scopes)) => Some((known, scopes)),
            _ => None,
        }
    }
}

impl Known {
    /// When what was presented ends: the key's own expiry, or the end of the grace of a secret that was rotated out.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.key.expires_at.into_iter().chain(self.secret_ends).min()
    }
}

impl ApiKeys {
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn new(settings: &ApiKeySettings, alerts: Alerts, db: &Db) -> Self {
        let settings = settings.clone();
        Self { known: KnownKeys::new(db), uses: Uses::default(), alerts, settings }
    }

    /// Checks a key. Garbage dies at its checksum; a key that was seen within the minute costs no look-up, and any
    /// other one indexed read.
    ///
    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn verify(
        &self,
        db: &Db,
        revocations: &Revocations,
        limits: &KeyLimits,
        now: Timestamp,
        presented: &Presented<'_>,
    ) -> anyhow::Result<Verified> {
        let unknown = Verified { known: None, verdict: Verdict::Unknown, standing: None };
        if !key::has_valid_checksum(presented.text) && !self.may_be_imported(presented.text) {
            return Ok(unknown);
        }
        let digest = key::digest(presented.text);
        let Some(known) = self.known.find(revocations, digest).await? else {
            return Ok(unknown);
        };
        if known.key.is_decoy {
            Box::pin(self.ring(db, now, &known, presented)).await;
            return Ok(unknown);
        }
        let facts = Facts {
            key: &known.key,
            secret_ends: known.secret_ends,
            reach: &known.reach,
            scopes: &known.scopes,
            memo: &known.memo,
        };
        let wanted = &presented.wanted;
        let mut verdict = decide(&facts, wanted, now);
        let mut standing = None;
        // A key that is good is counted, also where it may not do what it is used for: whoever hammers is slowed down.
        let is_good = matches!(verdict, Verdict::Valid(_) | Verdict::MissingScope(_));
        if let Some(cost) = presented.cost.filter(|_| is_good && !known.scopes.is_empty()) {
            let shared = known.organization_per_minute;
            let taken = limits.take(&known.key.allowance(&self.settings, shared), cost).await;
            if taken.is_refused() {
                verdict = Verdict::RateLimited;
            }
            standing = Some(taken);
        }
        // Of what is no business of whoever asks nothing is remembered.
        if let Verdict::Valid(_) = verdict {
            self.uses.used(&known, wanted, now);
        } else if let Some(rule) = Rule::of(&verdict, &known, wanted.scope, now) {
            self.uses.refused(&known, presented, rule, now);
        }
        Ok(Verified { known: Some(known), verdict, standing })
    }

    /// Somebody uses a decoy. They are told what every stranger is, whether the alarm could be written or not.
    async fn ring(&self, db: &Db, now: Timestamp, known: &Known, presented: &Presented<'_>) {
        if !known.is_first_in_minute(now) {
            return;
        }
        // Who uses it, as far as that is known: an API that asks about it is nobody to be alarmed about.
        let address = presented.wanted.from.address().map(|address| address.to_string());
        let source = Source { address, ..presented.source.clone() };
        if let Err(error) = watch::tripped(db, &self.alerts, now, &known.key, &source).await {
            known.forget_the_minute();
            tracing::error!(%error, key = %known.key.id, "the use of a decoy can't be told of");
        }
    }

    /// Whether it is looked up although it has no checksum of ours.
    #[must_use]
    pub fn may_be_imported(&self, text: &str) -> bool {
        key::may_be_imported(text, &self.settings.imported_prefixes)
    }
}

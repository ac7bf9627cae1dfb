//! What is remembered of keys in use: when and from where, what was asked of them, and why they were refused.
//!
//! None of it is part of any answer, so none waits for the database: it is gathered here and written in batches.
//! What a crash takes along is the last second of it; of many keys that came into use at once, what had not had its turn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use entity::{ApiKeyId, OrganizationId, SecretId, Timestamp};
use ipnet::IpNet;
use portcullis_verifier::Scope;

use super::known::Known;
use super::verify::{ApiKeys, Presented};
use super::{Verdict, Wanted, store, watch};
use crate::alerts::AlertKind;
use crate::audit::{self, Actor, Event, Source};
use crate::platform::db::Db;

/// Keys whose use waits to be written; beyond that it is forgotten.
const MOST_KEYS: usize = 100_000;
/// Refusals that wait to be written; beyond that they are counted, in the log.
const MOST_REFUSALS: usize = 10_000;
/// Of one key, within a minute.
const MOST_REFUSALS_OF_ONE: u32 = 100;
/// Different scopes, or networks, of one key within a minute.
const MOST_DETAILS: usize = 50;
/// Keys, or refusals, in a transaction: the writer is everybody's.
const BATCH: usize = 200;
/// How many times as long as a transaction took no other one is begun, while there is time: what nobody waits for takes
/// a quarter of the writer at most, however many keys come into use at once.
const REST: u32 = 3;

/// What this process knows already, so that the same is not gathered with every call. Of one key in memory.
#[derive(Default)]
pub(super) struct Recent {
    minute: i64,
    from: Option<IpAddr>,
    scopes: Vec<Scope>,
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Uses {
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    keys: BTreeMap<ApiKeyId, KeyUse>,
    /// Those after it have waited longest.
    taken_to: Option<ApiKeyId>,
    refusals: Vec<Refusal>,
    /// How many refusals of each key were gathered in this minute.
    refused: HashMap<ApiKeyId, u32>,
    minute: i64,
    dropped: u64,
}

/// How a key was used since it was written down last.
pub(super) struct KeyUse {
    /// To the minute.
    pub at: Timestamp,
    pub from: Option<IpAddr>,
    pub secrets: BTreeMap<SecretId, (Timestamp, Option<IpAddr>)>,
    /// What was required of it.
    pub scopes: BTreeSet<Scope>,
    /// From where, in the size of a country.
    pub networks: BTreeSet<IpNet>,
}

/// How soon what was gathered is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// While the server has others to serve.
    Unhurried,
    /// When it is about to end.
    AtOnce,
}

struct Refusal {
    at: Timestamp,
    key: ApiKeyId,
    organization: OrganizationId,
    rule: Rule,
    required: Option<Scope>,
    source: Source,
}

/// What refused a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Revoked,
    /// Its secret was rotated out, and the grace is over.
    RotatedOut,
    Expired,
    Network,
    /// Its owner may do nothing of it any more.
    Role,
    Scope,
    /// It may do that, but not to this.
    Filter,
    Limit,
}

impl Rule {
    /// None where it was not refused, or is no business of whoever asks.
    pub(super) fn of(
        verdict: &Verdict,
        known: &Known,
        required: Option<&Scope>,
        now: Timestamp,
    ) -> Option<Self> {
        let is_filtered = |scope: &Scope| {
            required.is_some_and(|required| scope.without_filter().covers(required))
        };
        Some(match verdict {
            Verdict::Valid(_) | Verdict::Unknown => return None,
            Verdict::Revoked if known.key.revoked_at.is_none_or(|at| at > now) => Self::RotatedOut,
            Verdict::Revoked => Self::Revoked,
            Verdict::Expired => Self::Expired,
            Verdict::WrongNetwork => Self::Network,
            Verdict::MissingScope(scopes) if scopes.iter().any(is_filtered) => Self::Filter,
            Verdict::MissingScope(_) if known.scopes.is_empty() => Self::Role,
            Verdict::MissingScope(_) => Self::Scope,
            Verdict::RateLimited => Self::Limit,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::RotatedOut => "rotated_out",
            Self::Expired => "expired",
            Self::Network => "network",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::Filter => "filter",
            Self::Limit => "limit",
        }
    }
}

impl Uses {
    /// Remembers a call that was let in.
    pub(super) fn used(&self, known: &Known, wanted: &Wanted<'_>, now: Timestamp) {
        let (from, minute) = (wanted.from.address(), now.unix_seconds().div_euclid(60));
        {
            let mut recent = known.recent.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new_scope = wanted.scope.is_some_and(|scope| !recent.scopes.contains(scope));
            if recent.minute == minute && recent.from == from && !is_new_scope {
                return;
            }
            if recent.minute != minute {
                recent.scopes.clear();
            }
            recent.minute = minute;
            recent.from = from;
            if let Some(scope) = wanted.scope.filter(|_| recent.scopes.len() < MOST_DETAILS) {
                recent.scopes.push(scope.clone());
            }
        }
        let at = Timestamp(minute * 60_000);
        let mut pending = self.lock();
        if pending.keys.len() >= MOST_KEYS && !pending.keys.contains_key(&known.key.id) {
            return;
        }
        let entry = pending.keys.entry(known.key.id).or_insert_with(|| KeyUse {
            at,
            from,
            secrets: BTreeMap::new(),
            scopes: BTreeSet::new(),
            networks: BTreeSet::new(),
        });
        entry.at = entry.at.max(at);
        entry.from = from.or(entry.from);
        let (_, last_from) = entry.secrets.get(&known.secret).copied().unwrap_or((at, None));
        entry.secrets.insert(known.secret, (at, from.or(last_from)));
        if let Some(scope) = wanted.scope.filter(|_| entry.scopes.len() < MOST_DETAILS) {
            entry.scopes.insert(scope.clone());
        }
        if let Some(from) = from.filter(|_| entry.networks.len() < MOST_DETAILS) {
            entry.networks.insert(country_sized(from));
        }
    }

    /// Remembers a call that was refused, and by which rule.
    pub(super) fn refused(
        &self,
        known: &Known,
        presented: &Presented<'_>,
        rule: Rule,
        now: Timestamp,
    ) {
        let minute = now.unix_seconds().div_euclid(60);
        let mut pending = self.lock();
        if pending.minute != minute {
            pending.minute = minute;
            pending.refused.clear();
        }
        let is_crowded = pending.refusals.len() >= MOST_REFUSALS;
        let count = pending.refused.entry(known.key.id).or_default();
        if *count >= MOST_REFUSALS_OF_ONE || is_crowded {
            pending.dropped += 1;
            return;
        }
        *count += 1;
        pending.refusals.push(Refusal {
            at: now,
            key: known.key.id,
            organization: known.key.organization,
            rule,
            required: presented.wanted.scope.cloned(),
            source: Source {
                address: presented.wanted.from.address().map(|address| address.to_string()),
                user_agent: None,
                request_id: presented.source.request_id.clone(),
            },
        });
    }

    /// The next keys of those that wait, in the order of their ids.
    fn take_keys(&self) -> Vec<(ApiKeyId, KeyUse)> {
        let mut pending = self.lock();
        let after = pending.taken_to.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = |from| pending.keys.range((from, Bound::Unbounded)).map(|(id, _)| *id);
        let mut ids: Vec<ApiKeyId> = next(after).take(BATCH).collect();
        if ids.is_empty() {
            ids = next(Bound::Unbounded).take(BATCH).collect();
        }
        pending.taken_to = ids.last().copied();
        ids.iter().filter_map(|id| pending.keys.remove_entry(id)).collect()
    }

    fn take_refusals(&self) -> Vec<Refusal> {
        let mut pending = self.lock();
        if pending.dropped > 0 {
            tracing::warn!(count = pending.dropped, "refusals of API keys were not written down");
            pending.dropped = 0;
        }
        std::mem::take(&mut pending.refusals)
    }

    // No code that can panic runs under the lock, so a poisoned one still guards a sound state.
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether nobody asked this before, in this minute.
    pub(super) fn is_first_in_minute(&self, now: Timestamp) -> bool {
        let minute = now.unix_seconds().div_euclid(60);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut recent.minute, minute) != minute
    }

    pub(super) fn forget_the_minute(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).minute = 0;
    }
}

/// The /16 of an address, or the /32 of an IPv6 one: about what one country's provider has.
fn country_sized(address: IpAddr) -> IpNet {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { 16 } else { 32 };
    // No length of these is too long.
    IpNet::new(address, length).map_or_else(|_| address.into(), |network| network.trunc())
}

impl ApiKeys {
    /// Writes down what was gathered until now. What the database does not take is lost, and said so by the error.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write_uses(&self, db: &Db, pace: Pace) -> anyhow::Result<()> {
        // First, for they are few, and somebody may look for one of them.
        for batch in self.uses.take_refusals().chunks(BATCH) {
            let tx = db.begin().await?;
            for refusal in batch {
                let mut detail = serde_json::json!({ "rule": refusal.rule.as_str() });
                if let (Some(members), Some(scope)) = (detail.as_object_mut(), &refusal.required) {
                    members.insert("required".to_owned(), scope.as_str().into());
                }
                let event = Event::new("api_key.refused", refusal.key)
                    .in_organization(refusal.organization)
                    .with(detail);
                let by = refusal.source.clone().by(Actor::ApiKey(refusal.key));
                audit::record(&tx, refusal.at, &by, event).await?;
            }
            tx.commit().await?;
        }
        let mut waiting = self.uses.lock().keys.len();
        while waiting > 0 {
            let (batch, began) = (self.uses.take_keys(), Instant::now());
            if batch.is_empty() {
                break;
            }
            waiting = waiting.saturating_sub(batch.len());
            let mut raised = false;
            let tx = db.begin().await?;
            for ((id, key_use), network) in store::record_uses(&tx, &batch).await? {
                // The address used last may be of another network than the new one.
                let of_it = |it: &IpAddr| country_sized(*it).to_string() == network;
                let address = key_use.from.filter(of_it).map(|address| address.to_string());
                let detail = serde_json::json!({ "network": network });
                let source = Source { address, ..Source::default() };
                let (by, kind) = (source.by(Actor::ApiKey(*id)), AlertKind::ApiKeyNewNetwork);
                watch::raise_alert(&tx, &self.alerts, key_use.at, &by, kind, *id, detail).await?;
                raised = true;
            }
            tx.commit().await?;
            if raised {
                self.alerts.wake();
            }
            if pace == Pace::Unhurried && waiting > 0 {
                tokio::time::sleep(began.elapsed() * REST).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_in_turn_however_many_come_meanwhile() {
        let id = |at: i64| ApiKeyId::new(Timestamp(at));
        let uses = Uses::default();
        let add = |ids: &[ApiKeyId]| {
            for id in ids {
                let used = KeyUse {
                    at: Timestamp(0),
                    from: None,
                    secrets: BTreeMap::new(),
                    scopes: BTreeSet::new(),
                    networks: BTreeSet::new(),
                };
                uses.lock().keys.insert(*id, used);
            }
        };
        let taken = || uses.take_keys().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let batch = i64::try_from(BATCH).unwrap();
        let (first, last): (Vec<_>, Vec<_>) =
            ((0..batch).map(id).collect(), (batch..batch + 9).map(id).collect());
        add(&first);
        add(&last);
        assert_eq!(taken(), first);
        // What comes again waits for those that have not had their turn.
        add(&first);
        assert_eq!(taken(), last);
        assert_eq!(taken(), first);
        assert!(taken().is_empty() && taken().is_empty());
    }

    #[test]
    fn a_network_is_of_the_size_of_a_country() {
        let network = |address: &str| country_sized(address.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.0.0/16");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.0.0/16");
        assert_eq!(network("2001:db8:1:2::7"), "2001:db8::/32");
    }
}

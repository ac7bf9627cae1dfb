//! API keys that somebody found where they should not be.

use entity::Timestamp;
use portcullis_verifier::ScopeSet;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use serde_json::json;

use super::{about, decoy, store};
use crate::alerts::{AlertKind, Alerts};
use crate::api_keys::{ApiKey, Status, find};
use crate::audit::{self, By, Event};
use crate::tenancy::{LeakPolicy, Role};

/// How often a key that somebody edits at the same time is looked at again.
const TRIES: usize = 5;

/// Who found a key, and where.
#[derive(Debug, Clone, Copy)]
pub struct Leak<'a> {
    /// `github` or `possession`.
    pub reported_by: &'static str,
    /// Where it is, as far as it is known: somebody's text.
    pub url: &'a str,
    /// What kind of place that is.
    pub source: &'a str,
    /// SHA-256 of the place; a place is told of once.
    pub place: [u8; 32],
}

/// What was done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    Nothing,
    Narrowed,
    Revoked,
}

impl Remedy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Narrowed => "narrowed",
            Self::Revoked => "revoked",
        }
    }
}

/// The keys that these digests are of secrets of, as far as they are in force; each digest with its key.
///
/// # Errors
/// When the database fails.
pub async fn find_leaked(
    connection: &impl ConnectionTrait,
    digests: &[[u8; 32]],
    now: Timestamp,
) -> Result<Vec<([u8; 32], ApiKey)>, DbErr> {
    store::find_by_digests(connection, digests, now).await
}

/// Does with a leaked key what the policy says, and tells its owner: once for what is done, and once for each place
/// where nothing more is to be done. A key that has ended is left alone. The log is for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_leaked(
    tx: &DatabaseTransaction,
    alerts: &Alerts,
    now: Timestamp,
    by: &By,
    key: &ApiKey,
    policy: LeakPolicy,
    leak: Leak<'_>,
) -> Result<Remedy, DbErr> {
    if key.status(now) != Status::Active {
        return Ok(Remedy::Nothing);
    }
    if key.is_decoy {
        // It lies where it was put, and goes on watching.
        let detail =
            json!({ "reported_by": leak.reported_by, "url": leak.url, "source": leak.source });
        decoy::trip(tx, alerts, now, by, key, detail).await?;
        return Ok(Remedy::Nothing);
    }
    let is_new_place = store::insert_sighting(tx, key.id, leak.place, now).await?;
    let remedy = match policy {
        LeakPolicy::Notify => Remedy::Nothing,
        LeakPolicy::Narrow => narrow(tx, now, by, key, leak).await?,
        LeakPolicy::Revoke => revoke(tx, now, by, key, leak).await?,
    };
    if remedy != Remedy::Nothing || (is_new_place && policy != LeakPolicy::Revoke) {
        let detail = json!({
            "reported_by": leak.reported_by, "url": leak.url, "source": leak.source, "done": remedy.as_str(),
        });
        alerts.raise(tx, now, by, about(AlertKind::ApiKeyLeaked, key, detail)).await?;
    }
    Ok(remedy)
}

async fn revoke(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    key: &ApiKey,
    leak: Leak<'_>,
) -> Result<Remedy, DbErr> {
    let reason = format!("leaked, reported by {}", leak.reported_by);
    if !store::mark_revoked(tx, key.id, now, &reason).await? {
        return Ok(Remedy::Nothing);
    }
    let event = Event::new("api_key.revoked", key.id)
        .in_organization(key.organization)
        .with(json!({ "reason": reason }));
    audit::record(tx, now, by, event).await?;
    Ok(Remedy::Revoked)
}

/// Leaves a key what it may read; one that may read nothing is revoked.
async fn narrow(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    key: &ApiKey,
    leak: Leak<'_>,
) -> Result<Remedy, DbErr> {
    let mut scopes = key.scopes.clone();
    for _ in 0..TRIES {
        let left = narrowed(&scopes);
        if left.is_empty() {
            return revoke(tx, now, by, key, leak).await;
        }
        if left == scopes {
            return Ok(Remedy::Nothing);
        }
        if store::narrow(tx, key.id, &scopes, &left).await? {
            let event = Event::new("api_key.narrowed", key.id)
                .in_organization(key.organization)
                .with(json!({ "scopes": left.to_string(), "before": scopes.to_string() }));
            audit::record(tx, now, by, event).await?;
            return Ok(Remedy::Narrowed);
        }
        // Somebody edited or ended it meanwhile.
        match find(tx, None, key.id).await? {
            Some(found) if found.revoked_at.is_none() => scopes = found.scopes,
            _ => return Ok(Remedy::Nothing),
        }
    }
    Err(DbErr::Custom(format!("api_keys {}: it is edited all the time", key.id)))
}

/// What of the scopes is reading: of each, the read level of what it covers; verbs beside that ladder are dropped.
fn narrowed(scopes: &ScopeSet) -> ScopeSet {
    scopes.intersection(Role::Viewer.scopes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_reading() {
        for (scopes, left) in [
            ("write:targets/eu/* read:users", "read:targets/eu/* read:users"),
            ("admin", "read"),
            ("*", "read"),
            ("*:licenses create:invoices", "read:licenses"),
            ("admin:targets/**", "read:targets/**"),
            ("write", "read"),
            ("create:invoices ingest:events", ""),
            ("read:tenants", "read:tenants"),
        ] {
            let scopes: ScopeSet = scopes.parse().unwrap();
            let narrow = narrowed(&scopes);
            assert_eq!(narrow, left.parse().unwrap(), "{scopes}");
            assert!(scopes.covers_all(&narrow), "{scopes}: it never widens");
            assert_eq!(narrowed(&narrow), narrow, "once more changes nothing");
        }
    }
}

use portcullis_verifier::{ScopeSet, key};
use sea_orm::DbErr;

use super::{ApiKey, UsedFrom, Verdict, decide, store, watch};
use crate::alerts::Alerts;
use crate::audit::Source;
use crate::platform::db::Db;
use entity::Timestamp;

/// A checked key: what was found, and the verdict over it.
pub struct Verified {
    pub key: Option<ApiKey>,
    pub verdict: Verdict,
    /// The most that its owner may do now.
    pub reach: ScopeSet,
    /// When what was presented ends: the key's own expiry, or the end of the grace of a secret that was rotated out.
    pub ends: Option<Timestamp>,
}

/// Checks what a caller presents as an API key: parse, find, decide. Garbage dies at its checksum, without a
/// look-up; the rest costs one indexed read, and the key's owner and role are read with it.
///
/// # Errors
/// When the database fails.
pub async fn verify(
    db: &Db,
    alerts: &Alerts,
    now: Timestamp,
    presented: &str,
    from: UsedFrom,
    source: &Source,
) -> Result<Verified, DbErr> {
    let unknown =
        Verified { key: None, verdict: Verdict::Unknown, reach: ScopeSet::default(), ends: None };
    if !key::has_valid_checksum(presented) {
        return Ok(unknown);
    }
    let Some(found) = store::find_by_digest(db.reader(), key::digest(presented), now).await? else {
        return Ok(unknown);
    };
    if found.key.is_decoy {
        // Who uses it, as far as that is known: an API that asks about it is nobody to be alarmed about.
        let address = match from {
            UsedFrom::Address(address) => address.map(|address| address.to_string()),
            UsedFrom::CheckedElsewhere => None,
        };
        let source = Source { address, ..source.clone() };
        // They are told what every stranger is, whether the alarm could be written or not.
        if let Err(error) = watch::tripped(db, alerts, now, &found.key, &source).await {
            tracing::error!(%error, key = %found.key.id, "the use of a decoy can't be told of");
        }
        return Ok(unknown);
    }
    let verdict = decide(&found.key, found.reach.as_ref(), from, now);
    let ends = found.key.expires_at.into_iter().chain(found.secret_ends).min();
    let reach = found.reach.unwrap_or_default();
    Ok(Verified { key: Some(found.key), verdict, reach, ends })
}

//! Decoys: keys that lie where nobody has a reason to look. They may do nothing, and whoever tries one learns no more
//! than from a key that was never made; but the owner is told.

use std::time::Duration;

use entity::Timestamp;
use sea_orm::{DatabaseTransaction, DbErr};
use serde_json::json;

use super::{about, store};
use crate::alerts::{AlertKind, Alerts};
use crate::api_keys::{ApiKey, Status};
use crate::audit::{Actor, By, Source};
use crate::platform::db::Db;

/// While somebody goes on trying a decoy, that is told of once in this time.
const QUIET: Duration = Duration::from_secs(60 * 60);

/// Somebody used a decoy: its first use is told of before this returns, and later ones once an hour. One that was
/// revoked or has expired watches over nothing any more.
///
/// # Errors
/// When the database fails.
pub async fn tripped(
    db: &Db,
    alerts: &Alerts,
    now: Timestamp,
    key: &ApiKey,
    source: &Source,
) -> Result<bool, DbErr> {
    let is_told_of = key.last_use.as_ref().is_some_and(|last| now.since(last.at) < QUIET);
    if is_told_of || key.status(now) != Status::Active {
        return Ok(false);
    }
    let tx = db.begin().await?;
    let by = source.clone().by(Actor::Anonymous);
    let is_news = trip(&tx, alerts, now, &by, key, json!({ "address": source.address })).await?;
    if is_news {
        tx.commit().await?;
        alerts.wake();
    }
    Ok(is_news)
}

/// The same in a transaction of the caller's.
pub(super) async fn trip(
    tx: &DatabaseTransaction,
    alerts: &Alerts,
    now: Timestamp,
    by: &By,
    key: &ApiKey,
    detail: serde_json::Value,
) -> Result<bool, DbErr> {
    let from = by.source.address.as_deref();
    let is_news = store::mark_tripped(tx, key.id, now, now - QUIET, from).await?;
    if is_news {
        alerts.raise(tx, now, by, about(AlertKind::ApiKeyDecoyUsed, key, detail)).await?;
    }
    Ok(is_news)
}

use std::time::Duration;

use entity::Timestamp;
use sea_orm::DbErr;

use super::{AuditSettings, store};
use crate::platform::db::Db;

const DAY: u64 = 24 * 60 * 60;
/// A statement that removes more than this would keep other writers waiting.
const BATCH: u64 = 1000;
/// What is left after this many is for the next round.
const BATCHES: usize = 100;

/// Removes events that are older than the settings want, the oldest first; says how many.
///
/// # Errors
/// When the database fails.
pub async fn remove_old(db: &Db, now: Timestamp, settings: &AuditSettings) -> Result<u64, DbErr> {
    if settings.retention_days == 0 {
        return Ok(0);
    }
    let kept = Duration::from_secs(settings.retention_days.saturating_mul(DAY));
    let mut removed = 0;
    for _ in 0..BATCHES {
        let some = store::delete_oldest(db.writer(), now - kept, BATCH).await?;
        removed += some;
        if some < BATCH {
            break;
        }
    }
    Ok(removed)
}

//! What owners are told of their keys by the clock: that one ends in 14, 7 or 1 days, and that nobody uses one. Each is
//! told once, by one of several processes: whoever's conditional update comes first.

use std::time::Duration;

use entity::Timestamp;
use sea_orm::DbErr;
use serde_json::json;

use super::about;
use super::store::{self, Ending, Idle};
use crate::alerts::{AlertKind, Alerts};
use crate::audit::{Actor, By, Source};
use crate::platform::db::Db;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How many days before its end a key's owner is told.
const STEPS: [u32; 3] = [14, 7, 1];
const UNUSED: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A transaction that tells of more than this would keep other writers waiting.
const BATCH: u64 = 50;
/// What is left after this many is for the next round.
const BATCHES: usize = 20;

/// Tells of keys that end soon; says how many. A key that was not made to last longer than that is not told of, and one
/// whose end was put off is told of anew.
///
/// # Errors
/// When the database fails.
pub async fn tell_of_expiry(db: &Db, alerts: &Alerts, now: Timestamp) -> Result<u64, DbErr> {
    for step in STEPS {
        store::forget_told(db.writer(), step, now + DAY * step).await?;
    }
    let mut told = 0;
    // What was told of before, and from when on there is more to tell.
    for (before, step) in [(None, 14), (Some(14), 7), (Some(7), 1)] {
        for _ in 0..BATCHES {
            let until = now + DAY * step;
            let ending = store::list_ending(db.reader(), before, now, until, BATCH).await?;
            let is_last = (ending.len() as u64) < BATCH;
            if !ending.is_empty() {
                told += tell_of_ending(db, alerts, now, ending).await?;
            }
            if is_last {
                break;
            }
        }
    }
    Ok(told)
}

async fn tell_of_ending(
    db: &Db,
    alerts: &Alerts,
    now: Timestamp,
    ending: Vec<Ending>,
) -> Result<u64, DbErr> {
    let mut told = 0;
    let tx = db.begin().await?;
    for key in ending {
        let left = key.expires_at.since(now);
        let step = step(left);
        if !store::mark_told(&tx, &key, step).await? {
            continue;
        }
        let is_short_lived = key.expires_at.since(key.created_at) <= DAY * step;
        let found = crate::api_keys::find(&tx, None, key.id).await?;
        let Some(found) = found.filter(|_| !is_short_lived) else { continue };
        let detail = json!({ "days_left": days(left), "expires_at": key.expires_at });
        let alert = about(AlertKind::ApiKeyExpiring, &found, detail);
        alerts.raise(&tx, now, &by_the_clock(), alert).await?;
        told += 1;
    }
    tx.commit().await?;
    alerts.wake();
    Ok(told)
}

/// The smallest step that holds what is left.
fn step(left: Duration) -> u32 {
    STEPS.into_iter().rev().find(|step| left <= DAY * *step).unwrap_or(STEPS[0])
}

/// Rounded as people say it.
fn days(left: Duration) -> u64 {
    (left + DAY / 2).as_secs() / DAY.as_secs()
}

/// Tells of keys that nobody has used for 90 days; says how many. A key that was used again and then no more is told of
/// once more.
///
/// # Errors
/// When the database fails.
pub async fn tell_of_disuse(db: &Db, alerts: &Alerts, now: Timestamp) -> Result<u64, DbErr> {
    let mut told = 0;
    for _ in 0..BATCHES {
        let idle = store::list_idle(db.reader(), now - UNUSED, BATCH).await?;
        let is_last = (idle.len() as u64) < BATCH;
        if !idle.is_empty() {
            told += tell_of_idle(db, alerts, now, idle).await?;
        }
        if is_last {
            break;
        }
    }
    Ok(told)
}

async fn tell_of_idle(
    db: &Db,
    alerts: &Alerts,
    now: Timestamp,
    idle: Vec<Idle>,
) -> Result<u64, DbErr> {
    let mut told = 0;
    let tx = db.begin().await?;
    for key in idle {
        if !store::mark_told_of_disuse(&tx, key.id, now, now - UNUSED).await? {
            continue;
        }
        // One that has ended needs nobody's care.
        let is_over = key.expires_at.is_some_and(|end| end <= now);
        let found = crate::api_keys::find(&tx, None, key.id).await?;
        let Some(found) = found.filter(|_| !is_over) else { continue };
        let detail = json!({ "last_used_at": key.last_used_at });
        let alert = about(AlertKind::ApiKeyUnused, &found, detail);
        alerts.raise(&tx, now, &by_the_clock(), alert).await?;
        told += 1;
    }
    tx.commit().await?;
    alerts.wake();
    Ok(told)
}

fn by_the_clock() -> By {
    Source::default().by(Actor::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_belongs_to_one_step() {
        let hour = Duration::from_secs(60 * 60);
        for (left, expected, said) in [
            (DAY * 14, 14, 14),
            (DAY * 14 - hour, 14, 14),
            (DAY * 7 + hour, 14, 7),
            (DAY * 7, 7, 7),
            (DAY + hour, 7, 1),
            (DAY, 1, 1),
            (DAY - hour, 1, 1),
            (hour, 1, 0),
        ] {
            assert_eq!((step(left), days(left)), (expected, said), "{left:?}");
        }
    }
}

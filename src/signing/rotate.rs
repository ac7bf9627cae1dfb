use entity::{SigningKeyId, Timestamp};
use sea_orm::{DatabaseTransaction, DbErr};

use super::generate::{Generated, generate};
use super::{Algorithm, State, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::platform::db::Db;
use crate::platform::master_key::SealingKey;
use crate::revocation::{self, About, LONGEST_TOKEN_LIFETIME, Subject};

/// Each rotation publishes a key for a day. Whoever checks our tokens takes a set of 64 keys and no larger one, the
/// signer among them; what an algorithm gets with its first key fits in beside these.
const MOST_PUBLISHED: u64 = 32;

/// Makes sure that there is an active key for the algorithm, and an upcoming one behind it; says what it had to make.
///
/// # Errors
/// When the database fails.
pub async fn ensure_active(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
) -> anyhow::Result<Option<Rotated>> {
    if store::find_current(db.reader(), algorithm, State::Active).await?.is_some() {
        return Ok(None);
    }
    let active = generated(algorithm).await?;
    let upcoming = generated(algorithm).await?;
    let tx = db.begin().await?;
    let (id, next) = (SigningKeyId::new(now), SigningKeyId::new(now));
    // The log's lock lets one process at a time through here; the others then find the first one's key.
    revocation::append_changed(&tx, now, &[Subject::SigningKey(id).for_everybody()]).await?;
    let is_first = store::find_current(&tx, algorithm, State::Active).await?.is_none();
    if is_first {
        store::insert(&tx, now, id, &active, State::Active, sealing_key).await?;
        store::insert(&tx, now, next, &upcoming, State::Upcoming, sealing_key).await?;
        let event = Event::new("signing_key.created", id)
            .with(serde_json::json!({ "algorithm": algorithm.as_str() }));
        audit::record(&tx, now, by, event).await?;
    }
    tx.commit().await?;
    Ok(is_first.then_some(Rotated { retiring: None, active: id, upcoming: next }))
}

/// A key pair, made where nobody waits for the thread: RSA takes its time.
async fn generated(algorithm: Algorithm) -> anyhow::Result<Generated> {
    tokio::task::spawn_blocking(move || generate(algorithm)).await?
}

/// What a rotation changed.
pub struct Rotated {
    pub retiring: Option<SigningKeyId>,
    pub active: SigningKeyId,
    pub upcoming: SigningKeyId,
}

/// The upcoming key becomes active, the active one retires once its last token has expired, a new one comes up.
///
/// # Errors
/// When there is no key of this algorithm to rotate, as many are published as can be, or the database fails.
pub async fn rotate(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
) -> Result<Rotated, Refused> {
    rotate_from(db, now, by, sealing_key, algorithm, None).await
}

/// The same, but only from this key: whoever asks for it twice gets it once.
///
/// # Errors
/// `Stale` when another key is active by now; and as above.
pub async fn rotate_away_from(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
    active: SigningKeyId,
) -> Result<Rotated, Refused> {
    rotate_from(db, now, by, sealing_key, algorithm, Some(active)).await
}

async fn rotate_from(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
    expected: Option<SigningKeyId>,
) -> Result<Rotated, Refused> {
    let next = generated(algorithm).await?;
    let tx = db.begin().await?;
    // Taken first for its lock: of two rotations at once the second finds the first one's result.
    let id = SigningKeyId::new(now);
    revocation::append_changed(&tx, now, &[Subject::SigningKey(id).for_everybody()]).await?;
    let Some(upcoming) = store::find_current(&tx, algorithm, State::Upcoming).await? else {
        return Err(Refused::Conflict(format!("there is no {algorithm} key to rotate")));
    };
    let retiring = store::find_current(&tx, algorithm, State::Active).await?;
    if expected.is_some() && expected != retiring {
        return Err(Refused::Stale);
    }
    if store::count_published(&tx).await? >= MOST_PUBLISHED {
        let why = "There were many rotations within the last day; wait until a key of theirs has retired.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    if let Some(retiring) = retiring {
        store::retire(&tx, retiring, now + LONGEST_TOKEN_LIFETIME).await?;
    }
    store::activate(&tx, upcoming, now).await?;
    store::insert(&tx, now, id, &next, State::Upcoming, sealing_key).await?;
    let event = Event::new("signing_key.rotated", upcoming)
        .with(serde_json::json!({ "algorithm": algorithm.as_str(), "retiring": retiring }));
    audit::record(&tx, now, by, event).await?;
    tx.commit().await?;
    Ok(Rotated { retiring, active: upcoming, upcoming: id })
}

/// Rotates, or gives an algorithm that has no key yet its first.
///
/// # Errors
/// When as many keys are published as can be, or the database fails.
pub async fn rotate_or_begin(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
) -> Result<Rotated, Refused> {
    match ensure_active(db, now, by, sealing_key, algorithm).await? {
        Some(made) => Ok(made),
        None => rotate(db, now, by, sealing_key, algorithm).await,
    }
}

/// Takes retiring keys whose last token has expired out of the JWKS; says how many.
///
/// # Errors
/// When the database fails.
pub async fn retire_expired(tx: &DatabaseTransaction, now: Timestamp) -> Result<u64, DbErr> {
    let retired = store::retire_expired(tx, now).await?;
    let subjects: Vec<About> =
        retired.iter().map(|id| Subject::SigningKey(*id).for_everybody()).collect();
    if !subjects.is_empty() {
        revocation::append_changed(tx, now, &subjects).await?;
    }
    Ok(subjects.len() as u64)
}

use entity::{SigningKeyId, Timestamp};
use sea_orm::{DatabaseTransaction, DbErr};

use super::generate::generate;
use super::{Algorithm, State, store};
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::platform::master_key::SealingKey;
use crate::revocation::{self, LONGEST_TOKEN_LIFETIME, Subject};

/// Makes sure that there is an active key for the algorithm, and an upcoming one behind it.
///
/// # Errors
/// When the database fails.
pub async fn ensure_active(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
) -> anyhow::Result<()> {
    if store::find_current(db.reader(), algorithm, State::Active).await?.is_some() {
        return Ok(());
    }
    let active = generate(algorithm)?;
    let upcoming = generate(algorithm)?;
    let tx = db.begin().await?;
    let id = SigningKeyId::new(now);
    // The log's lock lets one process at a time through here; the others then find the first one's key.
    revocation::append_changed(&tx, now, &[Subject::SigningKey(id)]).await?;
    if store::find_current(&tx, algorithm, State::Active).await?.is_none() {
        store::insert(&tx, now, id, &active, State::Active, sealing_key).await?;
        store::insert(&tx, now, SigningKeyId::new(now), &upcoming, State::Upcoming, sealing_key)
            .await?;
        audit::record(&tx, now, by, Event::new("signing_key.created", id)).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// What a rotation changed.
pub struct Rotated {
    pub retiring: Option<SigningKeyId>,
    pub active: SigningKeyId,
}

/// The upcoming key becomes active, the active one retires once its last token has expired, a new one comes up.
///
/// # Errors
/// When the database fails, or there is no key of this algorithm to rotate.
pub async fn rotate(
    db: &Db,
    now: Timestamp,
    by: &By,
    sealing_key: &SealingKey,
    algorithm: Algorithm,
) -> anyhow::Result<Rotated> {
    let next = generate(algorithm)?;
    let tx = db.begin().await?;
    // Taken first for its lock: of two rotations at once the second finds the first one's result.
    let id = SigningKeyId::new(now);
    revocation::append_changed(&tx, now, &[Subject::SigningKey(id)]).await?;
    let Some(upcoming) = store::find_current(&tx, algorithm, State::Upcoming).await? else {
        anyhow::bail!("there is no {algorithm} key to rotate");
    };
    let retiring = store::find_current(&tx, algorithm, State::Active).await?;
    if let Some(retiring) = retiring {
        store::retire(&tx, retiring, now + LONGEST_TOKEN_LIFETIME).await?;
    }
    store::activate(&tx, upcoming, now).await?;
    store::insert(&tx, now, id, &next, State::Upcoming, sealing_key).await?;
    audit::record(&tx, now, by, Event::new("signing_key.rotated", upcoming)).await?;
    tx.commit().await?;
    Ok(Rotated { retiring, active: upcoming })
}

/// Takes retiring keys whose last token has expired out of the JWKS; says how many.
///
/// # Errors
/// When the database fails.
pub async fn retire_expired(tx: &DatabaseTransaction, now: Timestamp) -> Result<u64, DbErr> {
    let retired = store::retire_expired(tx, now).await?;
    let subjects: Vec<Subject> = retired.iter().copied().map(Subject::SigningKey).collect();
    if !subjects.is_empty() {
        revocation::append_changed(tx, now, &subjects).await?;
    }
    Ok(subjects.len() as u64)
}

use entity::Timestamp;
use portcullis_verifier::revocation::EntryKind;
use sea_orm::{DatabaseTransaction, DbErr};

use super::{LONGEST_TOKEN_LIFETIME, Subject, store};

/// Says that the subjects, and all that descends from them, are dead from the moment of the commit.
///
/// Append last in a transaction: from here on every other writer to the log waits for the commit.
///
/// # Errors
/// When the database fails.
pub async fn append_revoked(
    tx: &DatabaseTransaction,
    now: Timestamp,
    subjects: &[Subject],
) -> Result<(), DbErr> {
    store::append(tx, now, EntryKind::Revoked, subjects, now + LONGEST_TOKEN_LIFETIME).await
}

/// Says that copies of the subjects are stale.
///
/// # Errors
/// When the database fails.
pub async fn append_changed(
    tx: &DatabaseTransaction,
    now: Timestamp,
    subjects: &[Subject],
) -> Result<(), DbErr> {
    store::append(tx, now, EntryKind::Changed, subjects, now + LONGEST_TOKEN_LIFETIME).await
}

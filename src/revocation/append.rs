use entity::Timestamp;
use portcullis_verifier::revocation::EntryKind;
use sea_orm::{DatabaseTransaction, DbErr};

use super::{About, LONGEST_TOKEN_LIFETIME, store};

/// A token bears the second of its making. One that was being made while the change was committed must count as made
/// before it, also where two servers' clocks differ a little.
const BEING_MADE: i64 = 2;

/// Says that the subjects, and all that descends from them, are dead from the moment of the commit.
///
/// Append last in a transaction: from here on every other writer to the log waits for the commit.
///
/// # Errors
/// When the database fails.
pub async fn append_revoked(
    tx: &DatabaseTransaction,
    now: Timestamp,
    subjects: &[About],
) -> Result<(), DbErr> {
    let expires_at = now + LONGEST_TOKEN_LIFETIME;
    store::append(tx, now, EntryKind::Revoked, subjects, None, expires_at).await
}

/// Says that copies of the subjects are stale. Access tokens live on.
///
/// # Errors
/// When the database fails.
pub async fn append_changed(
    tx: &DatabaseTransaction,
    now: Timestamp,
    subjects: &[About],
) -> Result<(), DbErr> {
    let expires_at = now + LONGEST_TOKEN_LIFETIME;
    store::append(tx, now, EntryKind::Changed, subjects, None, expires_at).await
}

/// Says that the subjects may do less than before, perhaps: copies of them are stale, and so are the access tokens
/// that were made until now. Their clients refresh and get what is allowed now.
///
/// # Errors
/// When the database fails.
pub async fn append_narrowed(
    tx: &DatabaseTransaction,
    now: Timestamp,
    subjects: &[About],
) -> Result<(), DbErr> {
    let issued_before = Some(now.unix_seconds() + BEING_MADE);
    let expires_at = now + LONGEST_TOKEN_LIFETIME;
    store::append(tx, now, EntryKind::Changed, subjects, issued_before, expires_at).await
}

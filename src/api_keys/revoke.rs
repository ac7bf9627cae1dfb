use std::collections::BTreeSet;

use entity::{ApiKeyId, OrganizationId, Timestamp};
use sea_orm::{DatabaseTransaction, DbErr};

use super::store;
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::platform::db::Db;
use crate::revocation::{self, About, Subject};

const LONGEST_REASON: usize = 500;

/// Revokes the key of this organization (or of any) at once and for good. Revoking it again changes nothing, not even
/// the reason. False where the organization has no such key.
///
/// # Errors
/// When the reason is wrong or the database fails.
pub async fn revoke(
    db: &Db,
    now: Timestamp,
    by: &By,
    organization: Option<OrganizationId>,
    id: ApiKeyId,
    reason: Option<&str>,
) -> Result<bool, Refused> {
    let reason = checked_reason(reason)?;
    let tx = db.begin().await?;
    if revoke_in(&tx, now, by, organization, id, reason).await? {
        tx.commit().await?;
        return Ok(true);
    }
    drop(tx);
    Ok(store::find(db.reader(), organization, id).await?.is_some())
}

/// As `revoke`, within a transaction: whether this call revoked it.
///
/// # Errors
/// When the database fails.
pub async fn revoke_in(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: Option<OrganizationId>,
    id: ApiKeyId,
    reason: Option<&str>,
) -> Result<bool, DbErr> {
    let Some(organization) = store::mark_revoked(tx, organization, id, now, reason).await? else {
        return Ok(false);
    };
    audit::record(tx, now, by, revoked_event(organization, id, reason)).await?;
    revocation::append_revoked(tx, now, &[Subject::ApiKey(id).of(organization)]).await?;
    Ok(true)
}

/// As `revoke_in`, for several keys of an organization: which of them this call revoked.
///
/// # Errors
/// When the reason is wrong or the database fails.
pub async fn revoke_these(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    ids: &[ApiKeyId],
    reason: Option<&str>,
) -> Result<Vec<ApiKeyId>, Refused> {
    let reason = checked_reason(reason)?;
    // In one order, so that of two calls neither waits for the other in a circle.
    let ids: BTreeSet<ApiKeyId> = ids.iter().copied().collect();
    let mut revoked = Vec::new();
    for id in ids {
        if store::mark_revoked(tx, Some(organization), id, now, reason).await?.is_some() {
            revoked.push(id);
        }
    }
    let events = revoked.iter().map(|id| revoked_event(organization, *id, reason));
    audit::record_many(tx, now, by, events).await?;
    let subjects: Vec<About> =
        revoked.iter().map(|id| Subject::ApiKey(*id).of(organization)).collect();
    revocation::append_revoked(tx, now, &subjects).await?;
    Ok(revoked)
}

/// What is said of a key that was revoked.
pub(super) fn revoked_event(
    organization: OrganizationId,
    id: ApiKeyId,
    reason: Option<&str>,
) -> Event {
    let event = Event::new("api_key.revoked", id).in_organization(organization);
    match reason {
        Some(reason) => event.with(serde_json::json!({ "reason": reason })),
        None => event,
    }
}

/// Why somebody revokes, in their own words: up to 500 characters on one line. Nothing said is no reason.
pub(super) fn checked_reason(reason: Option<&str>) -> Result<Option<&str>, Refused> {
    let wrong = |message: &str| Refused::field("reason", message);
    if reason.is_some_and(|text| text.chars().count() > LONGEST_REASON) {
        return Err(wrong("must have at most 500 characters"));
    }
    // As it was sent: some control characters count as space.
    if reason.is_some_and(|text| text.chars().any(char::is_control)) {
        return Err(wrong("must not hold control characters"));
    }
    Ok(reason.map(str::trim).filter(|reason| !reason.is_empty()))
}

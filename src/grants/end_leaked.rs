use entity::{GrantId, Timestamp};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{Grant, store};
use crate::audit::{self, By, Event};

/// Ends the grant of a refresh token that leaked; which one that was, where this call ended it. The log is for the
/// caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_leaked(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    id: GrantId,
) -> Result<Option<Grant>, DbErr> {
    if store::mark_ended(tx, id, now).await?.is_none() {
        return Ok(None);
    }
    let Some(grant) = store::find(tx, id).await? else { return Ok(None) };
    let event = Event::new("grant.ended", id)
        .in_organization(grant.organization)
        .with(serde_json::json!({ "reason": "leaked" }));
    audit::record(tx, now, by, event).await?;
    Ok(Some(grant))
}

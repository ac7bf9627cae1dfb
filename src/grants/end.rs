use entity::{GrantId, Timestamp};

use super::store;
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::revocation;

/// Ends the grant: its refresh token is dead, and every access token that descends from it. False where there is
/// no such grant, or none any more.
///
/// `reason` goes to the audit trail: `revoked`, `code_replayed`, `refresh_token_replayed`.
///
/// # Errors
/// When the database fails.
pub async fn end(
    db: &Db,
    now: Timestamp,
    by: &By,
    grant: GrantId,
    reason: &'static str,
) -> anyhow::Result<bool> {
    let tx = db.begin().await?;
    let Some(ended) = store::mark_ended(&tx, grant, now).await? else { return Ok(false) };
    let event = Event::new("grant.ended", grant)
        .in_organization(ended.organization)
        .with(serde_json::json!({ "reason": reason }));
    audit::record(&tx, now, by, event).await?;
    revocation::append_revoked(&tx, now, &[ended.about()]).await?;
    tx.commit().await?;
    Ok(true)
}

use entity::{ClientId, Timestamp};

use super::store;
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::revocation::{self, Subject};

/// Ends the client and all that descends from it, for good. False where there is no such client, or none any more.
///
/// # Errors
/// When the database fails.
pub async fn revoke(db: &Db, now: Timestamp, by: &By, id: ClientId) -> anyhow::Result<bool> {
    let tx = db.begin().await?;
    let Some(organization) = store::mark_revoked(&tx, id, now).await? else { return Ok(false) };
    audit::record(&tx, now, by, Event::new("client.revoked", id).in_organization(organization))
        .await?;
    revocation::append_revoked(&tx, now, &[Subject::Client(id).of(organization)]).await?;
    tx.commit().await?;
    Ok(true)
}

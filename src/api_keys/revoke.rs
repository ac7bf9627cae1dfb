use entity::{ApiKeyId, OrganizationId, Timestamp};

use super::store;
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::revocation::{self, Subject};

/// Revokes the key of this organization (or of any) at once and for good. Revoking it again changes nothing. False
/// where the organization has no such key.
///
/// # Errors
/// When the database fails.
pub async fn revoke(
    db: &Db,
    now: Timestamp,
    by: &By,
    organization: Option<OrganizationId>,
    id: ApiKeyId,
) -> anyhow::Result<bool> {
    let tx = db.begin().await?;
    let Some(organization) = store::mark_revoked(&tx, organization, id, now).await? else {
        drop(tx);
        return Ok(store::find(db.reader(), organization, id).await?.is_some());
    };
    audit::record(&tx, now, by, Event::new("api_key.revoked", id).in_organization(organization))
        .await?;
    revocation::append_revoked(&tx, now, &[Subject::ApiKey(id)]).await?;
    tx.commit().await?;
    Ok(true)
}

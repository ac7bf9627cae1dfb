use entity::{OrganizationId, ResourceServerId, Timestamp};
use sea_orm::{DatabaseTransaction, DbErr};

use super::store;
use crate::audit::{self, By, Event};

/// A resource server whose credential leaked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeakedCredential {
    pub resource_server: ResourceServerId,
    pub organization: Option<OrganizationId>,
    pub name: String,
}

/// Takes the credential with this digest from its resource server, also where it is the only one; none where it is
/// nobody's. The log is for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_leaked_credential(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    digest: [u8; 32],
) -> Result<Option<LeakedCredential>, DbErr> {
    let Some(leaked) = store::remove_credential(tx, digest, now).await? else { return Ok(None) };
    let mut event = Event::new("resource_server.credential_removed", leaked.resource_server)
        .with(serde_json::json!({ "reason": "leaked" }));
    event.organization = leaked.organization;
    audit::record(tx, now, by, event).await?;
    Ok(Some(leaked))
}

use entity::{InvitationId, OrganizationId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::{Status, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;

/// Revokes an invitation of this organization (or of any): its link is dead. Once more changes nothing.
///
/// # Errors
/// When there is no such invitation, it was accepted before, or the database fails.
pub async fn revoke(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: Option<OrganizationId>,
    id: InvitationId,
) -> Result<(), Refused> {
    if let Some(organization) = store::mark_revoked(tx, now, organization, id).await? {
        let event = Event::new("invitation.revoked", id).in_organization(organization);
        return Ok(audit::record(tx, now, by, event).await?);
    }
    let found = store::find(tx, organization, id).await?.ok_or(Refused::NotFound)?;
    match found.status(now) {
        Status::Accepted => Err(Refused::Conflict(
            "It was accepted; remove the member from the organization instead.".to_owned(),
        )),
        Status::Open | Status::Revoked | Status::Expired => Ok(()),
    }
}

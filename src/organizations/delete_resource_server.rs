use entity::{OrganizationId, ResourceServerId, Timestamp};
use sea_orm::DatabaseTransaction;

use crate::audit::{self, By, Event};
use crate::grants::{self, EndedGrant};
use crate::platform::Refused;
use crate::revocation::{self, About};
use crate::{clients, resource_servers};

/// Deletes a resource server of the organization's own: its credential, what clients may ask of it, and every grant
/// for it end at once and for good.
///
/// # Errors
/// When the organization has no such resource server or may not delete it, or the database fails.
pub async fn delete_resource_server(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ResourceServerId,
) -> Result<(), Refused> {
    if !resource_servers::mark_deleted(tx, organization, id, now).await? {
        return Err(resource_servers::refusal(tx, organization, id).await?);
    }
    let clients = clients::forget_audience(tx, id).await?;
    let ended = grants::end_of_resource_server(tx, now, id).await?;
    let event = Event::new("resource_server.deleted", id)
        .in_organization(organization)
        .with(serde_json::json!({ "clients": clients, "grants_ended": ended.len() }));
    audit::record(tx, now, by, event).await?;
    // A token does not name its resource server's id, but its grant. Of the others no token is left to be killed.
    let may_have_a_token = ended.iter().filter(|grant| grant.may_have_a_token(now));
    let mut subjects = vec![About::resource_server(id)];
    subjects.extend(may_have_a_token.map(EndedGrant::about));
    Ok(revocation::append_revoked(tx, now, &subjects).await?)
}

use entity::{OrganizationId, Timestamp};
use sea_orm::DatabaseTransaction;

use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, About, Subject};
use crate::{api_keys, clients, grants, resource_servers, tenancy};

/// What ended with an organization.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed {
    pub members: u64,
    pub api_keys: u64,
    pub clients: usize,
    pub grants: u64,
    pub resource_servers: usize,
}

/// Closes an organization at once and for good, and ends all that it has. Closing it again changes nothing.
///
/// # Errors
/// When there is no such organization, it is the one that runs the installation, or the database fails.
pub async fn close_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    id: OrganizationId,
) -> Result<Closed, Refused> {
    if tenancy::find_operator(tx).await? == Some(id) {
        let why = "This organization runs the installation; without it nobody could.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    // From here on the organization's lock is ours: nobody comes in any more.
    if !tenancy::mark_organization_closed(tx, id, now).await? {
        return match tenancy::find_organization(tx, id).await? {
            Some(_) => Ok(Closed::default()),
            None => Err(Refused::NotFound),
        };
    }
    tenancy::revoke_invitations_into(tx, now, id).await?;
    let clients = clients::revoke_of_organization(tx, now, id).await?;
    let apis = resource_servers::delete_of_organization(tx, now, id).await?;
    let closed = Closed {
        members: tenancy::delete_members(tx, id).await?,
        api_keys: api_keys::revoke_of_organization(tx, now, id).await?,
        grants: grants::end_of_organization(tx, now, id).await?,
        clients: clients.len(),
        resource_servers: apis.len(),
    };
    let event = Event::new("organization.closed", id).in_organization(id).with(serde_json::json!({
        "members_removed": closed.members,
        "api_keys_revoked": closed.api_keys,
        "clients_revoked": closed.clients,
        "grants_ended": closed.grants,
        "resource_servers_deleted": closed.resource_servers,
    }));
    audit::record(tx, now, by, event).await?;
    // What descends from it dies with it. Its applications and APIs serve other organizations, too.
    let mut subjects = vec![Subject::Organization(id).of(id)];
    subjects.extend(clients.into_iter().map(|client| Subject::Client(client).of(id)));
    subjects.extend(apis.into_iter().map(About::resource_server));
    revocation::append_revoked(tx, now, &subjects).await?;
    Ok(closed)
}

use entity::{ClientId, OrganizationId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::edit::refusal;
use super::{Client, Status, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, Subject};

/// Switches a client off: it can do nothing until it is switched on, and its access tokens have ended. Once more
/// changes nothing.
///
/// # Errors
/// When the organization has no such client, it was deleted, or the database fails.
pub async fn disable(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ClientId,
) -> Result<Client, Refused> {
    let has_changed = store::mark_disabled(tx, organization, id, now).await?;
    if has_changed {
        let event = Event::new("client.disabled", id).in_organization(organization);
        audit::record(tx, now, by, event).await?;
        revocation::append_narrowed(tx, now, &[Subject::Client(id).of(organization)]).await?;
    }
    switched(tx, organization, id).await
}

/// Switches a client on again: what people have allowed it still stands, but its access tokens are to be had anew.
///
/// # Errors
/// When the organization has no such client, it was deleted, or the database fails.
pub async fn enable(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ClientId,
) -> Result<Client, Refused> {
    let has_changed = store::clear_disabled(tx, organization, id).await?;
    if has_changed {
        let event = Event::new("client.enabled", id).in_organization(organization);
        audit::record(tx, now, by, event).await?;
        revocation::append_changed(tx, now, &[Subject::Client(id).of(organization)]).await?;
    }
    switched(tx, organization, id).await
}

async fn switched(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ClientId,
) -> Result<Client, Refused> {
    match store::find_of(tx, organization, id).await? {
        Some(client) if client.status() != Status::Deleted => Ok(client),
        found => Err(refusal(found)),
    }
}

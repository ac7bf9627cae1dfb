use std::time::Duration;

use entity::{OrganizationId, ResourceServerId, Timestamp};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::create::{check_lifetime, checked_catalog, may_be_shared};
use super::{Catalog, ResourceServer, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_name};
use crate::revocation::{self, About};
use crate::signing::Algorithm;

/// What to change of a resource server; what is none stays.
pub struct ResourceServerChanges<'a> {
    pub name: Option<&'a str>,
    pub algorithm: Option<Algorithm>,
    /// Some none: as the setting says.
    pub access_token_seconds: Option<Option<u64>>,
    pub catalog: Option<Catalog>,
    pub is_shared: Option<bool>,
    pub status_list: Option<bool>,
}

/// Changes a resource server of the organization's own. What falls out of its catalog is no longer granted; access
/// tokens that have it keep it until they expire.
///
/// # Errors
/// When the organization has no such resource server or may not change it, it is not of the expected version, a field
/// is wrong, or the database fails.
pub async fn edit(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ResourceServerId,
    expected: Option<i32>,
    changes: ResourceServerChanges<'_>,
) -> Result<ResourceServer, Refused> {
    let mut errors = Vec::new();
    let name = changes.name.map(|name| checked_name("name", name, &mut errors).to_owned());
    let catalog = changes.catalog.map(|catalog| checked_catalog(catalog, &mut errors));
    check_lifetime(changes.access_token_seconds.flatten(), &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let update = store::Update {
        name,
        algorithm: changes.algorithm,
        access_token_lifetime: changes
            .access_token_seconds
            .map(|seconds| seconds.map(Duration::from_secs)),
        is_shared: changes.is_shared,
        status_list: changes.status_list,
    };
    if !store::update(tx, now, organization, id, expected, update).await? {
        return Err(refusal(tx, organization, id).await?);
    }
    if changes.is_shared.is_some() {
        may_be_shared(tx, organization, changes.is_shared).await?;
    }
    if let Some(catalog) = &catalog {
        store::replace_catalog(tx, id, catalog).await?;
    }
    let event = Event::new("resource_server.changed", id).in_organization(organization);
    audit::record(tx, now, by, event).await?;
    revocation::append_changed(tx, now, &[About::resource_server(id)]).await?;
    store::find(tx, id).await?.ok_or(Refused::NotFound)
}

/// Why a change by this organization met no resource server of its own.
///
/// # Errors
/// When the database fails.
pub async fn refusal(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: ResourceServerId,
) -> Result<Refused, Refused> {
    let found = store::find(connection, id).await?;
    Ok(match found.filter(|found| found.is_offered_to(organization)) {
        None => Refused::NotFound,
        Some(found) if found.is_management => {
            Refused::Forbidden("The management API is as the release has it.".to_owned())
        }
        Some(found) if found.organization != Some(organization) => Refused::Forbidden(
            "Only the organization that owns this resource server may change it.".to_owned(),
        ),
        Some(_) => Refused::Stale,
    })
}

use entity::{OrganizationId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::{Organization, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_name};

/// Makes an organization, in which nobody is yet.
///
/// # Errors
/// When the name is wrong or the database fails.
pub async fn create_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    name: &str,
) -> Result<Organization, Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", name, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let id = store::insert_organization(tx, now, name).await?;
    audit::record(tx, now, by, Event::new("organization.created", id).in_organization(id)).await?;
    Ok(Organization {
        id,
        name: name.to_owned(),
        created_at: now,
        closed_at: None,
        requests_per_minute: None,
        version: 1,
    })
}

/// Gives an organization another name.
///
/// # Errors
/// When there is no such organization, it is not of the expected version, the name is wrong, or the database fails.
pub async fn rename_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    id: OrganizationId,
    expected: Option<i32>,
    name: &str,
) -> Result<Organization, Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", name, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let Some(organization) = store::update_organization(tx, id, expected, name).await? else {
        let found = store::find_organization(tx, id).await?;
        let is_there = found.is_some_and(|found| found.closed_at.is_none());
        return Err(Refused::absent_or_stale(is_there));
    };
    audit::record(tx, now, by, Event::new("organization.renamed", id).in_organization(id)).await?;
    Ok(organization)
}

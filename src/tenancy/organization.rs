use entity::{OrganizationId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::{LeakPolicy, Organization, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, check_requests_per_minute, checked_name};
use crate::revocation::{self, Subject};

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
        version: 1,
        requests_per_minute: None,
        leak_policy: LeakPolicy::default(),
    })
}

/// What to change of an organization; what is none stays, and some none takes away.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrganizationChanges<'a> {
    pub name: Option<&'a str>,
    /// How often all of its API keys together may be used in a minute.
    pub requests_per_minute: Option<Option<u32>>,
    pub leak_policy: Option<LeakPolicy>,
}

/// Changes an organization.
///
/// # Errors
/// When there is no such organization, it is not of the expected version, a field is wrong, or the database fails.
pub async fn edit_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    id: OrganizationId,
    expected: Option<i32>,
    changes: OrganizationChanges<'_>,
) -> Result<Organization, Refused> {
    let mut errors = Vec::new();
    let name = changes.name.map(|name| checked_name("name", name, &mut errors));
    let requests = changes.requests_per_minute;
    check_requests_per_minute("api_key_requests_per_minute", requests.flatten(), &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let changes = OrganizationChanges { name, ..changes };
    let Some(organization) = store::update_organization(tx, id, expected, changes).await? else {
        let found = store::find_organization(tx, id).await?;
        let is_there = found.is_some_and(|found| found.closed_at.is_none());
        return Err(Refused::absent_or_stale(is_there));
    };
    if changes.name.is_some() {
        let event = Event::new("organization.renamed", id).in_organization(id);
        audit::record(tx, now, by, event).await?;
    }
    if requests.is_some() || changes.leak_policy.is_some() {
        let event =
            Event::new("organization.changed", id).in_organization(id).with(serde_json::json!({
                "api_key_requests_per_minute": organization.requests_per_minute,
                "leak_policy": organization.leak_policy,
            }));
        audit::record(tx, now, by, event).await?;
    }
    if requests.is_some() {
        revocation::append_changed(tx, now, &[Subject::Organization(id).of(id)]).await?;
    }
    Ok(organization)
}

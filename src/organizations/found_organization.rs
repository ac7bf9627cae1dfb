use entity::{Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use crate::audit::{self, By, Event};
use crate::identity;
use crate::platform::Refused;
use crate::tenancy::{self, Organization, Role};

/// Makes an organization, with its owner if one is named.
///
/// # Errors
/// When the name is wrong, the owner has no account that is in use, or the database fails.
pub async fn found_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    name: &str,
    owner: Option<UserId>,
) -> Result<Organization, Refused> {
    let organization = tenancy::create_organization(tx, now, by, name).await?;
    let Some(owner) = owner else { return Ok(organization) };
    // Under the account's lock: it is not suspended or erased meanwhile.
    if !identity::lock_active_user(tx, owner).await? {
        return Err(Refused::field("owner", "is no account that is in use"));
    }
    tenancy::insert_membership(tx, now, organization.id, owner, Role::Owner).await?;
    let event = Event::new("member.added", owner)
        .in_organization(organization.id)
        .with(serde_json::json!({ "role": Role::Owner.as_str() }));
    audit::record(tx, now, by, event).await?;
    Ok(organization)
}

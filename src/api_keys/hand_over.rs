use entity::{ApiKeyId, OrganizationId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use sea_orm::DatabaseTransaction;

use super::{ApiKey, Status, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, Subject};
use crate::tenancy;

/// Hands a key over to another member, whose role bounds it from now on, or (none) to the organization itself.
///
/// `reach` is what whoever hands it over may do: a key that was made for more must not become worth it by this.
///
/// # Errors
/// When the organization has no such key, it is dead, it reaches further than `reach`, the new owner is no member, or
/// the database fails.
pub async fn hand_over(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ApiKeyId,
    owner: Option<UserId>,
    reach: &ScopeSet,
) -> Result<ApiKey, Refused> {
    let key = store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    if key.status(now) != Status::Active {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    if !reach.covers_all(&key.scopes) {
        let why = "The key was made for more than you may do yourself.";
        return Err(Refused::Forbidden(why.to_owned()));
    }
    if let Some(owner) = owner
        && tenancy::find_membership(tx, organization, owner).await?.is_none()
    {
        return Err(Refused::field("owner", "is neither a member nor the organization"));
    }
    if !store::update_owner(tx, organization, id, owner).await? {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    let event = Event::new("api_key.handed_over", id)
        .in_organization(organization)
        .with(serde_json::json!({ "from": key.owner, "to": owner }));
    audit::record(tx, now, by, event).await?;
    revocation::append_narrowed(tx, now, &[Subject::ApiKey(id).of(organization)]).await?;
    store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)
}

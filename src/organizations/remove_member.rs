use entity::{OrganizationId, Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use super::Authority;
use crate::audit::{self, By, Event};
use crate::grants::{self, EndedGrant};
use crate::platform::Refused;
use crate::revocation::{self, About, Subject};
use crate::tenancy;

/// Takes somebody out of the organization: what they have allowed there ends for good, and the keys that they own reach
/// nothing any more. Everybody may take themselves out.
///
/// # Errors
/// When there is no such member, the authority does not reach as far as they do, they are the last owner, or the
/// database fails.
pub async fn remove_member(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    authority: Authority<'_>,
    organization: OrganizationId,
    user: UserId,
) -> Result<(), Refused> {
    if !tenancy::lock_organization(tx, organization).await? {
        return Err(Refused::NotFound);
    }
    let membership = tenancy::find_membership(tx, organization, user).await?;
    let membership = membership.ok_or(Refused::NotFound)?;
    if !authority.is_of(user) {
        let reach = authority.reach(tx, organization).await?;
        reach.check(membership.role, &membership.scopes)?;
    }
    if tenancy::is_last_owner(tx, organization, user).await? {
        let why = "This is the last owner of the organization; make somebody else an owner first.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    if !tenancy::delete_membership(tx, organization, user).await? {
        return Err(Refused::NotFound);
    }
    let ended = grants::end_of_user(tx, now, user, Some(organization)).await?;
    grants::forget_consents(tx, user, Some(organization)).await?;
    let action = if authority.is_of(user) { "member.left" } else { "member.removed" };
    let event = Event::new(action, user)
        .in_organization(organization)
        .with(serde_json::json!({ "grants_ended": ended.len() }));
    audit::record(tx, now, by, event).await?;
    let ended: Vec<About> = ended.iter().map(EndedGrant::about).collect();
    revocation::append_revoked(tx, now, &ended).await?;
    Ok(revocation::append_narrowed(tx, now, &[Subject::User(user).of(organization)]).await?)
}

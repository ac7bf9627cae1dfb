use entity::{OrganizationId, Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use super::{Member, RoleRef, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, Subject};

/// Gives a member another role, in force at the next check of whatever they have allowed or made.
///
/// Who may give which role is for the caller to know.
///
/// # Errors
/// When there is no such member, the row is not of the expected version, they are the last owner, or the database
/// fails.
pub async fn change_role(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    user: UserId,
    expected: Option<i32>,
    role: RoleRef,
) -> Result<Member, Refused> {
    // Two owners who demote one another at once: the second finds itself the last.
    store::lock_organization(tx, organization).await?;
    if !role.is_owner() && store::is_last_owner(tx, organization, user).await? {
        return Err(Refused::Conflict(
            "This is the last owner of the organization; make somebody else an owner first."
                .to_owned(),
        ));
    }
    if !store::update_membership(tx, organization, user, expected, role).await? {
        let is_there = store::find_member(tx, organization, user).await?.is_some();
        return Err(Refused::absent_or_stale(is_there));
    }
    let member = store::find_member(tx, organization, user).await?.ok_or(Refused::NotFound)?;
    let event = Event::new("member.role_changed", user)
        .in_organization(organization)
        .with(serde_json::json!({ "role": member.role }));
    audit::record(tx, now, by, event).await?;
    revocation::append_narrowed(tx, now, &[Subject::User(user).of(organization)]).await?;
    Ok(member)
}

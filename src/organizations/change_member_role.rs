use entity::{OrganizationId, Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use super::Authority;
use crate::audit::By;
use crate::platform::Refused;
use crate::tenancy::{self, Member, RoleRef};

/// Gives a member another role, where whoever does so reaches as far as the role that they have and the one that they
/// get.
///
/// # Errors
/// When there is no such member or role, the authority does not reach that far, the row is not of the expected version,
/// they are the last owner, or the database fails.
#[expect(clippy::too_many_arguments, reason = "who, when, where, whom, and what of it")]
pub async fn change_member_role(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    authority: Authority<'_>,
    organization: OrganizationId,
    user: UserId,
    expected: Option<i32>,
    role: RoleRef,
) -> Result<Member, Refused> {
    if !tenancy::lock_organization(tx, organization).await? {
        return Err(Refused::NotFound);
    }
    let reach = authority.reach(tx, organization).await?;
    let membership = tenancy::find_membership(tx, organization, user).await?;
    let membership = membership.ok_or(Refused::NotFound)?;
    let scopes = tenancy::scopes_of_role(tx, organization, role).await?;
    let scopes = scopes.ok_or_else(|| Refused::field("role", "is no role of the organization"))?;
    reach.check(membership.role, &membership.scopes)?;
    reach.check(role, &scopes)?;
    tenancy::change_role(tx, now, by, organization, user, expected, role).await
}

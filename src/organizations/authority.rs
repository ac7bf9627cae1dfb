use entity::{OrganizationId, UserId};
use portcullis_verifier::ScopeSet;
use sea_orm::DatabaseTransaction;

use crate::platform::Refused;
use crate::tenancy::{self, Membership, Role, RoleRef};

/// On whose authority an organization's people change.
#[derive(Debug, Clone, Copy)]
pub enum Authority<'a> {
    /// Somebody with a shell on the machine.
    Operator,
    /// A credential: the person behind it, if there is one, and how far it reaches.
    Caller { user: Option<UserId>, scopes: &'a ScopeSet },
}

/// What an authority is worth now.
pub(super) struct Reach {
    scopes: ScopeSet,
    is_owner: bool,
}

impl Authority<'_> {
    pub(super) fn is_of(self, somebody: UserId) -> bool {
        matches!(self, Self::Caller { user: Some(user), .. } if user == somebody)
    }

    /// Asked under the organization's lock: whoever was demoted a moment ago has no more to say than their role now.
    pub(super) async fn reach(
        self,
        tx: &DatabaseTransaction,
        organization: OrganizationId,
    ) -> Result<Reach, Refused> {
        let (user, scopes) = match self {
            Self::Operator => {
                return Ok(Reach { scopes: Role::Owner.scopes().clone(), is_owner: true });
            }
            Self::Caller { user: None, scopes } => {
                return Ok(Reach { scopes: scopes.clone(), is_owner: false });
            }
            Self::Caller { user: Some(user), scopes } => (user, scopes),
        };
        let membership = tenancy::find_membership(tx, organization, user).await?;
        let membership = membership.ok_or_else(|| {
            Refused::Forbidden("You are no member of the organization any more.".to_owned())
        })?;
        let has_everything = scopes.covers_all(Role::Owner.scopes());
        Ok(Reach {
            scopes: scopes.intersection(&membership.scopes),
            is_owner: membership.role.is_owner() && has_everything,
        })
    }
}

/// Whether a member by themselves may give this role, or take it away: what a page offers them. The verbs ask anew.
#[must_use]
pub fn may_give(giver: &Membership, role: RoleRef, scopes: &ScopeSet) -> bool {
    let is_owner = giver.role.is_owner();
    Reach { scopes: giver.scopes.clone(), is_owner }.check(role, scopes).is_ok()
}

impl Reach {
    /// Whether somebody who reaches this far may give this role, or take it away.
    pub(super) fn check(&self, role: RoleRef, scopes: &ScopeSet) -> Result<(), Refused> {
        if role.is_owner() && !self.is_owner {
            let why = "Only an owner makes somebody an owner, and only an owner ends it.";
            return Err(Refused::Forbidden(why.to_owned()));
        }
        if !self.scopes.covers_all(scopes) {
            let why = "The role allows more than you may do yourself.";
            return Err(Refused::Forbidden(why.to_owned()));
        }
        Ok(())
    }
}

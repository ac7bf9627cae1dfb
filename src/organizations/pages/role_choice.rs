//! Roles to choose from: with what each means to whoever gives it.

use entity::OrganizationId;
use sea_orm::DbErr;

use super::super::may_give;
use crate::app::App;
use crate::tenancy::{self, Membership, OwnRole, Role, RoleRef};

/// More of an organization's own roles than this are no choice any more.
const MOST_OWN_ROLES: u64 = 200;
/// How many scopes say what a role means before the others are only counted.
const SHOWN_SCOPES: usize = 6;

/// A role that can be chosen.
pub struct RoleChoice {
    /// What the verbs read.
    pub value: String,
    pub name: String,
    pub meaning: String,
}

impl From<Role> for RoleChoice {
    fn from(role: Role) -> Self {
        Self {
            value: role.to_string(),
            name: title(role).to_owned(),
            meaning: meaning(role).to_owned(),
        }
    }
}

impl From<OwnRole> for RoleChoice {
    fn from(role: OwnRole) -> Self {
        let shown: Vec<&str> =
            role.scopes.iter().take(SHOWN_SCOPES).map(|scope| scope.as_str()).collect();
        let more = match role.scopes.len().saturating_sub(SHOWN_SCOPES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Self {
            value: role.id.to_string(),
            name: role.name,
            meaning: format!("{}{more}", shown.join(", ")),
        }
    }
}

/// What a built-in role is called on pages.
pub(super) fn title(role: Role) -> &'static str {
    match role {
        Role::Owner => "Owner",
        Role::Admin => "Admin",
        Role::Member => "Member",
        Role::Viewer => "Viewer",
    }
}

/// What a built-in role means, in a sentence.
pub(super) fn meaning(role: Role) -> &'static str {
    match role {
        Role::Owner => "Does everything, and alone makes and demotes owners. One always stays.",
        Role::Admin => "Does everything but make and demote owners.",
        Role::Member => {
            "Sees and changes things, but nothing that needs an admin, such as members and roles."
        }
        Role::Viewer => "Sees things, and changes nothing.",
    }
}

/// Every role that the organization has.
///
/// # Errors
/// When the database fails.
pub async fn role_options(
    app: &App,
    organization: OrganizationId,
) -> Result<Vec<RoleChoice>, DbErr> {
    let own = tenancy::list_roles(app.db.reader(), organization, None, MOST_OWN_ROLES).await?;
    let built_in = Role::ALL.into_iter().map(RoleChoice::from);
    Ok(built_in.chain(own.into_iter().map(RoleChoice::from)).collect())
}

/// The roles that this member may give to others.
///
/// # Errors
/// When the database fails.
pub async fn role_choices(app: &App, giver: &Membership) -> Result<Vec<RoleChoice>, DbErr> {
    let reader = app.db.reader();
    let own = tenancy::list_roles(reader, giver.organization, None, MOST_OWN_ROLES).await?;
    let own = own.into_iter().filter(|role| may_give(giver, RoleRef::Own(role.id), &role.scopes));
    let is_givable = |role: &Role| may_give(giver, (*role).into(), role.scopes());
    let built_in = Role::ALL.into_iter().filter(is_givable).map(RoleChoice::from);
    Ok(built_in.chain(own.map(RoleChoice::from)).collect())
}

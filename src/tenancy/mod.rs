//! Organizations, their projects, and who is in them with which role.
//!
//! Owns: the tenant boundary, projects, memberships, and what a role allows. Does not own: people's accounts
//! (identity), how people come (invitations) and go (departures).

mod membership;
mod organization;
mod project;
mod role;
mod store;

use entity::{OrganizationId, ProjectId, RoleId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;

pub use membership::change_role;
pub use organization::{create_organization, rename_organization};
pub use project::{NewProject, ProjectChanges, create_project, edit_project};
pub use role::{
    NewRole, Role, RoleChanges, RoleRef, create_role, delete_role, edit_role, scopes_of_role,
};
pub use store::{
    ListMembers, delete_members, delete_membership, delete_memberships, erase_invitations_to,
    find_leak_policy, find_member, find_membership, find_operator, find_organization,
    find_organization_by_name, find_project, find_reach, find_role, first_member, hold_project,
    insert_membership, insert_organization, is_closed, is_last_owner, list_members,
    list_memberships, list_organizations, list_projects, list_roles, lock_organization,
    mark_organization_closed, mark_project_deleted, revoke_invitations_into, set_operator,
    sole_ownerships,
};

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    pub created_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub version: i32,
}

/// What is done with an API key of the organization that leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakPolicy {
    /// Its owner is told.
    Notify,
    /// It may only read from now on, and its owner is told.
    Narrow,
    /// It is revoked, and its owner is told.
    Revoke,
}

impl LeakPolicy {
    pub const ALL: [Self; 3] = [Self::Notify, Self::Narrow, Self::Revoke];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Narrow => "narrow",
            Self::Revoke => "revoke",
        }
    }
}

impl std::str::FromStr for LeakPolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| "a leak policy is one of notify, narrow, revoke".to_owned())
    }
}

/// A project of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub organization: OrganizationId,
    pub name: String,
    pub description: String,
    pub created_at: Timestamp,
    pub version: i32,
}

/// A role that an organization has made for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRole {
    pub id: RoleId,
    pub organization: OrganizationId,
    pub name: String,
    pub scopes: ScopeSet,
    pub created_at: Timestamp,
    pub version: i32,
}

/// An organization that a user belongs to, and what they may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub organization: OrganizationId,
    pub organization_name: String,
    pub role: RoleRef,
    /// What the role is called.
    pub role_name: String,
    /// The most that the user may allow or do there now.
    pub scopes: ScopeSet,
}

/// Somebody in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    pub email: String,
    pub name: String,
    pub role: RoleRef,
    pub role_name: String,
    pub joined_at: Timestamp,
    pub suspended_at: Option<Timestamp>,
    pub version: i32,
}

//! Organizations, their projects, and who is in them with which role.
//!
//! Owns: the tenant boundary, projects, memberships, and what a role allows. Does not own: people's accounts
//! (identity), how people come (invitations) and go (departures).

mod membership;
mod organization;
mod project;
mod role;
mod store;

use std::str::FromStr;

use entity::{OrganizationId, ProjectId, RoleId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use membership::change_role;
pub use organization::{OrganizationChanges, create_organization, edit_organization};
pub use project::{NewProject, ProjectChanges, create_project, edit_project};
pub use role::{
    NewRole, Role, RoleChanges, RoleRef, create_role, delete_role, edit_role, scopes_of_role,
};
pub use store::{
    ListMembers, MemberRole, OwnRoles, count_members_by_role, delete_members, delete_membership,
    delete_memberships, erase_invitations_to, find_leak_policy, find_member, find_membership,
    find_operator, find_organization, find_organization_by_name, find_project, find_role,
    first_member, hold_project, insert_membership, insert_organization, is_closed, is_last_owner,
    list_members, list_memberships, list_organizations, list_projects, list_roles,
    lock_organization, mark_organization_closed, mark_project_deleted, members_among, own_roles_of,
    project_names, revoke_invitations_into, set_operator, sole_ownerships,
};

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    pub created_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub version: i32,
    /// How often all of its API keys together may be used in a minute; none for as often as each may.
    pub requests_per_minute: Option<u32>,
    pub leak_policy: LeakPolicy,
}

/// What an organization wants done with an API key of its that leaked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeakPolicy {
    /// Tell the owner.
    #[default]
    Notify,
    /// Leave it nothing but reading, and tell the owner.
    Narrow,
    /// Revoke it, and tell the owner.
    Revoke,
}

impl LeakPolicy {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Narrow => "narrow",
            Self::Revoke => "revoke",
        }
    }
}

/// A text that is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPolicy;

impl FromStr for LeakPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let all = [Self::Notify, Self::Narrow, Self::Revoke];
        all.into_iter().find(|policy| policy.as_str() == text).ok_or(UnknownPolicy)
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

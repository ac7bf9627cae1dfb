//! Organizations, and who is in them with which role.
//!
//! Owns: the tenant boundary and what a role allows. Does not own: people's accounts (identity).

mod role;
mod store;

use entity::OrganizationId;

pub use role::Role;
pub use store::{
    find_membership, find_organization_by_name, first_member, insert_membership,
    insert_organization, list_memberships,
};

/// An organization that a user belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub organization: OrganizationId,
    pub organization_name: String,
    pub role: Role,
}

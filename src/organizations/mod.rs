//! Administering organizations: what spans several rooms, and the faces of tenancy.
//!
//! Owns: `/v1/organizations`, `/v1/projects`, `/v1/roles`, `/v1/members`, `/v1/users`, and the ends that reach into
//! other rooms: a project's, a resource server's, a membership's, an account's, an organization's. Does not own: the rows (tenancy,
//! identity), or what descends from them (grants, api_keys, clients).

pub mod api;
mod authority;
mod change_member_role;
mod close_organization;
mod delete_project;
mod end_subtree;
mod erase_user;
mod found_organization;
pub mod pages;
mod remove_member;
mod suspend_user;
mod delete_resource_server;

pub use authority::{Authority, may_give};
pub use change_member_role::change_member_role;
pub use close_organization::{Closed, close_organization};
pub use delete_project::delete_project;
pub use delete_resource_server::delete_resource_server;
pub use end_subtree::{Root, Subtree, count_subtree, end_subtree};
pub use erase_user::erase_user;
pub use found_organization::found_organization;
pub use remove_member::remove_member;
pub use suspend_user::{resume_user, suspend_user};

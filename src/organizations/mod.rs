//! Administering organizations: what spans several rooms, and the faces of tenancy.
//!
//! Owns: `/v1/organizations`, `/v1/projects`, `/v1/roles`, `/v1/members`, `/v1/users`, and the ends that reach into
//! other rooms: a project's, a resource server's, a membership's, an account's, an organization's. Does not own: the rows (tenancy,
//! identity), or what descends from them (grants, api_keys, clients).

pub mod api;
mod delete_project;
mod delete_resource_server;

pub use delete_project::delete_project;
pub use delete_resource_server::delete_resource_server;

//! The pages about an organization.

pub mod members;
mod offered_scopes;
pub mod projects;
mod role_choice;
pub mod roles;
pub mod settings;

pub use role_choice::{RoleChoice, role_choices, role_options};

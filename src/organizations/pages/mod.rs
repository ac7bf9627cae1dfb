//! The pages about an organization.

pub mod projects;

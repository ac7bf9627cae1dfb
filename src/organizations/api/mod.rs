//! The management API over organizations and what is in them.

pub mod members;
pub mod organizations;
pub mod projects;
pub mod revocations;
pub mod roles;
pub mod users;

//! The management API over organizations and what is in them.

pub mod projects;

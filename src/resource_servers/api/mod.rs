//! The management API over the APIs that accept our credentials, and over what they offer.

pub mod resource_servers;
pub mod scopes;

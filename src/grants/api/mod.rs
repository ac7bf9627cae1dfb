//! The management API over what was allowed: by an organization's members, and by the person who asks.

pub mod connected_apps;
pub mod grants;
pub mod me;

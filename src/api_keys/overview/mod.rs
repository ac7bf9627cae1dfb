//! The keys of an organization as people look through them: in several orders, any page of them, and how many there
//! are in all.

mod store;

use entity::{OrganizationId, ProjectId};

use super::{ApiKey, Status};

pub use store::overview;

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Newest,
    Oldest,
    Name,
    /// Those that were never used come last.
    LastUsed,
    /// Those that end soonest come first, those that never do last.
    Expiry,
}

/// Which keys, and which page of them.
#[derive(Debug, Clone, Copy)]
pub struct Overview<'a> {
    pub organization: OrganizationId,
    pub project: Option<ProjectId>,
    pub status: Option<Status>,
    /// What the name contains, in whatever case.
    pub name: Option<&'a str>,
    /// Whether whoever looks may know of decoys.
    pub include_decoys: bool,
    pub order: Order,
    /// As many are on pages before.
    pub skip: u64,
    pub limit: u64,
}

/// A page of keys.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub keys: Vec<ApiKey>,
    /// How many there are on all pages; not known, and 0, beyond the last.
    pub total: u64,
}

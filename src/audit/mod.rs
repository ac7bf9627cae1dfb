//! Who did what to what, and from where. An event is written in the transaction of the change that it tells of, so
//! that there is neither a change without a trace nor a trace without a change. It never holds a secret.
//!
//! Nothing changes an event. Once it is older than the settings want, it is removed.

pub mod api;
mod export;
pub mod pages;
mod retention;
mod store;

use std::fmt;

use entity::{ApiKeyId, AuditEventId, ClientId, OrganizationId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

pub use export::Export;
pub use retention::remove_old;
pub use store::{list, record, record_each, record_many};

/// The `[audit]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// How many days an event is kept; 0: for ever.
    pub retention_days: u64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        // A year, and time enough to look back at it.
        Self { retention_days: 400 }
    }
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    User(UserId),
    Client(ClientId),
    ApiKey(ApiKeyId),
    /// Somebody with a shell on the machine.
    Operator,
    /// The server itself, by the clock.
    System,
    /// Nobody that we know.
    Anonymous,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Client(id) => id.fmt(f),
            Self::ApiKey(id) => id.fmt(f),
            Self::Operator => f.write_str("operator"),
            Self::System => f.write_str("system"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

impl Source {
    /// This source, with somebody acting from it.
    #[must_use]
    pub fn by(self, actor: Actor) -> By {
        By { actor, source: self }
    }
}

/// Who acts, and from where.
#[derive(Debug, Clone)]
pub struct By {
    pub actor: Actor,
    pub source: Source,
}

impl By {
    /// The command line on the server itself.
    #[must_use]
    pub fn operator() -> Self {
        Source::default().by(Actor::Operator)
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Such as `api_key.created`.
    pub action: &'static str,
    /// The prefixed id of what it was done to.
    pub target: Option<String>,
    pub organization: Option<OrganizationId>,
    /// Further facts, as a JSON object.
    pub detail: Option<serde_json::Value>,
}

impl Event {
    pub fn new(action: &'static str, target: impl fmt::Display) -> Self {
        Self { action, target: Some(target.to_string()), organization: None, detail: None }
    }

    #[must_use]
    pub fn in_organization(mut self, organization: OrganizationId) -> Self {
        self.organization = Some(organization);
        self
    }

    #[must_use]
    pub fn with(mut self, detail: serde_json::Value) -> Self {
        self.detail = Some(detail);
        self
    }
}

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub id: AuditEventId,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub target: Option<String>,
    pub organization: Option<OrganizationId>,
    pub source: Source,
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Everybody,
    Organization(OrganizationId),
    /// The organization that runs the installation, to which the events of no organization belong as well.
    Operator(OrganizationId),
}

impl Of {
    /// What the people of an organization see, which may be the one that runs the installation.
    #[must_use]
    pub fn visible_to(organization: OrganizationId, is_operator: bool) -> Self {
        match is_operator {
            true => Self::Operator(organization),
            false => Self::Organization(organization),
        }
    }
}

/// Which events; what is none does not matter.
#[derive(Debug, Clone)]
pub struct Which {
    pub of: Of,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
    /// Of the request with this id.
    pub request_id: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// Which way to read, and after which event to go on.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    NewestFirst { before: Option<AuditEventId> },
    OldestFirst { after: Option<AuditEventId> },
}

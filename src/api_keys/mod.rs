//! API keys: long-lived secrets for scripts, under the same scopes and the same log as OAuth tokens.
//!
//! Owns: issuing, checking, listing and revoking keys. The format is the verifier's (`portcullis_verifier::key`).

pub mod api;
mod decide;
mod hand_over;
mod labels;
mod networks;
mod issue;
mod revoke;
mod rotate;
mod store;
mod verify;
mod watch;

use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use serde::{Deserialize, Serialize};

pub use decide::{UsedFrom, Verdict, decide};
pub use hand_over::hand_over;
pub use issue::{NewApiKey, issue};
pub use labels::Labels;
pub use networks::AllowedNetworks;
pub use revoke::revoke;
pub use rotate::{NewSecret, rotate};
pub use store::{ListApiKeys, find, list, revoke_of_organization, revoke_of_project};
pub use verify::{Verified, verify};
pub use watch::{
    Leak, Remedy, end_leaked, find_leaked, raise_alert, tell_of_disuse, tell_of_expiry, tripped,
};

/// The `[api_keys]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeySettings {
    /// The words that may stand between the brand and the random part; the first is the default. An empty word
    /// leaves the part out.
    pub environments: Vec<String>,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self { environments: vec!["live".to_owned(), "test".to_owned()] }
    }
}

/// An API key, without its secret.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub organization: OrganizationId,
    /// The project that it is confined to.
    pub project: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub scopes: ScopeSet,
    pub allowed_networks: AllowedNetworks,
    pub environment: String,
    pub created_by: UserId,
    /// Whose role bounds it; none when it belongs to the organization itself.
    pub owner: Option<UserId>,
    pub version: i32,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// The first 12 and the last 4 characters of the newest secret, for people to recognise it by.
    pub start: String,
    pub end: String,
    /// Until when the secret before works too, where there is one.
    pub rotating_until: Option<Timestamp>,
    /// Why it was revoked, in the words of whoever did it.
    pub revoked_reason: Option<String>,
    /// What its secrets begin with, where that is not the installation's first brand.
    pub brand: Option<String>,
    /// How often it may be used; none for what is usual.
    pub requests_per_minute: Option<u32>,
    /// It may do nothing, and its use is an alarm.
    pub is_decoy: bool,
    pub last_use: Option<Use>,
    /// When the secret before the newest was used last, while it still works.
    pub older_secret_use: Option<Use>,
}

/// When and from where a key was used last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// To the minute.
    pub at: Timestamp,
    /// The caller's address, where it is known.
    pub from: Option<String>,
}

/// What a key is at a moment: derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ApiKeyStatus)]
pub enum Status {
    Active,
    Expired,
    Revoked,
}

impl ApiKey {
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => Status::Revoked,
            (None, Some(end)) if end <= now => Status::Expired,
            (None, _) => Status::Active,
        }
    }
}

//! API keys: long-lived secrets for scripts, under the same scopes and the same log as OAuth tokens.
//!
//! Owns: issuing, checking, listing and revoking keys. The format is the verifier's (`portcullis_verifier::key`).

pub mod api;
pub mod pages;
mod decide;
mod edit;
mod hand_over;
mod import;
mod labels;
mod networks;
mod issue;
mod known;
mod overview;
mod revoke;
mod revoke_many;
mod rotate;
mod scopes;
mod store;
mod uses;
mod verify;
mod watch;

use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use serde::{Deserialize, Serialize};

use crate::platform::FieldError;
use crate::rate_limit::Allowance;

pub use decide::{Asker, Facts, Memo, UsedFrom, Verdict, Wanted, decide};
pub use edit::{ApiKeyChanges, Edited, LostNetwork, ScopeUse, edit, try_edit};
pub use hand_over::hand_over;
pub use import::{Import, ImportedKey, import};
pub use issue::{NewApiKey, issue};
pub use known::Known;
pub use labels::Labels;
pub use networks::{AllowedNetworks, Extent};
pub use overview::{Order, Overview, Page, overview};
pub use revoke::{revoke, revoke_in, revoke_these};
pub use revoke_many::{
    Criteria, RevokedMany, count_all_but, revoke_all_but, revoke_many, would_revoke,
};
pub use rotate::{NewSecret, rotate};
pub use store::{ListApiKeys, find, list, names_of, revoke_of_organization, revoke_of_project};
pub use uses::Pace;
pub use verify::{ApiKeys, Presented, Verified};
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
    /// What keys of another system that were imported begin with. Their checksum is not ours, so what begins like this
    /// is looked up whatever its checksum.
    pub imported_prefixes: Vec<String>,
    /// How often a key may be used, where nothing else is said of it.
    pub requests_per_minute: u32,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self {
            environments: vec!["live".to_owned(), "test".to_owned()],
            imported_prefixes: Vec::new(),
            requests_per_minute: 120,
        }
    }
}

impl ApiKeySettings {
    /// # Errors
    /// The sentence that says which setting is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.environments.is_empty() {
            return Err("api_keys.environments must hold at least one word".to_owned());
        }
        if self.requests_per_minute == 0 {
            return Err("api_keys.requests_per_minute must be at least 1".to_owned());
        }
        match self.imported_prefixes.iter().find(|prefix| !import::is_prefix(prefix)) {
            Some(prefix) => Err(format!(
                "api_keys.imported_prefixes holds `{prefix}`; each must have 3 to 32 letters, digits, `-`, `_` or `.`"
            )),
            None => Ok(()),
        }
    }

    /// The environment that is wanted, or the first.
    fn checked_environment<'a>(
        &'a self,
        wanted: Option<&'a str>,
        errors: &mut Vec<FieldError>,
    ) -> &'a str {
        let first = self.environments.first().map(String::as_str).unwrap_or_default();
        let environment = wanted.unwrap_or(first);
        if !self.environments.iter().any(|known| known == environment) {
            let message = format!("must be one of: {}", self.environments.join(", "));
            errors.push(FieldError::new("environment", message));
        }
        environment
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
    /// What its secrets begin with; none for the installation's first brand.
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
    /// How often it may be used; `shared` is what all keys of its organization may be used together, if that is limited.
    #[must_use]
    pub fn allowance(&self, settings: &ApiKeySettings, shared: Option<u32>) -> Allowance {
        Allowance {
            key: self.id,
            per_minute: self.requests_per_minute.unwrap_or(settings.requests_per_minute),
            organization: shared.map(|per_minute| (self.organization, per_minute)),
        }
    }

    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => Status::Revoked,
            (None, Some(end)) if end <= now => Status::Expired,
            (None, _) => Status::Active,
        }
    }
}

//! Credentials that somebody found where they should not be: reported by whoever holds them, or by GitHub's secret
//! scanning.
//!
//! Owns: how reports are taken and worked on, and GitHub's keys and protocol. Does not own: what becomes of a credential,
//! which is its own room's affair (API keys, clients, grants, resource servers), or how owners are told (alerts).

pub mod api;
mod github;
mod report;
mod scanned;
mod store;
mod work;

use std::sync::Arc;

use entity::{ClientId, GrantId, OrganizationId, TokenId, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::platform::fetch;

pub use github::GithubKeys;
pub use report::{accept, recognized};
pub use scanned::{Finding, Label, Labelled, end_found};
pub use work::work;

/// The `[secret_scanning]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretScanningSettings {
    /// Whether GitHub, as a partner of its secret scanning, may report keys.
    pub github: bool,
    /// Where GitHub's public keys are.
    pub github_keys_url: String,
}

impl Default for SecretScanningSettings {
    fn default() -> Self {
        Self {
            github: false,
            github_keys_url: "https://api.github.com/meta/public_keys/secret_scanning".to_owned(),
        }
    }
}

impl SecretScanningSettings {
    /// # Errors
    /// The sentence that says which setting is wrong.
    pub fn check(&self) -> Result<(), String> {
        fetch::checked_url("secret_scanning.github_keys_url", &self.github_keys_url).map(|_| ())
    }
}

/// What a report holds, once it was recognized: nothing that is a credential itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// SHA-256 of what has the form and checksum of an API key or a secret, in base64url.
    digests: Vec<String>,
    /// Grants of refresh tokens that we made.
    grants: Vec<GrantId>,
    access_tokens: Vec<ReportedToken>,
}

/// An access token that we signed and that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReportedToken {
    token: TokenId,
    organization: Option<OrganizationId>,
    user: Option<UserId>,
    client: Option<ClientId>,
}

/// The bell that calls for work on reports. Cheap to clone.
#[derive(Clone, Default)]
pub struct Reports(Arc<Notify>);

impl Reports {
    /// Has what was reported worked on at once. What is forgotten here is found a second later.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

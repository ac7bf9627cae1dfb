//! Alerts: what the owner of a credential is told without having asked, by mail, and the company's own systems by a
//! webhook.
//!
//! Owns: who is told, the letters, the webhook's form and signature, and the delivery. An alert is written in the
//! transaction of what it tells of, together with the audit event, and delivered afterwards, at least once.
//! Does not own: what is worth an alert. Whoever finds that raises it.
//!
//! No alert holds the secret of a credential; a key is recognised by its first and last characters.

mod deliver;
mod letter;
mod raise;
mod store;
mod webhook;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use entity::{OrganizationId, Timestamp, UserId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use url::Url;

use crate::platform::mail::{Mailer, as_written};
use webhook::Webhook;

pub use deliver::deliver;
pub use store::forget_old;

/// The `[webhook]` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// Where alerts are posted to; empty for nowhere.
    pub url: String,
    /// `whsec_` and the base64 of 24 to 64 bytes, with which each is signed.
    #[serde(serialize_with = "as_written")]
    pub secret: SecretString,
}

/// What an alert is about. The words are those of the audit trail and of the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertKind {
    /// An API key ends soon.
    ApiKeyExpiring,
    /// Nobody uses an API key.
    ApiKeyUnused,
    /// An API key was used from where it never was before.
    ApiKeyNewNetwork,
    /// Somebody tried a decoy.
    ApiKeyDecoyUsed,
    /// Somebody found an API key where it should not be.
    ApiKeyLeaked,
    AccessTokenLeaked,
    /// A refresh token, which stands for its whole grant.
    GrantLeaked,
    ClientSecretLeaked,
    /// The credential of a resource server.
    ResourceServerCredentialLeaked,
    /// Somebody who is logged in has changed their password.
    UserPasswordChanged,
}

impl AlertKind {
    pub const ALL: [Self; 10] = [
        Self::ApiKeyExpiring,
        Self::ApiKeyUnused,
        Self::ApiKeyNewNetwork,
        Self::ApiKeyDecoyUsed,
        Self::ApiKeyLeaked,
        Self::AccessTokenLeaked,
        Self::GrantLeaked,
        Self::ClientSecretLeaked,
        Self::ResourceServerCredentialLeaked,
        Self::UserPasswordChanged,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKeyExpiring => "api_key.expiring",
            Self::ApiKeyUnused => "api_key.unused",
            Self::ApiKeyNewNetwork => "api_key.new_network",
            Self::ApiKeyDecoyUsed => "api_key.decoy_used",
            Self::ApiKeyLeaked => "api_key.leaked",
            Self::AccessTokenLeaked => "access_token.leaked",
            Self::GrantLeaked => "grant.leaked",
            Self::ClientSecretLeaked => "client.secret_leaked",
            Self::ResourceServerCredentialLeaked => "resource_server.credential_leaked",
            Self::UserPasswordChanged => "user.password_changed",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AlertKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| "there is no such kind of alert".to_owned())
    }
}

/// Something that somebody should be told of.
#[derive(Debug, Clone)]
pub struct Alert {
    pub kind: AlertKind,
    pub organization: Option<OrganizationId>,
    /// Whose it is; none for what is the organization's own. The owners of the organization are told in the place of
    /// somebody who is no member any more.
    pub owner: Option<UserId>,
    /// The prefixed id of what it is about.
    pub target: String,
    /// What people call it.
    pub name: String,
    /// How a secret begins and ends.
    pub hint: Option<String>,
    /// Further facts, for the audit trail too: no secrets, no names of people.
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// What is kept of an alert until it is delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    id: String,
    name: String,
    hint: Option<String>,
    organization: Option<OrganizationId>,
    organization_name: String,
    owner: Option<UserId>,
    detail: serde_json::Map<String, serde_json::Value>,
}

/// By which way an alert goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Mail,
    Webhook,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

/// An alert on its way, as it is kept.
#[derive(Debug, Clone)]
struct Queued {
    id: entity::AlertId,
    at: Timestamp,
    kind: AlertKind,
    body: Body,
    recipient: Option<UserId>,
    attempts: i32,
}

/// The ways by which alerts go, as far as they are configured. Cheap to clone.
#[derive(Clone)]
pub struct Alerts(Arc<Ways>);

struct Ways {
    mailer: Option<Mailer>,
    webhook: Option<Webhook>,
    /// The name under which people know this server.
    host: String,
    mail_woken: Notify,
    webhook_woken: Notify,
}

impl Alerts {
    /// The ways that the settings describe. It connects to nothing yet.
    ///
    /// # Errors
    /// When the settings are wrong, or the certificates of the operating system can't be read.
    pub fn new(settings: &WebhookSettings, mailer: Option<Mailer>, issuer: &str) -> Result<Self> {
        let issuer = Url::parse(issuer).ok();
        let host = issuer.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
        Ok(Self(Arc::new(Ways {
            mailer,
            webhook: Webhook::new(settings)?,
            host,
            mail_woken: Notify::new(),
            webhook_woken: Notify::new(),
        })))
    }

    /// Has what was raised delivered at once. Called after the commit; what is forgotten here is found a second later.
    pub fn wake(&self) {
        self.0.mail_woken.notify_one();
        self.0.webhook_woken.notify_one();
    }
}

impl WebhookSettings {
    /// # Errors
    /// The sentence that says which setting is wrong. It never holds the secret.
    pub fn check(&self) -> Result<(), String> {
        webhook::check(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_back() {
        for kind in AlertKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("api_key.created".parse::<AlertKind>().is_err());
    }
}

//! Token Status Lists (draft-ietf-oauth-status-list-20): whether an access token was revoked, for APIs that can't
//! follow the log.
//!
//! Owns: which place in which list a token has, the row that says what the token descends from, and the signed list.
//! Does not own: what is revoked. No bit is ever written: each is what the log says of the token that has the place,
//! so ending a grant, a client, a key or an organization marks all of its tokens with nothing to write here.
//!
//! A list is one process's and one resource server's. Its places are handed out in random order, so that nobody reads
//! from a number when a token was issued or how many there were.

pub mod api;
mod bits;
mod places;
mod publish;
mod reserve;
mod store;

use std::sync::Mutex;
use std::time::Duration;

use entity::{
    ApiKeyId, ClientId, GrantId, OrganizationId, ProjectId, SecretId, StatusListId, Timestamp,
    TokenId, UserId,
};
use moka::future::Cache;
use portcullis_verifier::AccessTokenClaims;

pub use publish::{Published, Publisher};
pub use store::{record, record_all, remove_expired};

/// How many tokens have a place in one list. A list that is all zeros is 8 KiB, and a few bytes once compressed.
const PLACES: u32 = 1 << 16;
/// How long a list takes in tokens.
const OPEN: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of resource servers may be this much behind ours: so long a token that has expired keeps its status.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A place in a list, for one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub list: StatusListId,
    pub idx: u16,
}

impl Place {
    /// Where the list is.
    #[must_use]
    pub fn uri(&self, issuer: &str) -> String {
        uri(issuer, self.list)
    }
}

fn uri(issuer: &str, list: StatusListId) -> String {
    format!("{issuer}/oauth/status-lists/{list}")
}

/// The token that has a place, and what it descends from.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub place: Place,
    pub token: TokenId,
    pub organization: OrganizationId,
    pub project: Option<ProjectId>,
    pub grant: Option<GrantId>,
    pub client: Option<ClientId>,
    /// In whose name the client acts; none when it acts for itself.
    pub user: Option<UserId>,
    /// The API key that the token was exchanged for; then there is no grant and no client.
    pub api_key: Option<ApiKeyId>,
    pub secret: Option<SecretId>,
    pub owner: Option<UserId>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Entry {
    /// The token, as far as the log is concerned with it.
    fn claims(&self) -> AccessTokenClaims {
        let api_key = self.api_key.map(|key| key.to_string());
        let client = self.client.map(|client| client.to_string()).or_else(|| api_key.clone());
        let client = client.unwrap_or_default();
        AccessTokenClaims {
            iss: String::new(),
            sub: self.user.map_or_else(|| client.clone(), |user| user.to_string()),
            aud: "".into(),
            exp: self.expires_at.unix_seconds(),
            iat: self.issued_at.unix_seconds(),
            nbf: None,
            jti: self.token.to_string(),
            client_id: client,
            scope: Default::default(),
            org: Some(self.organization.to_string()),
            project: self.project.map(|project| project.to_string()),
            grant: self.grant.map(|grant| grant.to_string()),
            api_key,
            api_key_secret: self.secret.map(|secret| secret.to_string()),
            owner: self.owner.map(|owner| owner.to_string()),
            allowed_ips: None,
            status: None,
        }
    }
}

/// This process's lists: those that it fills, and those that were asked for lately, whoever filled them.
pub struct StatusLists {
    open: Mutex<reserve::Open>,
    /// Held by whoever opens a list, so that the others wait for that one.
    opening: tokio::sync::Mutex<()>,
    published: Cache<StatusListId, std::sync::Arc<Published>>,
    /// A list of many tokens takes some memory while it is made.
    making: tokio::sync::Semaphore,
}

impl Default for StatusLists {
    fn default() -> Self {
        const CAPACITY: u64 = 1000;
        const MADE_AT_ONCE: usize = 2;
        Self {
            open: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            published: Cache::builder().max_capacity(CAPACITY).time_to_idle(OPEN).build(),
            making: tokio::sync::Semaphore::new(MADE_AT_ONCE),
        }
    }
}

//! Applications: OAuth clients, their secrets, redirect URIs, and what they may ask for.

mod add_secret;
pub mod api;
mod authenticate;
mod cache;
mod check;
mod edit;
mod leaked_secrets;
pub mod pages;
mod redirect_uri;
mod register;
mod remove_secret;
mod requested;
mod revoke;
mod store;
mod switch;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use entity::{ClientId, GrantId, OrganizationId, ResourceServerId, SecretId, Timestamp};
use portcullis_verifier::ScopeSet;

pub use add_secret::{NewSecret, add_secret};
pub use authenticate::authenticate;
pub use cache::Clients;
pub use check::{NewAudience, NewClient};
pub use edit::{ClientChanges, edit};
pub use leaked_secrets::{LeakedSecret, end_leaked_secrets, find_name};
pub use redirect_uri::{is_loopback, matches_redirect_uri, web_origin};
pub use register::register;
pub use remove_secret::remove_secret;
pub use requested::{RequestRefused, Requested, requested};
pub use revoke::revoke;
pub use store::{
    ClientSummary, belongs_to, forget_audience, has_origin, list, names_of, revoke_of_organization,
};
pub use switch::{disable, enable};

/// How a client may come to tokens (RFC 6749 §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl GrantType {
    pub const ALL: [Self; 3] =
        [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GrantType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|grant_type| grant_type.as_str() == text).ok_or_else(|| {
            "a grant type is one of authorization_code, refresh_token, client_credentials"
                .to_owned()
        })
    }
}

/// An OAuth client.
#[derive(Debug, Clone)]
pub struct Client {
    pub id: ClientId,
    pub organization: OrganizationId,
    pub name: String,
    /// Whether it can keep a secret (RFC 6749 §2.1).
    pub is_confidential: bool,
    pub requires_pkce: bool,
    pub grant_types: Vec<GrantType>,
    pub redirect_uris: Vec<String>,
    /// How long the same refresh token gets the same answer again.
    pub refresh_retry: Duration,
    pub audiences: Vec<ClientAudience>,
    /// Whether it is the company's own, which people need not be asked about.
    pub is_first_party: bool,
    pub logo_uri: Option<String>,
    pub policy_uri: Option<String>,
    pub tos_uri: Option<String>,
    pub secrets: Vec<ClientSecret>,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub version: i32,
}

/// What a client is: derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Active,
    Disabled,
    Deleted,
}

/// One resource server that a client may ask for.
#[derive(Debug, Clone)]
pub struct ClientAudience {
    pub resource_server: ResourceServerId,
    pub allowed: ScopeSet,
    /// What a request without `scope` gets.
    pub default: ScopeSet,
    /// The grant behind its `client_credentials` tokens.
    pub own_grant: Option<GrantId>,
}

/// A secret of a client's, as far as it is kept.
#[derive(Debug, Clone)]
pub struct ClientSecret {
    pub id: SecretId,
    digest: [u8; 32],
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

impl ClientSecret {
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }
}

impl Client {
    #[must_use]
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        match (self.revoked_at, self.disabled_at) {
            (Some(_), _) => Status::Deleted,
            (None, Some(_)) => Status::Disabled,
            (None, None) => Status::Active,
        }
    }

    /// What it may ask of this resource server; none where it may ask nothing.
    #[must_use]
    pub fn audience(&self, resource_server: ResourceServerId) -> Option<&ClientAudience> {
        self.audiences.iter().find(|audience| audience.resource_server == resource_server)
    }
}

//! Applications: OAuth clients, their secrets, redirect URIs, and what they may ask for.

mod authenticate;
mod cache;
mod redirect_uri;
mod register;
mod requested;
mod revoke;
mod store;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use entity::{ClientId, GrantId, OrganizationId, ResourceServerId, Timestamp};
use portcullis_verifier::ScopeSet;

pub use authenticate::authenticate;
pub use cache::Clients;
pub use redirect_uri::{is_loopback, matches_redirect_uri, web_origin};
pub use register::{NewAudience, NewClient, register};
pub use requested::{RequestRefused, Requested, requested};
pub use revoke::revoke;
pub use store::{ClientSummary, has_origin, list, revoke_of_organization};

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
    pub is_revoked: bool,
    secrets: Vec<StoredSecret>,
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

#[derive(Debug, Clone)]
struct StoredSecret {
    digest: [u8; 32],
    expires_at: Option<Timestamp>,
}

impl Client {
    #[must_use]
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }
}

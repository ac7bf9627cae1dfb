use entity::{ClientId, GrantId, OrganizationId, ProjectId, Timestamp, TokenId, UserId};
use portcullis_verifier::ScopeSet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};

use super::TokenSettings;
use crate::grants::Grant;
use crate::resource_servers::ResourceServer;
use crate::signing::Signer;

/// Everything that an access token says, decided.
pub struct Authority<'a> {
    pub grant: GrantId,
    pub client: ClientId,
    /// None when the client acts for itself.
    pub user: Option<UserId>,
    pub organization: OrganizationId,
    pub project: Option<ProjectId>,
    pub resource_server: &'a ResourceServer,
    pub scopes: ScopeSet,
}

impl<'a> Authority<'a> {
    /// What a grant entitles to; `scopes` may be fewer than it has.
    #[must_use]
    pub fn of(grant: &Grant, resource_server: &'a ResourceServer, scopes: ScopeSet) -> Self {
        Self {
            grant: grant.id,
            client: grant.client,
            user: grant.user,
            organization: grant.organization,
            project: grant.project,
            resource_server,
            scopes,
        }
    }
}

/// The claims of RFC 9068 §2.2, and `org`, `project` and `grant` beside them.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: TokenId,
    client_id: ClientId,
    scope: &'a str,
    org: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectId>,
    grant: GrantId,
}

/// The body of a successful answer (RFC 6749 §5.1).
#[derive(Serialize)]
pub struct TokenResponse {
    #[serde(serialize_with = "exposed")]
    access_token: SecretString,
    token_type: &'static str,
    expires_in: u64,
    #[serde(serialize_with = "exposed_if_any", skip_serializing_if = "Option::is_none")]
    refresh_token: Option<SecretString>,
    scope: String,
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn exposed_if_any<S: Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.expose_secret()).serialize(serializer)
}

/// Mints the access token; the refresh token, where there is one, comes along in the answer.
///
/// # Errors
/// When there is no key to sign with.
pub fn issue(
    signer: &Signer,
    issuer: &str,
    settings: &TokenSettings,
    now: Timestamp,
    authority: &Authority<'_>,
    refresh_token: Option<SecretString>,
) -> anyhow::Result<TokenResponse> {
    let lifetime = settings.access_token(authority.resource_server.access_token_lifetime);
    let scope = authority.scopes.to_string();
    let claims = Claims {
        iss: issuer,
        sub: authority.user.map_or_else(|| authority.client.to_string(), |user| user.to_string()),
        aud: &authority.resource_server.audience,
        exp: (now + lifetime).unix_seconds(),
        iat: now.unix_seconds(),
        jti: TokenId::new(now),
        client_id: authority.client,
        scope: &scope,
        org: authority.organization,
        project: authority.project,
        grant: authority.grant,
    };
    let access_token = signer.sign(authority.resource_server.algorithm, &claims)?.into();
    Ok(TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: lifetime.as_secs(),
        refresh_token,
        scope,
    })
}

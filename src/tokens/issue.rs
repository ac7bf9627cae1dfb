use anyhow::ensure;
use entity::{
    ApiKeyId, ClientId, GrantId, OrganizationId, ProjectId, SecretId, Timestamp, TokenId, UserId,
};
use portcullis_verifier::ScopeSet;
use portcullis_verifier::claims::{Status, StatusListReference};
use portcullis_verifier::network::Network;
use sea_orm::{ConnectionTrait, DbErr};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::TokenSettings;
use crate::grants::Grant;
use crate::resource_servers::ResourceServer;
use crate::signing::Signer;
use crate::status_lists::{self, Place};

/// Everything that an access token says, decided.
pub struct Authority<'a> {
    pub descent: Descent,
    pub organization: OrganizationId,
    pub project: Option<ProjectId>,
    pub resource_server: &'a ResourceServer,
    pub scopes: ScopeSet,
    /// Where its status is told; `StatusLists::reserve` has it for resource servers that want that.
    pub place: Option<Place>,
}

/// What the token descends from, and dies with.
pub enum Descent {
    Grant {
        grant: GrantId,
        client: ClientId,
        /// None when the client acts for itself.
        user: Option<UserId>,
    },
    /// It was exchanged (RFC 8693).
    ApiKey {
        key: ApiKeyId,
        /// The one of its secrets that was presented.
        secret: SecretId,
        /// None when the key belongs to the organization itself.
        owner: Option<UserId>,
        /// From where the key may be used; none for anywhere.
        allowed_networks: Option<Vec<Network>>,
        /// When the key, or the secret, ends.
        ends: Option<Timestamp>,
    },
}

impl<'a> Authority<'a> {
    /// What a grant entitles to; `scopes` may be fewer than it has.
    #[must_use]
    pub fn of(
        grant: &Grant,
        resource_server: &'a ResourceServer,
        scopes: ScopeSet,
        place: Option<Place>,
    ) -> Self {
        Self {
            descent: Descent::Grant { grant: grant.id, client: grant.client, user: grant.user },
            organization: grant.organization,
            project: grant.project,
            resource_server,
            scopes,
            place,
        }
    }
}

/// The claims of RFC 9068 §2.2, and beside them `org` and `project` and what the token descends from.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: TokenId,
    client_id: String,
    scope: &'a str,
    org: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<ApiKeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_secret: Option<SecretId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_ips: Option<&'a [Network]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

/// What a token is called that is told by its kind (RFC 8693 §3).
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A successful answer (RFC 6749 §5.1).
pub struct TokenResponse {
    access_token: SecretString,
    expires_in: u64,
    refresh_token: Option<SecretString>,
    scope: String,
    /// Of an exchange (RFC 8693 §2.2.1).
    issued_token_type: Option<&'static str>,
}

impl TokenResponse {
    #[must_use]
    pub fn access_token(&self) -> &SecretString {
        &self.access_token
    }

    /// How long the access token lives, in seconds.
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        self.expires_in
    }

    /// The body of the answer.
    ///
    /// Put together as it is, for nothing of it holds a character that JSON escapes: tokens are base64url, base62 and
    /// dots, and the grammar of scopes has neither quotes nor backslashes.
    #[must_use]
    pub fn to_json(&self) -> SecretString {
        let token = self.access_token.expose_secret();
        let refresh_token = self.refresh_token.as_ref().map(|token| token.expose_secret());
        let expires_in = self.expires_in.to_string();
        let mut json = String::with_capacity(256 + token.len() + self.scope.len());
        for part in [r#"{"access_token":""#, token, r#"","token_type":"Bearer","expires_in":"#] {
            json.push_str(part);
        }
        json.push_str(&expires_in);
        let optional = [
            (r#","refresh_token":""#, refresh_token),
            (r#","scope":""#, Some(self.scope.as_str())),
            (r#","issued_token_type":""#, self.issued_token_type),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                json.push_str(name);
                json.push_str(value);
                json.push('"');
            }
        }
        json.push('}');
        json.into()
    }
}

/// A token that nobody has yet: what is to be told of its status is not written down.
#[must_use]
pub struct Minted {
    response: TokenResponse,
    entry: Option<status_lists::Entry>,
}

impl Minted {
    /// For who writes down the place together with the step that the token is made for.
    #[must_use]
    pub fn into_parts(self) -> (TokenResponse, Option<status_lists::Entry>) {
        (self.response, self.entry)
    }

    /// Writes down which token has the place, where it has one; then it can be handed out. Belongs into the transaction
    /// of the issue, where there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recorded(self, connection: &impl ConnectionTrait) -> Result<TokenResponse, DbErr> {
        if let Some(entry) = &self.entry {
            // Boxed: most tokens have no place, and would carry it along.
            Box::pin(status_lists::record(connection, entry)).await?;
        }
        Ok(self.response)
    }
}

/// Mints the access token; the refresh token, where there is one, comes along in the answer.
///
/// # Errors
/// When there is no key to sign with, or no place for a token that must have one.
pub fn issue(
    signer: &Signer,
    issuer: &str,
    settings: &TokenSettings,
    now: Timestamp,
    authority: &Authority<'_>,
    refresh_token: Option<SecretString>,
) -> anyhow::Result<Minted> {
    ensure!(
        authority.place.is_some() || !authority.resource_server.status_list,
        "a token for {} has no place in a status list",
        authority.resource_server.id
    );
    let mut lifetime = settings.access_token(authority.resource_server.access_token_lifetime);
    if let Descent::ApiKey { ends: Some(end), .. } = authority.descent {
        lifetime = lifetime.min(end.since(now));
    }
    let scope = authority.scopes.to_string();
    let status = authority.place.map(|place| Status {
        status_list: StatusListReference { idx: place.idx.into(), uri: place.uri(issuer) },
    });
    let mut claims = Claims {
        iss: issuer,
        sub: String::new(),
        aud: &authority.resource_server.audience,
        exp: (now + lifetime).unix_seconds(),
        iat: now.unix_seconds(),
        jti: TokenId::new(now),
        client_id: String::new(),
        scope: &scope,
        org: authority.organization,
        project: authority.project,
        grant: None,
        api_key: None,
        api_key_secret: None,
        owner: None,
        allowed_ips: None,
        status,
    };
    let mut issued_token_type = None;
    match &authority.descent {
        Descent::Grant { grant, client, user } => {
            claims.grant = Some(*grant);
            claims.client_id = client.to_string();
            claims.sub = user.map_or_else(|| client.to_string(), |user| user.to_string());
        }
        // The script acts for itself, and no client stands between.
        Descent::ApiKey { key, secret, owner, allowed_networks, ends: _ } => {
            claims.client_id = key.to_string();
            claims.sub = key.to_string();
            claims.api_key = Some(*key);
            claims.api_key_secret = Some(*secret);
            claims.owner = *owner;
            claims.allowed_ips = allowed_networks.as_deref();
            issued_token_type = Some(ACCESS_TOKEN_TYPE);
        }
    }
    let access_token = signer.sign(authority.resource_server.algorithm, &claims)?.into();
    let (token, expires_at) = (claims.jti, now + lifetime);
    let entry = authority.place.map(|place| entry(authority, place, token, now, expires_at));
    let response = TokenResponse {
        access_token,
        expires_in: lifetime.as_secs(),
        refresh_token,
        scope,
        issued_token_type,
    };
    Ok(Minted { response, entry })
}

/// What the token descends from, for its place in the list.
fn entry(
    authority: &Authority<'_>,
    place: Place,
    token: TokenId,
    issued_at: Timestamp,
    expires_at: Timestamp,
) -> status_lists::Entry {
    let mut entry = status_lists::Entry {
        place,
        token,
        organization: authority.organization,
        project: authority.project,
        grant: None,
        client: None,
        user: None,
        api_key: None,
        secret: None,
        owner: None,
        issued_at,
        expires_at,
    };
    match &authority.descent {
        Descent::Grant { grant, client, user } => {
            (entry.grant, entry.client, entry.user) = (Some(*grant), Some(*client), *user);
        }
        Descent::ApiKey { key, secret, owner, .. } => {
            (entry.api_key, entry.secret, entry.owner) = (Some(*key), Some(*secret), *owner);
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_json() {
        let mut response = TokenResponse {
            access_token: "eyJ.a-b_c.d".into(),
            expires_in: 600,
            refresh_token: None,
            scope: "read:tenants/* write:users".to_owned(),
            issued_token_type: None,
        };
        let json = |response: &TokenResponse| -> serde_json::Value {
            serde_json::from_str(response.to_json().expose_secret()).unwrap()
        };
        let mut expected = serde_json::json!({
            "access_token": "eyJ.a-b_c.d", "token_type": "Bearer", "expires_in": 600,
            "scope": "read:tenants/* write:users"
        });
        assert_eq!(json(&response), expected);
        response.refresh_token = Some("pc_rt_1".into());
        response.issued_token_type = Some(ACCESS_TOKEN_TYPE);
        expected["refresh_token"] = "pc_rt_1".into();
        expected["issued_token_type"] = ACCESS_TOKEN_TYPE.into();
        assert_eq!(json(&response), expected);
    }
}

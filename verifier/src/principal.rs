//! Who is calling, and what they may do.

use std::sync::Arc;

use crate::claims::AccessTokenClaims;
use crate::rejection::{Rejection, Unavailability};
use crate::scope::{Scope, ScopeSet};

/// The caller behind a credential that was accepted. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Arc<Facts>);

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    subject: String,
    organization: Option<String>,
    project: Option<String>,
    scopes: ScopeSet,
    expires_at: Option<i64>,
    credential: Credential,
}

#[derive(Debug, PartialEq, Eq)]
enum Credential {
    AccessToken {
        id: String,
        client: String,
        grant: Option<String>,
        /// The API key that it was exchanged for, and the owner of that.
        api_key: Option<String>,
        owner: Option<String>,
    },
    ApiKey {
        id: String,
        creator: Option<String>,
        owner: Option<String>,
    },
}

/// What is known of an API key that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The key's id, `key_…`.
    pub id: String,
    /// In whose name it acts: the key itself, unless the server says otherwise.
    pub subject: String,
    /// The organization that owns it.
    pub organization: String,
    /// The project that it is confined to.
    pub project: Option<String>,
    /// What it may do now: its scopes within what its owner may do.
    pub scopes: ScopeSet,
    /// The user who made it.
    pub creator: Option<String>,
    /// The user whose role bounds it now. `None` when the organization itself owns it.
    pub owner: Option<String>,
    /// When it ends, in seconds since 1970; the end of its grace for a secret that has been rotated out.
    pub expires_at: Option<i64>,
}

impl Principal {
    /// The caller behind an access token. The claims must have been verified.
    pub fn from_claims(claims: AccessTokenClaims) -> Principal {
        Principal(Arc::new(Facts {
            subject: claims.sub,
            organization: claims.org,
            project: claims.project,
            scopes: claims.scope,
            expires_at: Some(claims.exp),
            credential: Credential::AccessToken {
                id: claims.jti,
                client: claims.client_id,
                grant: claims.grant,
                api_key: claims.api_key,
                owner: claims.owner,
            },
        }))
    }

    /// The caller behind an API key. The key must have been found good.
    pub fn from_api_key(key: ApiKey) -> Principal {
        Principal(Arc::new(Facts {
            subject: key.subject,
            organization: Some(key.organization),
            project: key.project,
            scopes: key.scopes,
            expires_at: key.expires_at,
            credential: Credential::ApiKey { id: key.id, creator: key.creator, owner: key.owner },
        }))
    }

    /// What the credential allows.
    pub fn scopes(&self) -> &ScopeSet {
        &self.0.scopes
    }

    /// Refuses unless the credential covers `scope`, written as in `read:tenants` or `read:tenants/acme`.
    ///
    /// A text that is no scope is a mistake in the calling code; it refuses everyone
    /// ([`Unavailability::Requirement`]).
    pub fn require(&self, scope: &str) -> Result<(), Rejection> {
        let required: Scope = scope.parse().map_err(|error| {
            tracing::error!(%error, "a call requires something that is no scope");
            Rejection::Unavailable(Unavailability::Requirement)
        })?;
        self.require_scope(&required)
    }

    /// Refuses unless the credential covers `required`.
    pub fn require_scope(&self, required: &Scope) -> Result<(), Rejection> {
        if self.0.scopes.covers(required) {
            return Ok(());
        }
        Err(Rejection::InsufficientScope { required: required.clone() })
    }

    /// In whose name the call is made: a user (`usr_…`), a client for itself (`app_…`) or an API key (`key_…`), be it
    /// presented itself or exchanged for a token.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The organization that the call is about.
    pub fn organization(&self) -> Option<&str> {
        self.0.organization.as_deref()
    }

    /// The project that the credential is confined to.
    pub fn project(&self) -> Option<&str> {
        self.0.project.as_deref()
    }

    /// When the credential ends, in seconds since 1970.
    pub fn expires_at(&self) -> Option<i64> {
        self.0.expires_at
    }

    /// The client that an access token was issued to. `None` for an API key.
    pub fn client(&self) -> Option<&str> {
        match &self.0.credential {
            Credential::AccessToken { client, .. } => Some(client),
            Credential::ApiKey { .. } => None,
        }
    }

    /// The id of an access token (`jti`). `None` for an API key.
    pub fn token_id(&self) -> Option<&str> {
        match &self.0.credential {
            Credential::AccessToken { id, .. } => Some(id),
            Credential::ApiKey { .. } => None,
        }
    }

    /// The grant that an access token descends from.
    pub fn grant(&self) -> Option<&str> {
        match &self.0.credential {
            Credential::AccessToken { grant, .. } => grant.as_deref(),
            Credential::ApiKey { .. } => None,
        }
    }

    /// The id of the API key, or of the one that an access token was exchanged for. `None` for other access tokens.
    pub fn api_key(&self) -> Option<&str> {
        match &self.0.credential {
            Credential::ApiKey { id, .. } => Some(id),
            Credential::AccessToken { api_key, .. } => api_key.as_deref(),
        }
    }

    /// The user who made the API key.
    pub fn creator(&self) -> Option<&str> {
        match &self.0.credential {
            Credential::ApiKey { creator, .. } => creator.as_deref(),
            Credential::AccessToken { .. } => None,
        }
    }

    /// The user whose role bounds the API key now. `None` when the organization itself owns it.
    pub fn owner(&self) -> Option<&str> {
        match &self.0.credential {
            Credential::ApiKey { owner, .. } | Credential::AccessToken { owner, .. } => {
                owner.as_deref()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Principal {
        Principal::from_api_key(ApiKey {
            id: "key_1".to_owned(),
            subject: "key_1".to_owned(),
            organization: "org_1".to_owned(),
            project: None,
            scopes: "write:tenants read:users/acme".parse().unwrap(),
            creator: Some("usr_1".to_owned()),
            owner: Some("usr_2".to_owned()),
            expires_at: None,
        })
    }

    #[test]
    fn a_principal_may_do_what_its_scopes_cover() {
        let script = script();
        assert_eq!(script.require("read:tenants"), Ok(()));
        assert_eq!(script.require("read:users/acme"), Ok(()));
        assert_eq!(
            script.require("read:users"),
            Err(Rejection::InsufficientScope { required: "read:users".parse().unwrap() })
        );
    }

    #[test]
    fn a_requirement_that_is_no_scope_refuses() {
        assert_eq!(
            script().require("Read tenants"),
            Err(Rejection::Unavailable(Unavailability::Requirement))
        );
    }

    #[test]
    fn a_principal_is_a_key_or_the_bearer_of_a_token() {
        let script = script();
        assert_eq!((script.api_key(), script.creator()), (Some("key_1"), Some("usr_1")));
        assert_eq!(script.owner(), Some("usr_2"));
        assert_eq!((script.client(), script.token_id(), script.grant()), (None, None, None));

        let json = serde_json::json!({
            "iss": "i", "sub": "usr_1", "aud": "a", "exp": 2, "iat": 1, "jti": "tok_1",
            "client_id": "app_1", "scope": "read", "org": "org_1", "project": "prj_1", "grant": "gnt_1",
        });
        let person = Principal::from_claims(serde_json::from_value(json).unwrap());
        assert_eq!((person.subject(), person.organization()), ("usr_1", Some("org_1")));
        assert_eq!((person.project(), person.expires_at()), (Some("prj_1"), Some(2)));
        assert_eq!((person.client(), person.token_id()), (Some("app_1"), Some("tok_1")));
        assert_eq!((person.grant(), person.api_key()), (Some("gnt_1"), None));
        assert_eq!((person.creator(), person.owner()), (None, None));
        assert!(person.scopes().covers(&"read:tenants".parse().unwrap()));
    }
}

use std::time::Duration;

use entity::{ClientId, GrantId, OrganizationId, SecretId, Timestamp};
use portcullis_verifier::ScopeSet;
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::redirect_uri::check_redirect_uri;
use super::{Client, ClientAudience, GrantType, StoredSecret, store};
use crate::audit::{self, By, Event};
use crate::platform::{FieldError, Refused, checked_name};
use crate::resource_servers::ResourceServer;

const MAX_REDIRECT_URIS: usize = 20;

/// A client to be.
pub struct NewClient<'a> {
    pub organization: OrganizationId,
    pub name: &'a str,
    pub is_confidential: bool,
    pub requires_pkce: bool,
    pub grant_types: Vec<GrantType>,
    pub redirect_uris: Vec<String>,
    pub audiences: Vec<NewAudience<'a>>,
}

/// A resource server that the client may ask for.
pub struct NewAudience<'a> {
    pub resource_server: &'a ResourceServer,
    pub allowed: ScopeSet,
    pub default: ScopeSet,
}

/// Registers a client; a confidential one's secret is told this once.
///
/// # Errors
/// When a field is wrong or something of ours fails.
pub async fn register(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brand: &str,
    new: NewClient<'_>,
) -> Result<(Client, Option<SecretString>), Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", new.name, &mut errors).to_owned();
    check_grant_types(&new, &mut errors);
    check_redirect_uris(&new, &mut errors);
    check_audiences(&new, &mut errors);
    if !new.is_confidential && !new.requires_pkce {
        errors.push(FieldError::new("requires_pkce", "a public client always needs PKCE"));
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let secret = match new.is_confidential {
        true => Some(key::generate(&Prefix::new(brand, "cs")?)?),
        false => None,
    };
    let acts_for_itself = new.grant_types.contains(&GrantType::ClientCredentials);
    let audience = |wanted: NewAudience<'_>| ClientAudience {
        resource_server: wanted.resource_server.id,
        allowed: wanted.allowed,
        default: wanted.default,
        own_grant: acts_for_itself.then(|| GrantId::new(now)),
    };
    let client = Client {
        id: ClientId::new(now),
        organization: new.organization,
        name,
        is_confidential: new.is_confidential,
        requires_pkce: new.requires_pkce,
        grant_types: new.grant_types,
        redirect_uris: new.redirect_uris,
        refresh_retry: Duration::from_secs(2),
        audiences: new.audiences.into_iter().map(audience).collect(),
        is_revoked: false,
        secrets: secret
            .iter()
            .map(|secret| StoredSecret {
                digest: key::digest(secret.expose_secret()),
                expires_at: None,
            })
            .collect(),
    };
    store::insert(tx, now, &client).await?;
    for stored in &client.secrets {
        store::insert_secret(tx, now, SecretId::new(now), client.id, stored).await?;
    }
    let event = Event::new("client.registered", client.id).in_organization(client.organization);
    audit::record(tx, now, by, event).await?;
    Ok((client, secret))
}

fn check_grant_types(new: &NewClient<'_>, errors: &mut Vec<FieldError>) {
    let has = |grant_type| new.grant_types.contains(&grant_type);
    if new.grant_types.is_empty() {
        errors.push(FieldError::new("grant_types", "must hold at least one grant type"));
    }
    if has(GrantType::ClientCredentials) && !new.is_confidential {
        errors.push(FieldError::new(
            "grant_types",
            "client_credentials needs a confidential client (RFC 6749 §4.4)",
        ));
    }
    if has(GrantType::RefreshToken) && !has(GrantType::AuthorizationCode) {
        errors.push(FieldError::new(
            "grant_types",
            "refresh_token needs authorization_code beside it",
        ));
    }
}

fn check_redirect_uris(new: &NewClient<'_>, errors: &mut Vec<FieldError>) {
    let needs_one = new.grant_types.contains(&GrantType::AuthorizationCode);
    if needs_one && new.redirect_uris.is_empty() {
        errors.push(FieldError::new("redirect_uris", "authorization_code needs at least one"));
    }
    if new.redirect_uris.len() > MAX_REDIRECT_URIS {
        errors.push(FieldError::new("redirect_uris", "must hold at most 20"));
    }
    for (at, uri) in new.redirect_uris.iter().enumerate() {
        if let Err(message) = check_redirect_uri(uri) {
            errors.push(FieldError::new(format!("redirect_uris[{at}]"), message));
        }
    }
}

fn check_audiences(new: &NewClient<'_>, errors: &mut Vec<FieldError>) {
    if new.audiences.is_empty() {
        errors.push(FieldError::new("scopes", "must hold at least one scope"));
    }
    for audience in &new.audiences {
        let catalog = &audience.resource_server.catalog;
        if audience.allowed.is_empty() {
            errors.push(FieldError::new("scopes", "must hold at least one scope"));
        }
        for scope in audience.allowed.iter().filter(|scope| !catalog.offers(scope)) {
            let message =
                format!("{} offers no scope `{scope}`", audience.resource_server.audience);
            errors.push(FieldError::new("scopes", message));
        }
        if !audience.allowed.covers_all(&audience.default) {
            errors.push(FieldError::new("default_scopes", "must be among the allowed scopes"));
        }
    }
}

use std::time::Duration;

use entity::{ClientId, GrantId, SecretId, Timestamp};
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::check::{NewAudience, NewClient, check};
use super::{Client, ClientAudience, ClientSecret, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;

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
    check(tx, &new, None).await?;
    let secret = match new.is_confidential {
        true => Some(key::generate(&Prefix::new(brand, "cs")?)?),
        false => None,
    };
    let acts_for_itself = new.acts_for_itself();
    let audience = |wanted: NewAudience| ClientAudience {
        resource_server: wanted.resource_server,
        allowed: wanted.allowed,
        default: wanted.default,
        own_grant: acts_for_itself.then(|| GrantId::new(now)),
    };
    let stored = |secret: &SecretString| ClientSecret {
        id: SecretId::new(now),
        digest: key::digest(secret.expose_secret()),
        created_at: now,
        expires_at: None,
    };
    let client = Client {
        id: ClientId::new(now),
        organization: new.organization,
        name: new.name.trim().to_owned(),
        is_confidential: new.is_confidential,
        requires_pkce: new.requires_pkce,
        grant_types: new.grant_types,
        redirect_uris: new.redirect_uris,
        refresh_retry: Duration::from_secs(new.refresh_retry_seconds),
        audiences: new.audiences.into_iter().map(audience).collect(),
        is_first_party: new.is_first_party,
        logo_uri: new.logo_uri,
        policy_uri: new.policy_uri,
        tos_uri: new.tos_uri,
        secrets: secret.iter().map(stored).collect(),
        created_at: now,
        disabled_at: None,
        revoked_at: None,
        version: 1,
    };
    store::insert(tx, now, &client).await?;
    let event = Event::new("client.registered", client.id).in_organization(client.organization);
    audit::record(tx, now, by, event).await?;
    Ok((client, secret))
}

use entity::{ClientId, OrganizationId, SecretId, Timestamp};
use portcullis_verifier::ScopeSet;
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::edit::begin;
use super::{Client, ClientSecret, GrantType, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_grace};
use crate::revocation::{self, Subject};

/// A secret to be.
pub struct NewSecret<'a> {
    /// How long the one before works beside it; none: as is usual.
    pub grace_seconds: Option<u64>,
    /// What whoever asks may do: with the secret of a client that acts for itself they can do what it may.
    pub reach: &'a ScopeSet,
}

/// Gives a confidential client a further secret, told this once. The one before works until the grace ends, which is
/// at once where it is 0; one before that has ended now.
///
/// # Errors
/// When the organization has no such client, it was deleted, it is public, it may do more for itself than whoever asks
/// may do, the grace is too long, or the database fails.
pub async fn add_secret(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brand: &str,
    organization: OrganizationId,
    id: ClientId,
    new: NewSecret<'_>,
) -> Result<(Client, SecretString), Refused> {
    let grace = checked_grace(new.grace_seconds)?;
    let mut client = begin(tx, organization, id, None).await?;
    if !client.is_confidential {
        return Err(Refused::Conflict("A public client has no secret.".to_owned()));
    }
    let reaches_further = client.audiences.iter().any(|it| !new.reach.covers_all(&it.allowed));
    if client.may_use(GrantType::ClientCredentials) && reaches_further {
        let why = "The client may do more for itself than you may do yourself.";
        return Err(Refused::Forbidden(why.to_owned()));
    }
    let secret = key::generate(&Prefix::new(brand, "cs")?)?;
    let stored = ClientSecret {
        id: SecretId::new(now),
        digest: key::digest(secret.expose_secret()),
        created_at: now,
        expires_at: None,
    };
    // The one that would have lasted longest is the one that is in use.
    let newest = client
        .secrets
        .iter()
        .filter(|secret| secret.is_good(now) && !grace.is_zero())
        .max_by_key(|secret| (secret.expires_at.is_none(), secret.expires_at))
        .cloned();
    let older = newest.map(|older| {
        let end = older.expires_at.unwrap_or(now + grace).min(now + grace);
        ClientSecret { expires_at: Some(end), ..older }
    });
    client.secrets = older.into_iter().chain([stored]).collect();
    store::replace_secrets(tx, &client).await?;
    let event = Event::new("client.secret_added", id)
        .in_organization(organization)
        .with(serde_json::json!({ "grace_seconds": grace.as_secs() }));
    audit::record(tx, now, by, event).await?;
    revocation::append_changed(tx, now, &[Subject::Client(id).of(organization)]).await?;
    Ok((client, secret))
}

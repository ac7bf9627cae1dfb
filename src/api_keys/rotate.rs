use entity::{ApiKeyId, OrganizationId, SecretId, Timestamp};
use portcullis_verifier::ScopeSet;
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::issue::brand_in_force;
use super::{ApiKey, Status, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_grace};
use crate::revocation::{self, About, Subject};

/// A secret to be.
pub struct NewSecret<'a> {
    /// How long the one before works beside it; none: as is usual.
    pub grace_seconds: Option<u64>,
    /// What whoever asks may do: with the secret they can do what the key may.
    pub reach: &'a ScopeSet,
}

/// Gives a key a new secret, told this once. The secret before works until the grace is over; a grace that was still
/// running for an older one ends now. What was exchanged for a secret that ends now dies with it.
///
/// # Errors
/// When the organization has no such key, it is not active, it was made for more than whoever asks may do, the grace
/// is too long, or something of ours fails.
pub async fn rotate(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brands: &[&str],
    organization: OrganizationId,
    id: ApiKeyId,
    new: NewSecret<'_>,
) -> Result<(ApiKey, SecretString), Refused> {
    let grace = checked_grace(new.grace_seconds)?;
    let key = store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    if key.status(now) != Status::Active {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    if !new.reach.covers_all(&key.scopes) {
        let why = "The key was made for more than you may do yourself.";
        return Err(Refused::Forbidden(why.to_owned()));
    }
    let brand = brand_in_force(key.brand.as_deref(), brands);
    let secret = key::generate(&Prefix::new(brand, &key.environment)?)?;
    // The key's own row is the lock: of two rotations at once the second finds the first one's secret as the current.
    if !store::touch(tx, id).await? {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    let ended = store::retire_secrets(tx, id, now, now + grace).await?;
    let text = secret.expose_secret();
    let digest = key::digest(text);
    store::insert_secret(tx, id, SecretId::new(now), digest, &store::Hint::of(text), now).await?;
    let event = Event::new("api_key.rotated", id)
        .in_organization(organization)
        .with(serde_json::json!({ "grace_seconds": grace.as_secs() }));
    audit::record(tx, now, by, event).await?;
    let key = store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    let ended: Vec<About> =
        ended.into_iter().map(|secret| Subject::Secret(secret).of(organization)).collect();
    revocation::append_revoked(tx, now, &ended).await?;
    revocation::append_changed(tx, now, &[Subject::ApiKey(id).of(organization)]).await?;
    Ok((key, secret))
}

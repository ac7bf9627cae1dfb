use std::time::Duration;

use entity::{ApiKeyId, OrganizationId, SecretId, Timestamp};
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::{ApiKey, Status, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, Subject};

/// How long the secret before goes on working, where nothing else is said.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
pub const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Gives a key a new secret, told this once. The secret before works until the grace is over; a grace that was still
/// running for an older one ends now.
///
/// # Errors
/// When the organization has no such key, it is not active, the grace is too long, or something of ours fails.
pub async fn rotate(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brand: &str,
    organization: OrganizationId,
    id: ApiKeyId,
    grace: Duration,
) -> Result<(ApiKey, SecretString), Refused> {
    if grace > LONGEST_GRACE {
        let message = format!("must be from 0 to {} seconds", LONGEST_GRACE.as_secs());
        return Err(Refused::field("grace_seconds", message));
    }
    let key = store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    if key.status(now) != Status::Active {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    let secret = key::generate(&Prefix::new(brand, &key.environment)?)?;
    // The key's own row is the lock: of two rotations at once the second finds the first one's secret as the current.
    if !store::touch(tx, id).await? {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    store::retire_secrets(tx, id, now, now + grace).await?;
    let text = secret.expose_secret();
    let digest = key::digest(text);
    store::insert_secret(tx, id, SecretId::new(now), digest, &store::Hint::of(text), now).await?;
    let event = Event::new("api_key.rotated", id)
        .in_organization(organization)
        .with(serde_json::json!({ "grace_seconds": grace.as_secs() }));
    audit::record(tx, now, by, event).await?;
    revocation::append_changed(tx, now, &[Subject::ApiKey(id)]).await?;
    let key = store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    Ok((key, secret))
}

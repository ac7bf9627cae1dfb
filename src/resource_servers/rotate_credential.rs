use entity::{OrganizationId, ResourceServerId, Timestamp};
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::edit::refusal;
use super::{ResourceServer, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_grace};
use crate::revocation::{self, About};

/// Gives a resource server a new credential, told this once. The one before works until the grace ends, which is at
/// once where it is 0; one before that has ended now.
///
/// # Errors
/// When the organization (or, where none is named, the installation) has no such resource server or may not change
/// it, the grace is too long, or the database fails.
pub async fn rotate_credential(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brand: &str,
    organization: Option<OrganizationId>,
    id: ResourceServerId,
    grace_seconds: Option<u64>,
) -> Result<(ResourceServer, SecretString), Refused> {
    let grace = checked_grace(grace_seconds)?;
    let credential = key::generate(&Prefix::new(brand, "rs")?)?;
    let digest = key::digest(credential.expose_secret());
    let until = (!grace.is_zero()).then(|| now + grace);
    if !store::rotate_credential(tx, organization, id, digest, until).await? {
        return Err(match organization {
            Some(organization) => refusal(tx, organization, id).await?,
            None => Refused::NotFound,
        });
    }
    let api = store::find(tx, id).await?.ok_or(Refused::NotFound)?;
    let mut event = Event::new("resource_server.credential_rotated", id)
        .with(serde_json::json!({ "grace_seconds": grace.as_secs() }));
    event.organization = api.organization;
    audit::record(tx, now, by, event).await?;
    revocation::append_changed(tx, now, &[About::resource_server(id)]).await?;
    Ok((api, credential))
}

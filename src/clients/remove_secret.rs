use entity::{ClientId, OrganizationId, SecretId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::edit::begin;
use super::store;
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, Subject};

/// Takes one of its secrets from a client, at once.
///
/// # Errors
/// When the organization has no such client, it has no such secret or no other, or the database fails.
pub async fn remove_secret(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ClientId,
    secret: SecretId,
) -> Result<(), Refused> {
    let mut client = begin(tx, organization, id, None).await?;
    client.secrets.retain(|stored| stored.is_good(now));
    let had = client.secrets.len();
    client.secrets.retain(|stored| stored.id != secret);
    if client.secrets.len() == had {
        return Err(Refused::NotFound);
    }
    if client.secrets.is_empty() {
        return Err(Refused::Conflict(
            "It is the only secret of the client; add another one first.".to_owned(),
        ));
    }
    store::replace_secrets(tx, &client).await?;
    let event = Event::new("client.secret_removed", id)
        .in_organization(organization)
        .with(serde_json::json!({ "secret": secret }));
    audit::record(tx, now, by, event).await?;
    Ok(revocation::append_changed(tx, now, &[Subject::Client(id).of(organization)]).await?)
}

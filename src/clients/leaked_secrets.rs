use entity::{ClientId, OrganizationId, SecretId, Timestamp};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::store;
use crate::audit::{self, By, Event};

/// A client one of whose secrets leaked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeakedSecret {
    pub secret: SecretId,
    pub client: ClientId,
    pub organization: OrganizationId,
    pub name: String,
}

/// Takes the secrets with these digests from their clients, also where one is the only secret; says which there were.
/// The log is for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_leaked_secrets(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    digests: &[[u8; 32]],
) -> Result<Vec<LeakedSecret>, DbErr> {
    let mut ended = Vec::new();
    for leaked in store::find_secrets(tx, digests, now).await? {
        if !store::delete_secret(tx, leaked.client, leaked.secret).await? {
            continue;
        }
        let event = Event::new("client.secret_removed", leaked.client)
            .in_organization(leaked.organization)
            .with(serde_json::json!({ "secret": leaked.secret, "reason": "leaked" }));
        audit::record(tx, now, by, event).await?;
        ended.push(leaked);
    }
    Ok(ended)
}

/// What people call a client; none where there is no such client.
///
/// # Errors
/// When the database fails.
pub async fn find_name(
    connection: &impl ConnectionTrait,
    id: ClientId,
) -> Result<Option<String>, DbErr> {
    Ok(store::find(connection, id).await?.map(|client| client.name))
}

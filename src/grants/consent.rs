use entity::{ClientId, OrganizationId, ResourceServerId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::store;

/// What the user has consented to for this client and resource server, by organization, latest first.
///
/// # Errors
/// When the database fails.
pub async fn find_consents(
    connection: &impl ConnectionTrait,
    user: UserId,
    client: ClientId,
    resource_server: ResourceServerId,
) -> Result<Vec<(OrganizationId, ScopeSet)>, DbErr> {
    store::list_consents(connection, user, client, resource_server).await
}

/// Adds to what the user has consented to.
///
/// # Errors
/// When the database fails.
pub async fn remember_consent(
    tx: &DatabaseTransaction,
    now: Timestamp,
    user: UserId,
    client: ClientId,
    organization: OrganizationId,
    resource_server: ResourceServerId,
    scopes: &ScopeSet,
) -> Result<(), DbErr> {
    let before = store::list_consents(tx, user, client, resource_server).await?;
    let mut all = scopes.clone();
    for (_, earlier) in before.into_iter().filter(|(candidate, _)| *candidate == organization) {
        earlier.iter().cloned().for_each(|scope| all.insert(scope));
    }
    store::upsert_consent(tx, now, user, client, organization, resource_server, &all).await
}

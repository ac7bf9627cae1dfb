use std::sync::Arc;

use entity::Timestamp;
use portcullis_verifier::key;
use sea_orm::DbErr;
use secrecy::{ExposeSecret as _, SecretString};

use super::{ResourceServer, ResourceServers};
use crate::platform::db::Db;

/// The resource server whose credential this is, its present one or the one before that in its grace; garbage dies at its checksum, without a look-up.
///
/// The credential has full entropy and is looked up by its SHA-256, so there is nothing to compare that would leak.
///
/// # Errors
/// When the database fails.
pub async fn authenticate(
    resource_servers: &ResourceServers,
    db: &Db,
    now: Timestamp,
    credential: &SecretString,
) -> Result<Option<Arc<ResourceServer>>, DbErr> {
    let credential = credential.expose_secret();
    if !key::has_valid_checksum(credential) {
        return Ok(None);
    }
    resource_servers.find_by_credential(db, now, key::digest(credential)).await
}

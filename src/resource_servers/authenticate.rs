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
    // API keys have a checksum too, and are tried here where either is taken: they must cost no look-up.
    if !key::has_valid_checksum(credential) || !is_ours(credential) {
        return Ok(None);
    }
    resource_servers.find_by_credential(db, now, key::digest(credential)).await
}

/// Whether the credential is of the kind that resource servers have: `<brand>_rs_` and the 40 characters of every key.
fn is_ours(credential: &str) -> bool {
    let body = key::RANDOM_LENGTH + key::CHECKSUM_LENGTH;
    credential
        .len()
        .checked_sub(body)
        .and_then(|at| credential.get(..at))
        .is_some_and(|kind| kind.ends_with("_rs_"))
}

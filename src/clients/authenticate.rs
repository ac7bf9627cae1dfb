use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use entity::{ClientId, Timestamp};
use portcullis_verifier::key;
use sea_orm::DbErr;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Client, Clients, Status};
use crate::revocation::{Revocations, Subject};

/// The client that these credentials belong to (RFC 6749 §2.3): with the right secret if it is confidential, with
/// none if it is public. `None` for everything else, and nobody is told which.
///
/// # Errors
/// When the database fails.
pub async fn authenticate(
    clients: &Clients,
    revocations: &Revocations,
    now: Timestamp,
    id: &str,
    secret: Option<&SecretString>,
) -> Result<Option<Arc<Client>>, DbErr> {
    let Ok(id) = id.parse::<ClientId>() else { return Ok(None) };
    let Some(client) = clients.find(id).await? else { return Ok(None) };
    if client.status() != Status::Active || revocations.contains(Subject::Client(id)) {
        return Ok(None);
    }
    let is_proven = match secret {
        Some(secret) => client.is_confidential && has_secret(&client, now, secret),
        None => !client.is_confidential,
    };
    Ok(is_proven.then_some(client))
}

fn has_secret(client: &Client, now: Timestamp, secret: &SecretString) -> bool {
    let digest = key::digest(secret.expose_secret());
    client
        .secrets
        .iter()
        .filter(|stored| stored.is_good(now))
        .any(|stored| verify_slices_are_equal(&stored.digest, &digest).is_ok())
}

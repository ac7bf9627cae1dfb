//! What is watched over API keys beside their use: decoys, keys that end soon or that nobody uses, and keys that were
//! found where they should not be. Each ends in an alert to the owner.

mod decoy;
mod leaked;
mod notices;
mod store;

use entity::{ApiKeyId, Timestamp};
use sea_orm::{DatabaseTransaction, DbErr};
use serde_json::Value;

use super::ApiKey;
use crate::alerts::{Alert, AlertKind, Alerts};
use crate::audit::By;

pub use decoy::tripped;
pub use leaked::{Leak, Remedy, end_leaked, find_leaked};
pub use notices::{tell_of_disuse, tell_of_expiry};

/// Raises an alert about a key, which the transaction sees as it is now. Nothing happens where there is no such key.
///
/// # Errors
/// When the database fails.
pub async fn raise_alert(
    tx: &DatabaseTransaction,
    alerts: &Alerts,
    now: Timestamp,
    by: &By,
    kind: AlertKind,
    id: ApiKeyId,
    detail: Value,
) -> Result<(), DbErr> {
    match super::find(tx, None, id).await? {
        Some(key) => alerts.raise(tx, now, by, about(kind, &key, detail)).await,
        None => Ok(()),
    }
}

/// An alert about a key, with further facts as a JSON object.
fn about(kind: AlertKind, key: &ApiKey, detail: Value) -> Alert {
    Alert {
        kind,
        organization: Some(key.organization),
        owner: key.owner,
        target: key.id.to_string(),
        name: key.name.clone(),
        hint: Some(format!("{}…{}", key.start, key.end)),
        detail: match detail {
            Value::Object(members) => members,
            _ => serde_json::Map::new(),
        },
    }
}

use entity::{Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use super::store;
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_name};

/// Calls somebody by another name.
///
/// # Errors
/// When the name can't be one, or there is no such account (any more).
pub async fn rename(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    user: UserId,
    name: &str,
) -> Result<(), Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", name, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    if !store::update_name(tx, user, name).await? {
        return Err(Refused::NotFound);
    }
    // The trail knows people by their ids alone.
    audit::record(tx, now, by, Event::new("user.renamed", user)).await?;
    Ok(())
}

use entity::{Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use crate::audit::{self, By, Event};
use crate::grants::{self, EndedGrant};
use crate::identity::{self, User};
use crate::platform::Refused;
use crate::revocation::{self, About, Subject};

/// Suspends an account: its person is logged out everywhere and can't log in, what they have allowed ends for good, and
/// the keys that they own reach nothing until it is resumed. Suspending it again changes nothing.
///
/// # Errors
/// When there is no such account, it is that of whoever asks, or the database fails.
pub async fn suspend_user(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    asking: Option<UserId>,
    id: UserId,
) -> Result<User, Refused> {
    if asking == Some(id) {
        return Err(Refused::Conflict("You can't suspend yourself.".to_owned()));
    }
    if identity::mark_suspended(tx, id, now).await? {
        identity::delete_sessions(tx, id).await?;
        let ended = grants::end_of_user(tx, now, id, None).await?;
        let event = Event::new("user.suspended", id)
            .with(serde_json::json!({ "grants_ended": ended.len() }));
        audit::record(tx, now, by, event).await?;
        let ended: Vec<About> = ended.iter().map(EndedGrant::about).collect();
        revocation::append_revoked(tx, now, &ended).await?;
        revocation::append_narrowed(tx, now, &[Subject::User(id).for_everybody()]).await?;
    }
    identity::find_user(tx, id).await?.ok_or(Refused::NotFound)
}

/// Lets a suspended person log in again, and their keys work again. Resuming an account that is in use changes nothing.
///
/// # Errors
/// When there is no such account, it was erased, or the database fails.
pub async fn resume_user(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    id: UserId,
) -> Result<User, Refused> {
    if identity::mark_resumed(tx, id).await? {
        // Whatever slipped in beside the suspension must not come to life now.
        identity::delete_sessions(tx, id).await?;
        let ended = grants::end_of_user(tx, now, id, None).await?;
        audit::record(tx, now, by, Event::new("user.resumed", id)).await?;
        let ended: Vec<About> = ended.iter().map(EndedGrant::about).collect();
        revocation::append_revoked(tx, now, &ended).await?;
        revocation::append_changed(tx, now, &[Subject::User(id).for_everybody()]).await?;
    }
    let user = identity::find_user(tx, id).await?.ok_or(Refused::NotFound)?;
    if user.erased_at.is_some() {
        return Err(Refused::Conflict("The account was erased, and that is for good.".to_owned()));
    }
    Ok(user)
}

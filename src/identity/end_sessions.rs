//! People end sessions of their own, above all those that they don't recognise. The cookie of one is worth nothing from
//! then on.

use entity::{SessionId, Timestamp};
use sea_orm::DbErr;

use super::{Session, store};
use crate::audit::{self, Actor, Event, Source};
use crate::platform::db::Db;

/// Ends one session of the person whose session `own` is; false where they have none such (any more).
///
/// # Errors
/// When the database fails.
pub async fn end_own_session(
    db: &Db,
    now: Timestamp,
    source: Source,
    own: &Session,
    id: SessionId,
) -> Result<bool, DbErr> {
    let tx = db.begin().await?;
    if !store::delete_own_session(&tx, own.user, id).await? {
        return Ok(false);
    }
    let event =
        Event::new("user.session_ended", own.user).with(serde_json::json!({ "session": id }));
    audit::record(&tx, now, &source.by(Actor::User(own.user)), event).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends all sessions of the person but `own`; says how many.
///
/// # Errors
/// When the database fails.
pub async fn end_other_sessions(
    db: &Db,
    now: Timestamp,
    source: Source,
    own: &Session,
) -> Result<u64, DbErr> {
    let tx = db.begin().await?;
    // Two who end one another's sessions, or one who changes the password meanwhile, come one after the other.
    if !store::lock_active_user(&tx, own.user).await? {
        return Ok(0);
    }
    let ended = store::delete_other_sessions(&tx, own.user, own.id).await?;
    if ended > 0 {
        let event = Event::new("user.other_sessions_ended", own.user)
            .with(serde_json::json!({ "sessions": ended }));
        audit::record(&tx, now, &source.by(Actor::User(own.user)), event).await?;
        tx.commit().await?;
    }
    Ok(ended)
}

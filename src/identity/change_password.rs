//! Somebody who is logged in changes their password: with the current one, because whoever finds a browser open, or has
//! stolen its cookie, does not have that. Whoever else was logged in as them is out.

use std::time::Duration;

use entity::{SessionId, Timestamp, UserId};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::confirm::{Attempted, PasswordAttempt, check_attempt};
use super::create_user::check_password;
use super::{Session, store};
use crate::audit::{self, Actor, By, Event, Source};
use crate::platform::db::Db;
use crate::platform::password::Passwords;
use crate::platform::{FieldError, Refused};
use crate::rate_limit::RateLimits;

/// What somebody wants their password to be.
pub struct NewPassword {
    pub current: PasswordAttempt,
    pub new: SecretString,
}

/// A change of password of which the current one was right, and the new one is hashed.
pub struct CheckedPassword {
    user: UserId,
    session: SessionId,
    from: String,
    to: String,
}

/// What came of the check.
pub enum PasswordCheck {
    Right(CheckedPassword),
    Wrong,
    /// Too many attempts; how long to wait.
    Throttled(Duration),
}

/// Checks the new password, then the current one, as a login does; attempts count like those to log in.
///
/// # Errors
/// What is wrong with `new_password`; `Busy` when too many passwords are being checked, or when the database fails.
pub async fn check_new_password(
    db: &Db,
    passwords: &Passwords,
    limits: &RateLimits,
    now: Timestamp,
    source: Source,
    session: &Session,
    wanted: NewPassword,
) -> Result<PasswordCheck, Refused> {
    let mut errors = Vec::new();
    check_password("new_password", &wanted.new, &mut errors);
    if wanted.new.expose_secret() == wanted.current.password.expose_secret() {
        errors.push(FieldError::new("new_password", "must be another than the current one"));
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let attempt = wanted.current;
    let attempted =
        check_attempt(db, passwords, limits, now, source.clone(), session, attempt).await?;
    match attempted {
        Attempted::Throttled(wait) => Ok(PasswordCheck::Throttled(wait)),
        Attempted::Wrong => {
            let by = source.by(Actor::User(session.user));
            let event = Event::new("user.password_refused", session.user);
            audit::record(db.writer(), now, &by, event).await?;
            Ok(PasswordCheck::Wrong)
        }
        Attempted::Right { hash: from } => {
            let to = passwords.hash(wanted.new).await?;
            let (user, session) = (session.user, session.id);
            Ok(PasswordCheck::Right(CheckedPassword { user, session, from, to }))
        }
    }
}

/// Changes the password, and ends all other sessions of the person; says how many.
///
/// # Errors
/// `Conflict` when the password was changed since it was checked, or the session has ended.
pub async fn change_password(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    checked: CheckedPassword,
) -> Result<u64, Refused> {
    let CheckedPassword { user, session, from, to } = checked;
    // Whoever has the account's row is alone: no login goes on by the old password after this.
    if !store::replace_password_hash(tx, user, &from, &to).await? {
        let why = "The password was changed in the meantime. Log in with the new one.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    if !store::mark_authenticated(tx, session, now).await? {
        let why = "You were logged out in the meantime. Log in again.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    let ended = store::delete_other_sessions(tx, user, session).await?;
    let event = Event::new("user.password_changed", user)
        .with(serde_json::json!({ "sessions_ended": ended }));
    audit::record(tx, now, by, event).await?;
    Ok(ended)
}

use std::net::IpAddr;
use std::time::Duration;

use entity::Timestamp;
use secrecy::SecretString;

use super::login::record_throttling;
use super::{Session, store};
use crate::audit::{self, Actor, Event, Source};
use crate::platform::db::Db;
use crate::platform::password::{Checked, Passwords};
use crate::rate_limit::RateLimits;

/// For how long a password that was entered is enough for what is powerful.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(15 * 60);

/// A password that somebody enters who is logged in.
pub struct PasswordAttempt {
    pub password: SecretString,
    pub address: Option<IpAddr>,
}

/// What came of it.
pub enum Confirmation {
    Confirmed,
    Wrong,
    /// Too many attempts; how long to wait.
    Throttled(Duration),
}

/// Whether the password was entered in this session so recently that it need not be again.
#[must_use]
pub fn is_confirmed(session: &Session, now: Timestamp) -> bool {
    now < session.authenticated_at + CONFIRMED_FOR
}

/// Checks the password of somebody who is logged in, once more: whoever finds a browser open, or has stolen its cookie,
/// does not have it. Attempts count like those to log in.
///
/// # Errors
/// `Busy` when too many passwords are being checked, or when the database fails.
pub async fn confirm_password(
    db: &Db,
    passwords: &Passwords,
    limits: &RateLimits,
    now: Timestamp,
    source: Source,
    session: &Session,
    attempt: PasswordAttempt,
) -> anyhow::Result<Confirmation> {
    let attempted =
        check_attempt(db, passwords, limits, now, source.clone(), session, attempt).await?;
    let is_right = match attempted {
        Attempted::Throttled(wait) => return Ok(Confirmation::Throttled(wait)),
        Attempted::Right { .. } => true,
        Attempted::Wrong => false,
    };
    let tx = db.begin().await?;
    let is_confirmed = is_right && store::mark_authenticated(&tx, session.id, now).await?;
    let action = if is_confirmed { "user.password_confirmed" } else { "user.password_refused" };
    let by = source.by(Actor::User(session.user));
    audit::record(&tx, now, &by, Event::new(action, session.user)).await?;
    tx.commit().await?;
    Ok(if is_confirmed { Confirmation::Confirmed } else { Confirmation::Wrong })
}

/// What a password is that was entered.
pub(super) enum Attempted {
    /// It is the one of which this is the hash.
    Right {
        hash: String,
    },
    Wrong,
    Throttled(Duration),
}

/// Counts the attempt, and checks the password. Only what is throttled is written down here.
pub(super) async fn check_attempt(
    db: &Db,
    passwords: &Passwords,
    limits: &RateLimits,
    now: Timestamp,
    source: Source,
    session: &Session,
    attempt: PasswordAttempt,
) -> anyhow::Result<Attempted> {
    if let Err(throttled) = limits.login(&session.email, attempt.address) {
        if throttled.is_news {
            record_throttling(db, now, source, &session.email, throttled.limit).await?;
        }
        return Ok(Attempted::Throttled(throttled.wait));
    }
    let found = store::find_credentials(db.reader(), &session.email).await?;
    let stored = found.filter(|found| !found.is_suspended && found.user == session.user);
    let stored = stored.map(|found| found.password_hash);
    match passwords.check(attempt.password, stored.clone()).await? {
        Checked::Wrong => Ok(Attempted::Wrong),
        // Without a hash to be checked against, every password is wrong.
        _ => Ok(stored.map_or(Attempted::Wrong, |hash| Attempted::Right { hash })),
    }
}

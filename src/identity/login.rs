use std::net::IpAddr;
use std::time::Duration;

use entity::{Timestamp, UserId};
use sea_orm::{DatabaseTransaction, DbErr};
use secrecy::SecretString;

use super::normalized_email;
use super::session::{SessionToken, begin_session};
use super::store::{self, Credentials};
use crate::audit::{self, Actor, Event, Source};
use crate::platform::db::Db;
use crate::platform::password::{Checked, Passwords};
use crate::rate_limit::{Limited, RateLimits};

/// What came of an attempt to log in.
pub enum Login {
    Done(SessionToken),
    /// Unknown account, wrong password or suspended: whoever asks is not told which.
    Refused,
    /// Too many attempts; how long to wait.
    Throttled(Duration),
}

/// What is needed to log somebody in.
pub struct LoginAttempt<'a> {
    pub email: &'a str,
    pub password: SecretString,
    pub address: Option<IpAddr>,
    /// How long the session may last.
    pub lifetime: Duration,
}

/// Checks the password and begins a session. It takes as long for an account that does not exist.
///
/// # Errors
/// `Busy` when too many passwords are being checked, or when the database fails.
pub async fn log_in(
    db: &Db,
    passwords: &Passwords,
    limits: &RateLimits,
    now: Timestamp,
    source: Source,
    attempt: LoginAttempt<'_>,
) -> anyhow::Result<Login> {
    // An address that can't be one is throttled and refused like one that nobody has.
    let email = normalized_email(attempt.email).unwrap_or_default();
    if let Err(throttled) = limits.login(&email, attempt.address) {
        if throttled.is_news {
            record_throttling(db, now, source, &email, throttled.limit).await?;
        }
        return Ok(Login::Throttled(throttled.wait));
    }
    let found = store::find_credentials(db.reader(), &email).await?;
    let stored = found.as_ref().map(|found| found.password_hash.clone());
    let checked = passwords.check(attempt.password.clone(), stored).await?;
    if checked != Checked::Wrong
        && let Some(found) = found.as_ref().filter(|found| !found.is_suspended)
    {
        let hash = match checked {
            Checked::RightButOutdated => passwords.hash(attempt.password).await?,
            _ => found.password_hash.clone(),
        };
        let session = begin_by(db, now, source.clone(), attempt.lifetime, found, &hash).await?;
        if let Some(session) = session {
            return Ok(Login::Done(session));
        }
    }
    let event = Event {
        action: "user.login_failed",
        target: found.map(|found| found.user.to_string()),
        organization: None,
        detail: None,
    };
    audit::record(db.writer(), now, &source.by(Actor::Anonymous), event).await?;
    Ok(Login::Refused)
}

/// Begins a session by these credentials, if they are the account's still; `hash` is what the password's hash is from
/// now on. Whoever changes the password ends the sessions that there are: no further one begins by the old password,
/// nor does that come back in a fresh hash.
async fn begin_by(
    db: &Db,
    now: Timestamp,
    source: Source,
    lifetime: Duration,
    found: &Credentials,
    hash: &str,
) -> Result<Option<SessionToken>, DbErr> {
    let tx = db.begin().await?;
    if !store::replace_password_hash(&tx, found.user, &found.password_hash, hash).await? {
        return Ok(None);
    }
    let session = begin(&tx, now, source, lifetime, found.user).await?;
    tx.commit().await?;
    Ok(Some(session))
}

/// Begins the session of somebody whose identity is established.
pub(super) async fn begin(
    tx: &DatabaseTransaction,
    now: Timestamp,
    source: Source,
    lifetime: Duration,
    user: UserId,
) -> Result<SessionToken, DbErr> {
    let session = begin_session(tx, now, lifetime, user, &source).await?;
    let by = source.by(Actor::User(user));
    audit::record(tx, now, &by, Event::new("user.logged_in", user)).await?;
    Ok(session)
}

pub(super) async fn record_throttling(
    db: &Db,
    now: Timestamp,
    source: Source,
    email: &str,
    limit: Limited,
) -> Result<(), DbErr> {
    let account = match limit {
        Limited::Account => store::find_credentials(db.reader(), email).await?,
        Limited::Address => None,
    };
    let event = Event {
        action: "user.login_throttled",
        target: account.map(|account| account.user.to_string()),
        organization: None,
        detail: Some(serde_json::json!({ "limit": limit })),
    };
    audit::record(db.writer(), now, &source.by(Actor::Anonymous), event).await
}

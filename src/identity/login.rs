use std::net::IpAddr;
use std::time::Duration;

use entity::{Timestamp, UserId};
use sea_orm::DbErr;
use secrecy::SecretString;

use super::session::{SessionToken, begin_session};
use super::{normalized_email, store};
use crate::audit::{self, Actor, By, Event, Source};
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
    match found {
        Some(found) if checked != Checked::Wrong && !found.is_suspended => {
            if checked == Checked::RightButOutdated {
                let hash = passwords.hash(attempt.password).await?;
                store::update_password_hash(db.writer(), found.user, &hash).await?;
            }
            Ok(Login::Done(begin(db, now, source, attempt.lifetime, found.user).await?))
        }
        found => {
            let by: By = source.by(Actor::Anonymous);
            let event = Event {
                action: "user.login_failed",
                target: found.map(|found| found.user.to_string()),
                organization: None,
                detail: None,
            };
            audit::record(db.writer(), now, &by, event).await?;
            Ok(Login::Refused)
        }
    }
}

/// Begins the session of somebody whose identity is established.
pub(super) async fn begin(
    db: &Db,
    now: Timestamp,
    source: Source,
    lifetime: Duration,
    user: UserId,
) -> Result<SessionToken, DbErr> {
    let tx = db.begin().await?;
    let session = begin_session(&tx, now, lifetime, user).await?;
    let by = source.by(Actor::User(user));
    audit::record(&tx, now, &by, Event::new("user.logged_in", user)).await?;
    tx.commit().await?;
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

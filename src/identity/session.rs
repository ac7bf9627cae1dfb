//! Browser sessions: a random cookie, of which the database knows the SHA-256.

use std::time::Duration;

use entity::{SessionId, Timestamp, UserId};
use portcullis_verifier::key;
use sea_orm::{ConnectionTrait, DbErr};
use secrecy::{ExposeSecret as _, SecretString};

use super::store::{self, NewSession};
use crate::audit::{self, Actor, Event, Source};
use crate::platform::db::Db;
use crate::platform::entropy::random_token;

/// The cookie's value.
pub struct SessionToken(SecretString);

impl SessionToken {
    pub(super) fn random() -> Self {
        Self(random_token().into())
    }

    /// Takes what a browser sent for one.
    #[must_use]
    pub fn from_cookie(value: &str) -> Self {
        Self(value.into())
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        key::digest(self.0.expose_secret())
    }
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub email: String,
    /// When the password was last entered.
    pub authenticated_at: Timestamp,
}

/// A session as its person sees it in the list of them.
#[derive(Debug, Clone)]
pub struct OpenSession {
    pub id: SessionId,
    pub began_at: Timestamp,
    /// When the password was last entered.
    pub authenticated_at: Timestamp,
    pub expires_at: Timestamp,
    /// What the browser said of itself at the login.
    pub user_agent: Option<String>,
    /// The address that the login came from.
    pub address: Option<String>,
}

pub(super) async fn begin_session(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    lifetime: Duration,
    user: UserId,
    source: &Source,
) -> Result<SessionToken, DbErr> {
    let token = SessionToken::random();
    let new = NewSession {
        id: SessionId::new(now),
        digest: token.digest(),
        user,
        began_at: now,
        expires_at: now + lifetime,
        source,
    };
    store::insert_session(connection, new).await?;
    Ok(token)
}

/// The session that the cookie stands for, if it is still good and its user not suspended.
///
/// # Errors
/// When the database fails.
pub async fn find_session(
    db: &Db,
    now: Timestamp,
    token: &SessionToken,
) -> Result<Option<Session>, DbErr> {
    store::find_session(db.reader(), token.digest(), now).await
}

/// Ends the session at once; one that is unknown is ended already.
///
/// # Errors
/// When the database fails.
pub async fn end_session(
    db: &Db,
    now: Timestamp,
    source: Source,
    token: &SessionToken,
) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    if let Some(user) = store::delete_session(&tx, token.digest()).await? {
        let by = source.by(Actor::User(user));
        audit::record(&tx, now, &by, Event::new("user.logged_out", user)).await?;
        tx.commit().await?;
    }
    Ok(())
}

//! Browser sessions: a random cookie, of which the database knows the SHA-256.

use std::time::Duration;

use entity::{SessionId, Timestamp, UserId};
use portcullis_verifier::key;
use sea_orm::{ConnectionTrait, DbErr};
use secrecy::{ExposeSecret as _, SecretString};

use super::store;
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

pub(super) async fn begin_session(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    lifetime: Duration,
    user: UserId,
) -> Result<SessionToken, DbErr> {
    let token = SessionToken::random();
    store::insert_session(
        connection,
        SessionId::new(now),
        token.digest(),
        user,
        now,
        now + lifetime,
    )
    .await?;
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

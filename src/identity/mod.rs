//! People: their accounts, passwords and browser sessions, and the setup that makes the first of them.
//!
//! Does not own: which organization they belong to (tenancy), or what they have allowed (grants).

mod confirm;
mod create_user;
mod email;
mod login;
pub mod pages;
mod session;
mod setup;
mod store;

use entity::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

pub use confirm::{Confirmation, PasswordAttempt, confirm_password, is_confirmed};
pub use create_user::{CheckedUser, NewUser, create_user, insert_user};
pub use email::normalized_email;
pub use login::{Login, LoginAttempt, log_in};
pub use session::{Session, SessionToken, end_session, find_session};
pub use setup::{SetUp, SetUpRefused, is_set_up, link_is_valid, make_setup_link, set_up};
pub use store::{
    ListUsers, delete_expired, delete_sessions, find_user, find_user_by_email, find_users,
    list_users, lock_active_user, mark_erased, mark_resumed, mark_suspended, search_users,
};

/// The `[login]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginSettings {
    /// How long a browser stays logged in, in seconds.
    pub session_seconds: u64,
}

impl Default for LoginSettings {
    fn default() -> Self {
        Self { session_seconds: 7 * 24 * 60 * 60 }
    }
}

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub created_at: Timestamp,
    pub suspended_at: Option<Timestamp>,
    pub erased_at: Option<Timestamp>,
}

/// What an account is: derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    Active,
    /// Can't log in, and nothing of theirs works, until somebody resumes it.
    Suspended,
    /// Gone for good.
    Erased,
}

impl User {
    #[must_use]
    pub fn status(&self) -> UserStatus {
        match (self.erased_at, self.suspended_at) {
            (Some(_), _) => UserStatus::Erased,
            (None, Some(_)) => UserStatus::Suspended,
            (None, None) => UserStatus::Active,
        }
    }
}

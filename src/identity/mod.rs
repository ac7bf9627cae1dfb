//! People: their accounts, passwords and browser sessions, and the setup that makes the first of them.
//!
//! Does not own: which organization they belong to (tenancy), or what they have allowed (grants).

mod change_password;
mod confirm;
mod create_user;
mod device;
mod email;
mod end_sessions;
mod login;
pub mod pages;
mod rename;
mod session;
mod setup;
mod store;

use entity::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

pub use change_password::{
    CheckedPassword, NewPassword, PasswordCheck, change_password, check_new_password,
};
pub use confirm::{Confirmation, PasswordAttempt, confirm_password, is_confirmed};
pub use create_user::{CheckedUser, NewUser, create_user, insert_user};
pub use device::device;
pub use email::normalized_email;
pub use end_sessions::{end_other_sessions, end_own_session};
pub use login::{Login, LoginAttempt, log_in};
pub use rename::rename;
pub use session::{OpenSession, Session, SessionToken, end_session, find_session};
pub use setup::{SetUp, SetUpRefused, is_set_up, link_is_valid, make_setup_link, set_up};
pub use store::{
    ListUsers, delete_expired, delete_sessions, find_user, find_user_by_email, find_users,
    list_sessions, list_users, lock_active_user, mark_erased, mark_resumed, mark_suspended,
    search_users,
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

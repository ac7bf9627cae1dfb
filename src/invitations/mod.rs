//! Invitations: one-time links by which people join an organization, with an account that they have or one that they
//! make there and then.
//!
//! Owns: `/v1/invitations`, the page behind the link, the letter that brings it, and the link's life: open, then
//! accepted, revoked or expired. Does not own: memberships and roles (tenancy), accounts (identity), the sending of
//! mail (platform).

mod accept;
pub mod api;
mod find_open;
mod invite;
mod letter;
pub mod pages;
mod revoke;
mod store;

use std::time::Duration;

use entity::{InvitationId, OrganizationId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::tenancy::RoleRef;

pub use accept::{Joiner, NotAccepted, accept};
pub use find_open::{OpenInvitation, find_open};
pub use invite::{NewInvitation, Power, invite};
pub use letter::{Letter, letter};
pub use revoke::revoke;
pub use store::{ListInvitations, list};

/// How long a link is good.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An invitation, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    pub organization: OrganizationId,
    pub email: String,
    pub role: RoleRef,
    /// None where no person stood behind it: the command line, or a key of the organization's own.
    pub invited_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub accepted_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// What an invitation is at a moment: derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InvitationStatus)]
pub enum Status {
    Open,
    Accepted,
    Revoked,
    Expired,
}

impl Invitation {
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        match (self.accepted_at, self.revoked_at) {
            (Some(_), _) => Status::Accepted,
            (None, Some(_)) => Status::Revoked,
            (None, None) if self.expires_at <= now => Status::Expired,
            (None, None) => Status::Open,
        }
    }
}

/// The link that a token makes.
#[must_use]
pub fn link(issuer: &str, token: &secrecy::SecretString) -> secrecy::SecretString {
    use secrecy::ExposeSecret as _;
    format!("{issuer}/invitation?token={}", token.expose_secret()).into()
}

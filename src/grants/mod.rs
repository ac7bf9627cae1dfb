//! Grants: what was allowed. Every token descends from one.
//!
//! Owns: authorization codes (a grant to be), remembered consent, the state of the refresh token (in the grant's
//! row), the end of a grant, and what a person sees of it all: their connected apps. Does not own: the making of
//! tokens (tokens).

pub mod api;
mod code;
mod connected;
mod disconnect;
mod end;
mod end_leaked;
mod end_some;
pub mod pages;
mod queues;
mod store;

use entity::{ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use serde::{Deserialize, Serialize};

pub use code::{CODE_LIFETIME, Code, issue_code};
pub use connected::{ConnectedApp, connected_apps};
pub use disconnect::disconnect;
pub use end::Ending;
pub use end_leaked::end_leaked;
pub use end_some::end_some;
pub use queues::{Grants, Redemption, Step};
pub use store::{
    Consent, EndedGrant, ListGrants, LivingGrants, clear_retry_answers, count_living,
    delete_expired_codes, end_of_organization, end_of_project, end_of_resource_server, end_of_user,
    find, forget_consents, forget_left_out, list, list_consents, remember_consent,
};

/// What was allowed, and how far its refresh token has come.
#[derive(Debug, Clone)]
pub struct Grant {
    pub id: GrantId,
    pub client: ClientId,
    /// None when the client acts for itself.
    pub user: Option<UserId>,
    pub organization: OrganizationId,
    /// The project that it is confined to.
    pub project: Option<ProjectId>,
    pub resource_server: ResourceServerId,
    pub scopes: ScopeSet,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub refresh: Option<Refresh>,
}

/// Whether a grant still allows anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = GrantStatus)]
pub enum Status {
    Active,
    Ended,
}

impl Grant {
    #[must_use]
    pub fn status(&self) -> Status {
        if self.ended_at.is_some() { Status::Ended } else { Status::Active }
    }

    /// When its refresh token was last traded for another.
    #[must_use]
    pub fn last_refreshed_at(&self) -> Option<Timestamp> {
        self.refresh.as_ref().filter(|it| it.generation > 1).map(|it| it.rotated_at)
    }
}

/// A grant, or what a code will make of one, and what stands behind it at this moment.
#[derive(Debug, Clone)]
pub struct Standing<T> {
    pub of: T,
    /// Whether the project that it is confined to is still there; true for what is confined to none.
    pub has_its_project: bool,
    /// The most that its user may allow now; none where they are suspended or no member any more, and where a client
    /// acts for itself.
    pub reach: Option<ScopeSet>,
}

/// The state of a grant's refresh token.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The generation that is valid now; the first is 1.
    pub generation: i64,
    /// When it dies if it is not used.
    pub expires_at: Timestamp,
    /// When it dies in any case.
    pub absolute_expires_at: Timestamp,
    pub rotated_at: Timestamp,
    /// The answer that the generation before got, sealed.
    pub retry_answer: Option<Vec<u8>>,
}

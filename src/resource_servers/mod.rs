//! Resource servers: the APIs that accept our credentials, each with an audience and a catalog of scopes.
//!
//! Our own management API is one of them; its audience is the issuer.

pub mod api;
mod authenticate;
mod cache;
mod catalog;
mod create;
mod edit;
mod leaked_credential;
mod management;
pub mod pages;
mod rotate_credential;
mod store;

use std::time::Duration;

use entity::{OrganizationId, ResourceServerId, Timestamp};

pub use authenticate::authenticate;
pub use cache::ResourceServers;
pub use catalog::{Catalog, CatalogScope};
pub use create::{NewResourceServer, create, may_be_shared};
pub use edit::{ResourceServerChanges, edit, refusal};
pub use leaked_credential::{LeakedCredential, end_leaked_credential};
pub use management::{adopt_management_api, ensure_management_api, management_catalog, scopes};
pub use rotate_credential::rotate_credential;
pub use store::{
    delete_of_organization, find_by_audience, find_id_by_audience, list_all, list_offered,
    mark_deleted,
};

use crate::revocation::LONGEST_TOKEN_LIFETIME;
use crate::signing::Algorithm;

/// How long a token that was being made may take, and clocks may differ.
const LEEWAY: Duration = Duration::from_secs(10 * 60);

/// An API that accepts our credentials.
#[derive(Debug, Clone)]
pub struct ResourceServer {
    pub id: ResourceServerId,
    /// None for the management API.
    pub organization: Option<OrganizationId>,
    /// The `aud` of its tokens (RFC 9068 §3), and the `resource` that asks for them (RFC 8707).
    pub audience: String,
    pub name: String,
    pub algorithm: Algorithm,
    /// None: as the setting says.
    pub access_token_lifetime: Option<Duration>,
    pub catalog: Catalog,
    pub is_management: bool,
    /// Whether every organization may use it, or its own alone.
    pub is_shared: bool,
    /// When it was last taken back from other organizations, if it ever was shared.
    pub unshared_at: Option<Timestamp>,
    /// Whether its access tokens have a place in a status list.
    pub status_list: bool,
    /// Until when the credential before the present one works too.
    pub older_credential_expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub version: i32,
}

impl ResourceServer {
    /// Whether this organization's people, clients and keys may have its scopes.
    #[must_use]
    pub fn is_offered_to(&self, organization: OrganizationId) -> bool {
        self.is_shared || self.organization == Some(organization)
    }

    /// The one organization whose tokens and keys it may still hold good; none where there may be others'. One that
    /// was taken back from others has tokens of theirs until the last of them has expired.
    #[must_use]
    pub fn only_of(&self, now: Timestamp) -> Option<OrganizationId> {
        let is_fresh = |at| at + LONGEST_TOKEN_LIFETIME + LEEWAY > now;
        self.organization.filter(|_| !self.is_shared && !self.unshared_at.is_some_and(is_fresh))
    }
}

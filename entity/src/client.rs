//! OAuth clients.

use sea_orm::entity::prelude::*;

use crate::{ClientId, OrganizationId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clients")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ClientId,
    pub organization_id: OrganizationId,
    pub name: String,
    /// The name in lower case, for search.
    pub search_name: String,
    /// Whether it can keep a secret (RFC 6749 §2.1).
    pub is_confidential: bool,
    pub requires_pkce: bool,
    /// Space-separated grant types.
    pub grant_types: String,
    /// Space-separated; a URI holds no space.
    pub redirect_uris: String,
    /// How long the same refresh token may be presented again, in seconds (0–60).
    pub refresh_retry_seconds: i32,
    /// Whether it is the company's own, which people need not be asked about.
    pub is_first_party: bool,
    pub logo_uri: Option<String>,
    pub policy_uri: Option<String>,
    pub tos_uri: Option<String>,
    pub version: i32,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

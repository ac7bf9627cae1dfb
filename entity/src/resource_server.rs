//! Resource servers: the APIs that accept our credentials.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, ResourceServerId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "resource_servers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ResourceServerId,
    /// None for the management API, which belongs to the installation.
    pub organization_id: Option<OrganizationId>,
    /// The `aud` of its tokens and the `resource` that asks for them (RFC 8707).
    #[sea_orm(unique)]
    pub audience: String,
    pub name: String,
    /// `ES256`, `EdDSA` or `RS256`.
    pub signing_algorithm: String,
    /// How long its access tokens live, in seconds; None for the setting.
    pub access_token_seconds: Option<i32>,
    /// SHA-256 of the credential with which it introspects and follows revocations.
    #[sea_orm(unique)]
    pub credential_digest: Option<Vec<u8>>,
    /// SHA-256 of the credential before that, while both are good.
    pub older_credential_digest: Option<Vec<u8>>,
    pub older_credential_expires_at: Option<Timestamp>,
    pub is_management: bool,
    /// Whether every organization may use it, or its own alone.
    pub is_shared: bool,
    /// When it was last taken back from other organizations, if it ever was shared.
    pub unshared_at: Option<Timestamp>,
    /// Whether its access tokens have a place in a status list.
    pub status_list: bool,
    pub version: i32,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

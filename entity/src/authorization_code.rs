//! Authorization codes (RFC 6749 §4.1.2), and the grant that redeeming one will make.

use sea_orm::entity::prelude::*;

use crate::{ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "authorization_codes")]
pub struct Model {
    /// SHA-256 of the code.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: Vec<u8>,
    pub grant_id: GrantId,
    pub client_id: ClientId,
    pub user_id: UserId,
    pub organization_id: OrganizationId,
    pub project_id: Option<ProjectId>,
    pub resource_server_id: ResourceServerId,
    pub scopes: String,
    pub redirect_uri: String,
    /// The S256 challenge (RFC 7636), where the client sent one.
    pub code_challenge: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub redeemed_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

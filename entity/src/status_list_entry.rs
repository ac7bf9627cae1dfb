//! Places in status lists: which access token has it, and what the token descends from.

use sea_orm::entity::prelude::*;

use crate::{
    ApiKeyId, ClientId, GrantId, OrganizationId, ProjectId, SecretId, StatusListId, Timestamp,
    TokenId, UserId,
};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "status_list_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub list_id: StatusListId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub idx: i32,
    pub token_id: TokenId,
    pub organization_id: OrganizationId,
    pub project_id: Option<ProjectId>,
    pub grant_id: Option<GrantId>,
    pub client_id: Option<ClientId>,
    /// In whose name the client acts; None when it acts for itself.
    pub user_id: Option<UserId>,
    /// The API key that the token was exchanged for; then there is no grant and no client.
    pub api_key_id: Option<ApiKeyId>,
    pub secret_id: Option<SecretId>,
    pub owner_id: Option<UserId>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

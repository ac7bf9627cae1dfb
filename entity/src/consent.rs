//! What a user has consented to, scope by scope, remembered so that it need not be asked again.

use sea_orm::entity::prelude::*;

use crate::{ClientId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consents")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: ClientId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: OrganizationId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_server_id: ResourceServerId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    /// The project that it was confined to.
    pub project_id: Option<ProjectId>,
    pub granted_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

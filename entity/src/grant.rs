//! Grants: what was allowed. Every token descends from one; the row is also the refresh token's state.

use sea_orm::entity::prelude::*;

use crate::{ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "grants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: GrantId,
    pub client_id: ClientId,
    /// None when a client acts for itself.
    pub user_id: Option<UserId>,
    pub organization_id: OrganizationId,
    /// The project that it is confined to.
    pub project_id: Option<ProjectId>,
    pub resource_server_id: ResourceServerId,
    pub scopes: String,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The generation of the refresh token that is valid now; 0 when none was handed out.
    pub generation: i64,
    /// When the refresh token dies if it is not used (sliding).
    pub refresh_expires_at: Option<Timestamp>,
    /// When it dies in any case.
    pub absolute_expires_at: Option<Timestamp>,
    pub rotated_at: Option<Timestamp>,
    /// The last answer, sealed under a key that only the token that asked for it yields.
    pub retry_answer: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}

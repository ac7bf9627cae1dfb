//! Invitations: one-time links by which people join an organization.

use sea_orm::entity::prelude::*;

use crate::{InvitationId, OrganizationId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invitations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: InvitationId,
    pub organization_id: OrganizationId,
    pub email: String,
    /// The name of a built-in role, or the id of one of the organization's own.
    pub role: String,
    /// SHA-256 of the link's token.
    #[sea_orm(unique)]
    pub digest: Vec<u8>,
    /// None for the operator.
    pub invited_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub accepted_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

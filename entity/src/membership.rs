//! Memberships: which user has which role in which organization.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "memberships")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: OrganizationId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// The name of a built-in role, or the id of one of the organization's own.
    pub role: String,
    pub created_at: Timestamp,
    pub version: i32,
    /// The user's address, for search; an address never changes but by the erasure that ends the membership.
    pub search_email: String,
}

impl ActiveModelBehavior for ActiveModel {}

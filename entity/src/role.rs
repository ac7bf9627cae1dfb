//! Roles that an organization has made for itself; the built-in ones are no rows.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, RoleId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "roles")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: RoleId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub scopes: String,
    pub created_at: Timestamp,
    pub version: i32,
}

impl ActiveModelBehavior for ActiveModel {}

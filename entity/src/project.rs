//! Projects: subdivisions of an organization.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, ProjectId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projects")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ProjectId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub description: String,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub version: i32,
}

impl ActiveModelBehavior for ActiveModel {}

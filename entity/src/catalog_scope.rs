//! The scopes that a resource server offers, each with the sentence that the consent page shows.

use sea_orm::entity::prelude::*;

use crate::ResourceServerId;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "catalog_scopes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_server_id: ResourceServerId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    pub sentence: String,
    /// Whether only somebody who administers the resource may grant it.
    pub needs_admin: bool,
    /// The order in which people see them.
    pub position: i32,
}

impl ActiveModelBehavior for ActiveModel {}

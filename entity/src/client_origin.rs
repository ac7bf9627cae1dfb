//! Web origins of clients' redirect URIs: from these a browser app may call the token endpoint.

use sea_orm::entity::prelude::*;

use crate::ClientId;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_origins")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub origin: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: ClientId,
}

impl ActiveModelBehavior for ActiveModel {}

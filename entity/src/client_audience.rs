//! Which resource servers a client may ask for, and which of their scopes.

use sea_orm::entity::prelude::*;

use crate::{ClientId, GrantId, ResourceServerId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_audiences")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: ClientId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_server_id: ResourceServerId,
    pub allowed_scopes: String,
    /// What a request without `scope` gets.
    pub default_scopes: String,
    /// The grant that `client_credentials` tokens descend from, where that grant type is allowed.
    pub own_grant_id: Option<GrantId>,
}

impl ActiveModelBehavior for ActiveModel {}

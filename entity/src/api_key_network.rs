//! The networks, of the size of a country, from which an API key was used.

use sea_orm::entity::prelude::*;

use crate::{ApiKeyId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key_networks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub api_key_id: ApiKeyId,
    /// A /16, or a /32 of IPv6.
    #[sea_orm(primary_key, auto_increment = false)]
    pub network: String,
    pub first_used_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

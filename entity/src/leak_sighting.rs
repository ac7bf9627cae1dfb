//! Where a leaked API key was seen, so that each place is told of once.

use sea_orm::entity::prelude::*;

use crate::{ApiKeyId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "leak_sightings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub api_key_id: ApiKeyId,
    /// SHA-256 of where it was.
    #[sea_orm(primary_key, auto_increment = false)]
    pub place: Vec<u8>,
    pub seen_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

//! What was asked of an API key, and when last.

use sea_orm::entity::prelude::*;

use crate::{ApiKeyId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key_scope_uses")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub api_key_id: ApiKeyId,
    /// The scope that a call required.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    /// To the minute.
    pub last_used_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

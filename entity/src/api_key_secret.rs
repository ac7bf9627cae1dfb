//! Secrets of API keys: what a caller presents.

use sea_orm::entity::prelude::*;

use crate::{ApiKeyId, SecretId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key_secrets")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SecretId,
    pub api_key_id: ApiKeyId,
    /// SHA-256 of the whole key.
    #[sea_orm(unique)]
    pub digest: Vec<u8>,
    /// The first 12 characters, for people to recognise it by.
    pub start: String,
    /// The last 4 characters.
    pub end: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub last_used_from: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

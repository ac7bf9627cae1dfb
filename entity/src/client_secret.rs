//! Secrets of confidential clients; two may be valid at once.

use sea_orm::entity::prelude::*;

use crate::{ClientId, SecretId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_secrets")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SecretId,
    pub client_id: ClientId,
    /// SHA-256 of the secret.
    pub digest: Vec<u8>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

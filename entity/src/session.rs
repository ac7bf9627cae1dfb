//! Browser sessions of users.

use sea_orm::entity::prelude::*;

use crate::{SessionId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SessionId,
    /// SHA-256 of the cookie's value.
    #[sea_orm(unique)]
    pub digest: Vec<u8>,
    pub user_id: UserId,
    pub created_at: Timestamp,
    /// When the password was last entered.
    pub authenticated_at: Timestamp,
    pub expires_at: Timestamp,
    /// What the browser said of itself at the login.
    pub user_agent: Option<String>,
    /// The address that the login came from.
    pub address: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

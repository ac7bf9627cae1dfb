//! Users: people, across organizations.

use sea_orm::entity::prelude::*;

use crate::{Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UserId,
    /// In lower case, so that one address is one account.
    #[sea_orm(unique)]
    pub email: String,
    pub name: String,
    /// A PHC string of argon2id.
    pub password_hash: String,
    pub created_at: Timestamp,
    pub suspended_at: Option<Timestamp>,
    pub erased_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

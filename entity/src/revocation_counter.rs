//! One row, whose lock puts the revocation log in commit order.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocation_counter")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The last sequence number given out.
    pub seq: i64,
    /// The highest sequence number that was trimmed from the log.
    pub trimmed: i64,
}

impl ActiveModelBehavior for ActiveModel {}

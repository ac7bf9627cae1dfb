//! Reports of leaked credentials by whoever found them, until they were worked on.

use sea_orm::entity::prelude::*;

use crate::{ReportId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credential_reports")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ReportId,
    pub at: Timestamp,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
    /// A JSON object of digests and ids: none of the credentials themselves.
    pub body: String,
    /// How often it was begun.
    pub attempts: i32,
    /// Before when nobody begins it.
    pub next_try_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

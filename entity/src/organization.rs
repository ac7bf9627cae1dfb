//! Organizations: the tenant boundary.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "organizations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: OrganizationId,
    pub name: String,
    /// The name in lower case, for search.
    pub search_name: String,
    pub version: i32,
    pub created_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// How often all of its API keys together may be used; None for as often as each may.
    pub requests_per_minute: Option<i64>,
    /// What is done with an API key that leaked: `notify`, `narrow` or `revoke`.
    pub leak_policy: String,
}

impl ActiveModelBehavior for ActiveModel {}

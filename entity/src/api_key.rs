//! API keys.

use sea_orm::entity::prelude::*;

use crate::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiKeyId,
    pub organization_id: OrganizationId,
    /// The project that it is confined to.
    pub project_id: Option<ProjectId>,
    pub name: String,
    /// The name in lower case, for search.
    pub search_name: String,
    pub description: String,
    /// A JSON object of texts.
    pub labels: String,
    pub scopes: String,
    /// Space-separated networks; None for anywhere.
    pub allowed_ips: Option<String>,
    /// Such as `live` or `test`; may be empty.
    pub environment: String,
    pub created_by: UserId,
    /// Whose role bounds it; None when it belongs to the organization itself.
    pub owner_id: Option<UserId>,
    pub version: i32,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub revoked_reason: Option<String>,
    /// What its secrets begin with, where that is not the installation's first brand.
    pub brand: Option<String>,
    /// How often it may be used; None for what is usual.
    pub requests_per_minute: Option<i64>,
    /// It may do nothing, and its use is an alarm.
    pub is_decoy: bool,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub last_used_from: Option<String>,
    /// The fewest days left before its expiry that its owner was told of.
    pub told_days_left: Option<i32>,
    /// When its owner was told that nobody uses it.
    pub told_unused_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

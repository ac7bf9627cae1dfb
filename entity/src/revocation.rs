//! The revocation log, in commit order.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, ResourceServerId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub at: Timestamp,
    /// `revoked` or `changed`.
    pub kind: String,
    /// The prefixed id of what it is about.
    pub subject: String,
    /// Tokens of the subject that were issued before this moment are stale copies of it, in seconds since 1970.
    pub issued_before: Option<i64>,
    /// When nothing that it could kill can still be unexpired.
    pub expires_at: Timestamp,
    /// The organization whose credentials it concerns; None: those of every one.
    pub organization_id: Option<OrganizationId>,
    /// The one resource server that it concerns; None: every one.
    pub resource_server_id: Option<ResourceServerId>,
}

impl ActiveModelBehavior for ActiveModel {}

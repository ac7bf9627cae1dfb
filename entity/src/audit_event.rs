//! Audit events: who did what to what, from where. Never a secret.

use sea_orm::entity::prelude::*;

use crate::{AuditEventId, OrganizationId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AuditEventId,
    pub at: Timestamp,
    /// The prefixed id of who acted, or `operator` for the command line, or `anonymous`.
    pub actor: String,
    /// Such as `api_key.created`.
    pub action: String,
    /// The prefixed id of what it was done to.
    pub target: Option<String>,
    pub organization_id: Option<OrganizationId>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
    /// Further facts as a JSON object.
    pub detail: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

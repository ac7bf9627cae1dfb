//! Alerts: what people and other systems are to be told of, until they were.

use sea_orm::entity::prelude::*;

use crate::{AlertId, OrganizationId, Timestamp, UserId};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alerts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AlertId,
    pub at: Timestamp,
    /// Such as `api_key.leaked`.
    pub kind: String,
    pub organization_id: Option<OrganizationId>,
    /// A JSON object; it holds no secret.
    pub body: String,
    /// `mail` or `webhook`.
    pub channel: String,
    /// Whom the mail is for.
    pub recipient_id: Option<UserId>,
    /// How often it was tried.
    pub attempts: i32,
    /// Before when nobody tries it.
    pub next_try_at: Timestamp,
    /// When it was delivered, or given up.
    pub done_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

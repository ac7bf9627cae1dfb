//! Status lists: in each the access tokens of one resource server have their places.

use sea_orm::entity::prelude::*;

use crate::{ResourceServerId, StatusListId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "status_lists")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: StatusListId,
    pub resource_server_id: ResourceServerId,
    /// What its tokens are signed with, and the list too: `ES256`, `EdDSA` or `RS256`.
    pub signing_algorithm: String,
    pub created_at: Timestamp,
    /// When no token that has a place in it can still be unexpired.
    pub expires_at: Timestamp,
}

impl ActiveModelBehavior for ActiveModel {}

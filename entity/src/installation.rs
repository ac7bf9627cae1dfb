//! One row: the installation itself.

use sea_orm::entity::prelude::*;

use crate::{OrganizationId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "installation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The organization that runs the installation; the one that the setup made.
    pub organization_id: Option<OrganizationId>,
    /// When the first owner was made. Set once.
    pub set_up_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

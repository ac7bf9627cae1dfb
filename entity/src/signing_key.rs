//! Signing keys: upcoming → active → retiring → retired.

use sea_orm::entity::prelude::*;

use crate::{SigningKeyId, Timestamp};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SigningKeyId,
    /// RFC 7638 thumbprint of the public key.
    #[sea_orm(unique)]
    pub kid: String,
    pub algorithm: String,
    /// `upcoming`, `active`, `retiring` or `retired`.
    pub state: String,
    /// The public JWK as JSON.
    pub public_jwk: String,
    /// PKCS#8, sealed with the master key.
    pub sealed_private_key: Vec<u8>,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    /// When the last token signed with it has expired.
    pub retires_at: Option<Timestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

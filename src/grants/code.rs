//! Authorization codes: 256 random bits, stored as SHA-256, good for 60 seconds and one redemption.

use std::time::Duration;

use entity::{ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId};
use portcullis_verifier::{ScopeSet, key};
use sea_orm::{DatabaseTransaction, DbErr};
use secrecy::{ExposeSecret as _, SecretString};

use super::store;
use crate::platform::entropy::random_token;

pub const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// What a code stands for: the grant that its redemption will make.
#[derive(Debug, Clone)]
pub struct Code {
    pub grant: GrantId,
    pub client: ClientId,
    pub user: UserId,
    pub organization: OrganizationId,
    /// The project that it will be confined to.
    pub project: Option<ProjectId>,
    pub resource_server: ResourceServerId,
    pub scopes: ScopeSet,
    pub redirect_uri: String,
    /// The S256 challenge, where there was one.
    pub code_challenge: Option<String>,
    pub expires_at: Timestamp,
    pub is_redeemed: bool,
}

/// Stores the code and hands out its secret text.
///
/// # Errors
/// When the database fails.
pub async fn issue_code(
    tx: &DatabaseTransaction,
    now: Timestamp,
    code: &Code,
) -> Result<SecretString, DbErr> {
    let text = SecretString::from(random_token());
    store::insert_code(tx, now, key::digest(text.expose_secret()), code).await?;
    Ok(text)
}

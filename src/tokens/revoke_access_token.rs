use entity::{OrganizationId, Timestamp, TokenId};
use portcullis_verifier::AccessTokenClaims;

use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::revocation::{self, Subject};

/// Enters one access token into the log by its `jti`; its grant and its siblings live on.
///
/// # Errors
/// When the database fails, or the claims are not ones that we issued.
pub async fn revoke_access_token(
    db: &Db,
    now: Timestamp,
    by: &By,
    claims: &AccessTokenClaims,
) -> anyhow::Result<()> {
    let token: TokenId = claims.jti.parse()?;
    let mut event = Event::new("access_token.revoked", token);
    event.organization = claims.org.as_deref().map(str::parse::<OrganizationId>).transpose()?;
    let tx = db.begin().await?;
    audit::record(&tx, now, by, event).await?;
    revocation::append_revoked(&tx, now, &[Subject::Token(token)]).await?;
    tx.commit().await?;
    Ok(())
}

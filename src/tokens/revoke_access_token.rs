use entity::{OrganizationId, Timestamp, TokenId};
use portcullis_verifier::AccessTokenClaims;

use crate::audit::By;
use crate::grants::{Ending, Grants};
use crate::platform::db::Db;
use crate::resource_servers::find_id_by_audience;
use crate::revocation::About;

/// Enters one access token into the log by its `jti`; its grant and its siblings live on.
///
/// # Errors
/// When the database fails, or the claims are not ones that we issued.
pub async fn revoke_access_token(
    db: &Db,
    grants: &Grants,
    now: Timestamp,
    by: &By,
    claims: &AccessTokenClaims,
) -> anyhow::Result<()> {
    let token: TokenId = claims.jti.parse()?;
    let organization = claims.org.as_deref().map(str::parse::<OrganizationId>).transpose()?;
    // Ours have one audience; of one that is registered no more everybody in the organization is told.
    let mut audiences = claims.aud.iter();
    let resource_server = match (audiences.next(), audiences.next()) {
        (Some(audience), None) => find_id_by_audience(db.reader(), audience).await?,
        _ => None,
    };
    let about = About::token(token, organization, resource_server);
    grants.end(Ending::of_access_token(token, about, now, by)).await?;
    Ok(())
}

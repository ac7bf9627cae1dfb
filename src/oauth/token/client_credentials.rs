//! Tokens for a client that acts for itself (RFC 6749 §4.4). Memory knows all that is asked here; only a place in a
//! status list is written down.

use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use crate::app::App;
use crate::clients::{Client, requested};
use crate::http::Parameters;
use crate::revocation::Subject;
use crate::tokens::{Authority, Descent, issue};

pub(super) async fn tokens(
    app: &App,
    client: &Client,
    parameters: &Parameters,
) -> Result<SecretString, OAuthError> {
    let (resource, scope) = (parameters.get("resource")?, parameters.get("scope")?);
    let requested = requested(client, &app.resource_servers, &app.db, resource, scope).await?;
    let grant = requested
        .audience
        .own_grant
        .filter(|grant| !app.revocations.contains(Subject::Grant(*grant)))
        .ok_or_else(|| {
            OAuthError::new(ErrorCode::UnauthorizedClient, "the client's own grant has ended")
        })?;
    let now = app.clock.now();
    let place = app.status_lists.reserve(&app.db, now, &requested.resource_server).await?;
    let authority = Authority {
        descent: Descent::Grant { grant, client: client.id, user: None },
        organization: client.organization,
        project: None,
        resource_server: &requested.resource_server,
        scopes: requested.scopes,
        place,
    };
    let minted = issue(&app.signer, &app.config.issuer, &app.config.tokens, now, &authority, None)?;
    Ok(minted.recorded(app.db.writer()).await?.to_json())
}

//! A refresh token for the next one and an access token (RFC 6749 §6).

use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use super::invalid_grant;
use crate::app::App;
use crate::audit::By;
use crate::clients::Client;
use crate::grants::Ending;
use crate::http::Parameters;
use crate::tokens::{Asked, Mint, Refreshed, refresh};

pub(super) async fn tokens(
    app: &App,
    client: &Client,
    by: &By,
    parameters: &Parameters,
) -> Result<SecretString, OAuthError> {
    let presented =
        parameters.get("refresh_token")?.ok_or_else(|| OAuthError::missing("refresh_token"))?;
    let mint = Mint {
        db: &app.db,
        grants: &app.grants,
        signer: &app.signer,
        refresh_tokens: &app.refresh_tokens,
        resource_servers: &app.resource_servers,
        status_lists: &app.status_lists,
        settings: &app.config.tokens,
        issuer: &app.config.issuer,
        now: app.clock.now(),
    };
    let asked = Asked { scope: parameters.get("scope")?, resource: parameters.get("resource")? };
    match refresh(&mint, client, &presented.into(), asked).await? {
        Refreshed::Answer(body) => Ok(body),
        Refreshed::Refused(description) => Err(invalid_grant(description)),
        Refreshed::Widened => {
            Err(OAuthError::new(ErrorCode::InvalidScope, "the scope exceeds what was granted"))
        }
        Refreshed::WrongTarget => {
            Err(OAuthError::new(ErrorCode::InvalidTarget, "the grant is for another resource"))
        }
        Refreshed::Replayed(grant) => {
            let (now, reason) = (app.clock.now(), "refresh_token_replayed");
            if app.grants.end(Ending::of_grant(grant, reason, now, by)).await? {
                app.revocations.catch_up().await;
            }
            Err(invalid_grant("the refresh token was used before"))
        }
    }
}

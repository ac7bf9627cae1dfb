//! `POST /oauth/revoke`: the end of a token, by the client that has it (RFC 7009).

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::OAuthError;
use super::client_authentication::authenticate;
use crate::app::App;
use crate::audit::Actor;
use crate::clients::Client;
use crate::grants::Ending;
use crate::http::{FormAndHeaders, Source};
use crate::tokens::{inspect, revoke_access_token};

/// `POST /oauth/revoke`, RFC 7009 §2. A refresh token takes its grant along; an access token goes alone.
///
/// What is unknown, dead or another client's gets the same 200, and nothing happens to it (§2.2).
pub async fn post(
    State(app): State<App>,
    Source(source): Source,
    FormAndHeaders { headers, form }: FormAndHeaders,
) -> Result<Response, OAuthError> {
    let parameters = form?;
    let client = authenticate(&app, &headers, &parameters).await?;
    let token = parameters.get("token")?.ok_or_else(|| OAuthError::missing("token"))?;
    let by = source.by(Actor::Client(client.id));
    let has_changed = match app.refresh_tokens.decode(token) {
        Some(refresh_token) => {
            let id = refresh_token.grant;
            let found = app.grants.find(id).await?;
            let is_own = found.is_some_and(|found| found.of.client == client.id);
            is_own && app.grants.end(Ending::of_grant(id, "revoked", app.clock.now(), &by)).await?
        }
        None => end_access_token(&app, &client, &by, token).await?,
    };
    if has_changed {
        app.revocations.catch_up().await;
    }
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response())
}

async fn end_access_token(
    app: &App,
    client: &Client,
    by: &crate::audit::By,
    token: &str,
) -> Result<bool, OAuthError> {
    let now = app.clock.now();
    let keys = app.signer.public_keys();
    match inspect(&keys, &app.config.issuer, &app.revocations, now, token) {
        Some(claims) if claims.client_id == client.id.to_string() => {
            revoke_access_token(&app.db, &app.grants, now, by, &claims).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

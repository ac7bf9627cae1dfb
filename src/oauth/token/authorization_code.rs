//! A code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).

use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use super::{invalid_grant, pkce};
use crate::app::App;
use crate::audit::By;
use crate::clients::{Client, GrantType};
use crate::grants::{Code, Ending, Grant, Redemption};
use crate::http::Parameters;
use crate::tokens::{Authority, RefreshToken, allowed_now, issue};

pub(super) async fn tokens(
    app: &App,
    client: &Client,
    by: &By,
    parameters: &Parameters,
) -> Result<SecretString, OAuthError> {
    let text = parameters.get("code")?.ok_or_else(|| OAuthError::missing("code"))?;
    let found = app.grants.find_code(text).await?.filter(|found| found.of.client == client.id);
    let Some(standing) = found else { return Err(invalid_grant("the code is unknown")) };
    let code = &standing.of;
    if code.is_redeemed {
        return replayed(app, by, code).await;
    }
    check(app, code, parameters)?;

    let now = app.clock.now();
    let mut grant = Grant {
        id: code.grant,
        client: code.client,
        user: Some(code.user),
        organization: code.organization,
        project: code.project,
        resource_server: code.resource_server,
        scopes: code.scopes.clone(),
        created_at: now,
        ended_at: None,
        refresh: client
            .may_use(GrantType::RefreshToken)
            .then(|| app.config.tokens.first_refresh(now)),
    };
    let resource_server = app
        .resource_servers
        .find(&app.db, grant.resource_server)
        .await?
        .ok_or_else(|| invalid_grant("the resource server is gone"))?;
    grant.scopes = allowed_now(client, &grant, &standing, &resource_server, &code.scopes)
        .ok_or_else(|| invalid_grant("the client or the user may no longer do any of this"))?;
    if parameters.get("resource")?.is_some_and(|resource| resource != resource_server.audience) {
        return Err(OAuthError::new(ErrorCode::InvalidTarget, "the code is for another resource"));
    }

    let place = app.status_lists.reserve(&app.db, now, &resource_server).await?;

    let refresh_token = grant.refresh.as_ref().map(|state| {
        app.refresh_tokens.encode(RefreshToken { grant: grant.id, generation: state.generation })
    });
    // Minted before anything is spent: a failure to sign leaves the code as it was.
    let authority = Authority::of(&grant, &resource_server, grant.scopes.clone(), place);
    let minted =
        issue(&app.signer, &app.config.issuer, &app.config.tokens, now, &authority, refresh_token)?;
    let (response, entry) = minted.into_parts();
    let body = response.to_json();
    // The code is spent and the grant is there, or neither. Whoever loses the race throws away what was minted.
    if !app.grants.redeem(Redemption::of(text, grant, now, by, entry)).await? {
        return replayed(app, by, code).await;
    }
    Ok(body)
}

/// Whether the request is the one that the code was made for.
fn check(app: &App, code: &Code, parameters: &Parameters) -> Result<(), OAuthError> {
    if code.expires_at <= app.clock.now() {
        return Err(invalid_grant("the code has expired"));
    }
    let verifier = parameters.get("code_verifier")?;
    match (&code.code_challenge, verifier) {
        (Some(challenge), Some(verifier)) if pkce::matches(challenge, verifier) => {}
        (Some(_), Some(_)) => {
            return Err(invalid_grant("code_verifier does not match the challenge"));
        }
        (Some(_), None) => return Err(invalid_grant("code_verifier is missing")),
        // A challenge that somebody stripped from the request must not go unnoticed (RFC 9700 §4.8.2).
        (None, Some(_)) => return Err(invalid_grant("there was no code_challenge")),
        (None, None) => {}
    }
    match parameters.get("redirect_uri")? {
        Some(uri) if uri == code.redirect_uri => Ok(()),
        Some(_) => Err(invalid_grant("redirect_uri is not the one of the authorization request")),
        // OAuth 2.1 leaves it out where PKCE binds the code to the request.
        None if code.code_challenge.is_some() => Ok(()),
        None => Err(OAuthError::missing("redirect_uri")),
    }
}

/// A code that comes twice was stolen from somebody: the grant ends (RFC 6749 §4.1.2). Whoever lost comes here after the
/// winner's commit, and so finds the grant.
async fn replayed(app: &App, by: &By, code: &Code) -> Result<SecretString, OAuthError> {
    let ending = Ending::of_grant(code.grant, "code_replayed", app.clock.now(), by);
    if app.grants.end(ending).await? {
        app.revocations.catch_up().await;
    }
    Err(invalid_grant("the code was used before"))
}

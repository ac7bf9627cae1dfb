//! A code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).

use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use super::{invalid_grant, pkce};
use crate::app::App;
use crate::audit::{self, By, Event};
use crate::clients::{Client, GrantType};
use crate::grants::{self, Code, Grant};
use crate::http::Parameters;
use crate::tokens::{Authority, RefreshToken, allowed_now, issue};

pub(super) async fn tokens(
    app: &App,
    client: &Client,
    by: &By,
    parameters: &Parameters,
) -> Result<SecretString, OAuthError> {
    let text = parameters.get("code")?.ok_or_else(|| OAuthError::missing("code"))?;
    let code =
        grants::find_code(app.db.reader(), text).await?.filter(|code| code.client == client.id);
    let Some(code) = code else { return Err(invalid_grant("the code is unknown")) };
    if code.is_redeemed {
        return replayed(app, by, &code).await;
    }
    check(app, &code, parameters)?;

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
    grant.scopes = allowed_now(&app.db, client, &grant, &resource_server, &code.scopes)
        .await?
        .ok_or_else(|| invalid_grant("the client or the user may no longer do any of this"))?;
    if parameters.get("resource")?.is_some_and(|resource| resource != resource_server.audience) {
        return Err(OAuthError::new(ErrorCode::InvalidTarget, "the code is for another resource"));
    }

    let place = app.status_lists.reserve(&app.db, now, &resource_server).await?;

    // Spending the code, making the grant and minting belong together: a failure to sign spends nothing.
    let tx = app.db.begin().await?;
    if !grants::redeem(&tx, now, text).await? {
        drop(tx);
        return replayed(app, by, &code).await;
    }
    grants::insert(&tx, &grant).await?;
    audit::record(
        &tx,
        now,
        by,
        Event::new("grant.created", grant.id).in_organization(grant.organization),
    )
    .await?;
    let refresh_token = grant.refresh.as_ref().map(|state| {
        app.refresh_tokens.encode(RefreshToken { grant: grant.id, generation: state.generation })
    });
    let authority = Authority::of(&grant, &resource_server, grant.scopes.clone(), place);
    let minted =
        issue(&app.signer, &app.config.issuer, &app.config.tokens, now, &authority, refresh_token)?;
    let body = serde_json::to_string(&minted.recorded(&tx).await?)?.into();
    tx.commit().await?;
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

/// A code that comes twice was stolen from somebody: the grant ends (RFC 6749 §4.1.2). Written on its own, for the
/// transaction of the redemption that lost is gone.
async fn replayed(app: &App, by: &By, code: &Code) -> Result<SecretString, OAuthError> {
    if grants::end(&app.db, app.clock.now(), by, code.grant, "code_replayed").await? {
        app.revocations.catch_up().await;
    }
    Err(invalid_grant("the code was used before"))
}

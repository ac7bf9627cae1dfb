//! An access token for an API key (RFC 8693), so that APIs which only know JWTs serve scripts too.
//!
//! The key is the credential; a client that authenticates besides is welcome and changes nothing.

use axum::http::HeaderMap;
use secrecy::SecretString;

use super::super::client_authentication::{authenticate, client_credentials};
use super::super::{ErrorCode, OAuthError};
use crate::api_keys::{Asker, Known, Presented, UsedFrom, Wanted};
use crate::app::App;
use crate::audit::Source;
use crate::exchange::authority;
use crate::http::{ClientAddress, Parameters};
use crate::rate_limit::Standing;
use crate::tokens::{ACCESS_TOKEN_TYPE, issue};
use portcullis_verifier::ScopeSet;

pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Ours, for RFC 8693 has none for such a credential.
const API_KEY_TYPE: &str = "urn:portcullis:params:oauth:token-type:api-key";
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) async fn tokens(
    app: &App,
    headers: &HeaderMap,
    ClientAddress(address): ClientAddress,
    source: &Source,
    parameters: &Parameters,
) -> Result<SecretString, OAuthError> {
    if client_credentials(headers, parameters).is_ok_and(|presented| presented.secret.is_some()) {
        authenticate(app, headers, parameters).await?;
    }
    // 1. What is to be exchanged, for what?
    let text = subject_token(parameters)?;
    let target = match (parameters.get("resource")?, parameters.get("audience")?) {
        (Some(resource), Some(audience)) if resource != audience => {
            return Err(invalid("send resource or audience, not both"));
        }
        (resource, audience) => resource.or(audience),
    };
    let target = target.ok_or_else(|| OAuthError::missing("resource"))?;
    let api =
        app.resource_servers.find_by_audience(&app.db, target).await?.ok_or_else(no_target)?;
    // 2. Is the key good there?
    let from = UsedFrom::Address(address);
    let wanted = Wanted { asker: Asker::ResourceServer(&api), from, scope: None };
    let presented = Presented { text, wanted, cost: Some(1), source };
    let now = app.clock.now();
    let (db, revocations, limits) = (&app.db, &app.revocations, &app.key_limits);
    let verified = app.api_keys.verify(db, revocations, limits, now, &presented).await?;
    if let Some(standing) = verified.standing.filter(Standing::is_refused) {
        return Err(OAuthError::too_often(standing));
    }
    // An API that is not for everybody is to strangers like one that does not exist.
    let is_theirs = |known: &Known| api.is_offered_to(known.key.organization);
    if !api.is_shared && !verified.known.as_deref().is_some_and(is_theirs) {
        return Err(no_target());
    }
    let (known, effective) =
        verified.valid().ok_or_else(|| invalid("the subject_token is not accepted"))?;
    // 3. A token with what it may do there, or with less.
    let scopes = narrowed(effective, parameters.get("scope")?)?;
    let place = app.status_lists.reserve(&app.db, now, &api).await?;
    let authority = authority(&known, &api, scopes, place);
    let (issuer, settings) = (&app.config.issuer, &app.config.tokens);
    let minted = issue(&app.signer, issuer, settings, now, &authority, None)?;
    Ok(minted.recorded(app.db.writer()).await?.to_json())
}

fn subject_token(parameters: &Parameters) -> Result<&str, OAuthError> {
    let text =
        parameters.get("subject_token")?.ok_or_else(|| OAuthError::missing("subject_token"))?;
    match parameters.get("subject_token_type")? {
        Some(API_KEY_TYPE) => {}
        Some(_) => return Err(invalid("only API keys can be exchanged")),
        None => return Err(OAuthError::missing("subject_token_type")),
    }
    if !matches!(parameters.get("requested_token_type")?, None | Some(ACCESS_TOKEN_TYPE | JWT_TYPE))
    {
        return Err(invalid("only access tokens are issued"));
    }
    if parameters.get("actor_token")?.is_some() || parameters.get("actor_token_type")?.is_some() {
        return Err(invalid("nobody can act for an API key"));
    }
    Ok(text)
}

/// What is asked for, if the key may do it; all that it may, where nothing is.
fn narrowed(effective: ScopeSet, wanted: Option<&str>) -> Result<ScopeSet, OAuthError> {
    let Some(wanted) = wanted else { return Ok(effective) };
    let refused =
        || OAuthError::new(ErrorCode::InvalidScope, "a scope is malformed or beyond the API key's");
    let wanted: ScopeSet = wanted.parse().map_err(|_| refused())?;
    match effective.covers_all(&wanted) && !wanted.is_empty() {
        true => Ok(wanted),
        false => Err(refused()),
    }
}

fn invalid(description: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, description)
}

fn no_target() -> OAuthError {
    OAuthError::new(ErrorCode::InvalidTarget, "there is no such resource")
}

//! `POST /oauth/introspect`: what a credential is worth now (RFC 7662), for access tokens, refresh tokens and API keys.
//!
//! A resource server, with its own credential, sees access tokens for its audience and API keys. A confidential
//! client sees its own tokens. What is dead, foreign or garbage is `{"active":false}` and nothing more.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_verifier::bearer_token;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::client_authentication::{ClientCredentials, client_credentials};
use super::{ErrorCode, OAuthError};
use crate::api_keys::{AllowedNetworks, Asker as KeyAsker, Presented, UsedFrom, Wanted};
use crate::app::App;
use crate::audit;
use crate::clients::{self, Client};
use crate::grants;
use crate::http::{Form, Parameters, Source};
use crate::resource_servers::{self, ResourceServer};
use crate::tokens::inspect;

/// Who asks.
enum Asker {
    ResourceServer(Arc<ResourceServer>),
    Client(Arc<Client>),
}

/// `POST /oauth/introspect`, RFC 7662 §2
pub async fn post(
    State(app): State<App>,
    Source(source): Source,
    headers: HeaderMap,
    Form(parameters): Form,
) -> Result<Response, OAuthError> {
    let parameters = parameters?;
    let asker = authenticate(&app, &headers, &parameters).await?;
    let token = parameters.get("token")?.ok_or_else(|| OAuthError::missing("token"))?;
    let answer = match &asker {
        Asker::ResourceServer(api) => match access_token(&app, token, |aud, _| aud == api.audience)
        {
            Some(answer) => Some(answer),
            None => {
                let from = used_from(&parameters)?;
                api_key(&app, api, token, from, &source).await?
            }
        },
        Asker::Client(client) => {
            match access_token(&app, token, |_, id| id == client.id.to_string()) {
                Some(answer) => Some(answer),
                None => refresh_token(&app, client, token).await?,
            }
        }
    };
    let answer = answer.unwrap_or_else(|| json!({ "active": false }));
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// A resource server by its credential, as bearer token or as Basic password under its id; else a confidential client.
async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Asker, OAuthError> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(credential) = bearer.and_then(|header| bearer_token(header).ok()) {
        if parameters.get("client_secret")?.is_some() {
            return Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                "authenticate by header or by body, not by both",
            ));
        }
        let found = resource_server(app, credential.into()).await?;
        return found.map(Asker::ResourceServer).ok_or_else(OAuthError::not_authenticated);
    }
    let ClientCredentials { id, secret, tried_basic } = client_credentials(headers, parameters)
        .map_err(|error| {
            if bearer.is_none() && error.code == ErrorCode::InvalidClient {
                OAuthError::not_authenticated()
            } else {
                error
            }
        })?;
    let Some(secret) = secret else { return Err(OAuthError::invalid_client(tried_basic)) };
    if id.starts_with("api_") {
        let found = resource_server(app, secret).await?.filter(|found| found.id.to_string() == id);
        return found
            .map(Asker::ResourceServer)
            .ok_or_else(|| OAuthError::invalid_client(tried_basic));
    }
    clients::authenticate(&app.clients, &app.revocations, app.clock.now(), &id, Some(&secret))
        .await?
        .map(Asker::Client)
        .ok_or_else(|| OAuthError::invalid_client(tried_basic))
}

async fn resource_server(
    app: &App,
    credential: SecretString,
) -> Result<Option<Arc<ResourceServer>>, OAuthError> {
    Ok(resource_servers::authenticate(&app.resource_servers, &app.db, app.clock.now(), &credential)
        .await?)
}

/// An access token of ours that lives and concerns the asker, by audience and client id.
fn access_token(app: &App, token: &str, concerns: impl Fn(&str, &str) -> bool) -> Option<Value> {
    let keys = app.signer.public_keys();
    let claims = inspect(&keys, &app.config.issuer, &app.revocations, app.clock.now(), token)?;
    if !claims.aud.iter().any(|audience| concerns(audience, &claims.client_id)) {
        return None;
    }
    let mut answer = serde_json::to_value(&claims).ok()?;
    let members = answer.as_object_mut()?;
    members.insert("active".to_owned(), true.into());
    members.insert("token_type".to_owned(), "Bearer".into());
    Some(answer)
}

/// From where the resource server was called: it says so in `client_address`, or says by `network_check=local` that
/// it holds the address against `allowed_ips` itself. To others a key that is bound to networks is no good.
fn used_from(parameters: &Parameters) -> Result<UsedFrom, OAuthError> {
    let invalid = |text| OAuthError::new(ErrorCode::InvalidRequest, text);
    match (parameters.get("client_address")?, parameters.get("network_check")?) {
        (Some(address), None) => address
            .parse()
            .map(|address| UsedFrom::Address(Some(address)))
            .map_err(|_| invalid("client_address must be an IP address")),
        (None, Some("local")) => Ok(UsedFrom::CheckedElsewhere),
        (None, None) => Ok(UsedFrom::Address(None)),
        (None, Some(_)) => Err(invalid("network_check must be local")),
        (Some(_), Some(_)) => Err(invalid("send client_address or network_check, not both")),
    }
}

/// An API key that is good, with those of its scopes that mean something to the resource server that asks. A key
/// that means nothing there is foreign: it can't be used, and whose it is is none of the asker's business (RFC 7662 §4).
async fn api_key(
    app: &App,
    asker: &ResourceServer,
    token: &str,
    from: UsedFrom,
    source: &audit::Source,
) -> Result<Option<Value>, OAuthError> {
    let wanted = Wanted { asker: KeyAsker::ResourceServer(asker), from, scope: None };
    let presented = Presented { text: token, wanted, cost: None, source };
    let now = app.clock.now();
    let (db, revocations, limits) = (&app.db, &app.revocations, &app.key_limits);
    let verified = app.api_keys.verify(db, revocations, limits, now, &presented).await?;
    let Some((known, scopes)) = verified.valid() else { return Ok(None) };
    let key = &known.key;
    let mut answer = json!({
        "active": true,
        "token_type": "api_key",
        "iss": app.config.issuer,
        "sub": key.id,
        "api_key": key.id,
        "org": key.organization,
        "creator": key.created_by,
        "owner": key.owner,
        "scope": scopes,
        "iat": key.created_at.unix_seconds(),
    });
    if let Some(members) = answer.as_object_mut() {
        if let Some(end) = known.ends() {
            members.insert("exp".to_owned(), end.unix_seconds().into());
        }
        if let AllowedNetworks::Only(_) = key.allowed_networks {
            members.insert("allowed_ips".to_owned(), key.allowed_networks.texts().into());
        }
        if let Some(project) = key.project {
            members.insert("project".to_owned(), project.to_string().into());
        }
    }
    Ok(Some(answer))
}

/// A refresh token that would be accepted now, for the client that it was issued to.
///
/// Never for a resource server: one that took "active" for "may call" would accept it as an access token.
async fn refresh_token(
    app: &App,
    asker: &Client,
    token: &str,
) -> Result<Option<Value>, OAuthError> {
    let Some(presented) = app.refresh_tokens.decode(token) else { return Ok(None) };
    let Some(grant) = grants::find(app.db.reader(), presented.grant).await? else {
        return Ok(None);
    };
    let now = app.clock.now();
    let state = grant.refresh.as_ref().filter(|state| {
        grant.client == asker.id
            && grant.ended_at.is_none()
            && state.generation == presented.generation
            && state.expires_at > now
    });
    Ok(state.map(|state| {
        let mut answer = json!({
            "active": true,
            "token_type": "refresh_token",
            "iss": app.config.issuer,
            "client_id": grant.client,
            "sub": grant.user,
            "org": grant.organization,
            "grant": grant.id,
            "scope": grant.scopes,
            "exp": state.expires_at.unix_seconds(),
        });
        if let (Some(members), Some(project)) = (answer.as_object_mut(), grant.project) {
            members.insert("project".to_owned(), project.to_string().into());
        }
        answer
    }))
}

//! `POST /oauth/introspect`: what a credential is worth now (RFC 7662), for access tokens, refresh tokens and API keys.
//!
//! A resource server, with its own credential, sees access tokens for its audience and API keys. A confidential
//! client sees its own tokens. What is dead, foreign or garbage is `{"active":false}` and nothing more.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use bytes::Bytes;
use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use portcullis_verifier::{AccessTokenClaims, ScopeSet, bearer_token};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};

use super::client_authentication::{ClientCredentials, client_credentials};
use super::{ErrorCode, OAuthError};
use crate::api_keys::{AllowedNetworks, Asker as KeyAsker, Known, Presented, UsedFrom, Wanted};
use crate::app::App;
use crate::audit;
use crate::clients::{self, Client};
use crate::grants;
use crate::http::{FormAndHeaders, Parameters, Source, secret_json_answer};
use crate::resource_servers::{self, ResourceServer};

/// Who asks.
enum Asker {
    ResourceServer(Arc<ResourceServer>),
    Client(Arc<Client>),
}

/// `POST /oauth/introspect`, RFC 7662 §2
pub async fn post(
    State(app): State<App>,
    Source(source): Source,
    FormAndHeaders { headers, form }: FormAndHeaders,
) -> Result<Response, OAuthError> {
    let parameters = form?;
    let asker = authenticate(&app, &headers, &parameters).await?;
    let token = parameters.get("token")?.ok_or_else(|| OAuthError::missing("token"))?;
    let answer = match &asker {
        Asker::ResourceServer(api) => {
            match access_token(&app, token, |claims| claims.aud.contains(&api.audience))? {
                Some(answer) => Some(answer),
                None => {
                    let from = used_from(&parameters)?;
                    api_key(&app, api, token, from, &source).await?
                }
            }
        }
        Asker::Client(client) => {
            match access_token(&app, token, |claims| claims.client_id == client.id.to_string())? {
                Some(answer) => Some(answer),
                None => {
                    let answer = Box::pin(refresh_token(&app, client, token)).await?;
                    answer.map(|answer| Bytes::from(answer.to_string()))
                }
            }
        }
    };
    let answer = answer.unwrap_or(Bytes::from_static(br#"{"active":false}"#));
    Ok(secret_json_answer(answer))
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

/// What is to be said of an access token of ours that lives and concerns the asker.
fn access_token(
    app: &App,
    token: &str,
    concerns: impl Fn(&AccessTokenClaims) -> bool,
) -> Result<Option<Bytes>, OAuthError> {
    let (keys, now) = (app.signer.public_keys(), app.clock.now());
    let (issuer, revocations) = (&app.config.issuer, &app.revocations);
    let accepted = app.accepted_tokens.inspect(&keys, issuer, revocations, now, token);
    match accepted.filter(|accepted| concerns(&accepted.claims)) {
        Some(accepted) => Ok(Some(accepted.introspection()?)),
        None => Ok(None),
    }
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
) -> Result<Option<Bytes>, OAuthError> {
    let wanted = Wanted { asker: KeyAsker::ResourceServer(asker), from, scope: None };
    let presented = Presented { text: token, wanted, cost: None, source };
    let now = app.clock.now();
    let (db, revocations, limits) = (&app.db, &app.revocations, &app.key_limits);
    let verified = app.api_keys.verify(db, revocations, limits, now, &presented).await?;
    let Some((known, scopes)) = verified.valid() else { return Ok(None) };
    let issuer = &app.config.issuer;
    let render = || serde_json::to_vec(&ActiveKey::new(issuer, &known, &scopes)).map(Bytes::from);
    Ok(Some(known.as_introspected.with(&scopes, render)?))
}

/// What there is to know of an API key that is good (RFC 7662 §2.2).
#[derive(Serialize)]
struct ActiveKey<'a> {
    active: bool,
    token_type: &'static str,
    iss: &'a str,
    sub: ApiKeyId,
    api_key: ApiKeyId,
    org: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectId>,
    creator: UserId,
    owner: Option<UserId>,
    scope: &'a ScopeSet,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_ips: Option<Vec<String>>,
}

impl<'a> ActiveKey<'a> {
    fn new(issuer: &'a str, known: &Known, scopes: &'a ScopeSet) -> Self {
        let key = &known.key;
        let allowed_ips = match key.allowed_networks {
            AllowedNetworks::Only(_) => Some(key.allowed_networks.texts()),
            AllowedNetworks::Anywhere => None,
        };
        Self {
            active: true,
            token_type: "api_key",
            iss: issuer,
            sub: key.id,
            api_key: key.id,
            org: key.organization,
            project: key.project,
            creator: key.created_by,
            owner: key.owner,
            scope: scopes,
            iat: key.created_at.unix_seconds(),
            exp: known.ends().map(Timestamp::unix_seconds),
            allowed_ips,
        }
    }
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

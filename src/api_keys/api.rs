//! `/v1/api-keys`: making, listing, reading and revoking keys.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use entity::{ApiKeyId, OrganizationId, Timestamp, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{ApiKey, NewApiKey, Status, store};
use crate::access::{Caller, ReadApiKeys, WriteApiKeys};
use crate::app::App;
use crate::http::{Json, Parameters, Problem};
use crate::platform::{FieldError, Refused};
use crate::resource_servers;

/// A key as the API shows it.
#[derive(Debug, Serialize)]
pub struct Representation {
    pub id: ApiKeyId,
    pub organization: OrganizationId,
    pub name: String,
    pub scopes: Vec<String>,
    pub environment: String,
    pub status: Status,
    /// The first 12 and the last 4 characters of the secret.
    pub hint: String,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Representation {
    #[must_use]
    pub fn new(key: &ApiKey, now: Timestamp) -> Self {
        Self {
            id: key.id,
            organization: key.organization,
            name: key.name.clone(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            environment: key.environment.clone(),
            status: key.status(now),
            hint: format!("{}…{}", key.start, key.end),
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// A key that was just made, with its secret: the only time that it is shown.
#[derive(Serialize)]
pub struct Created {
    #[serde(flatten)]
    key: Representation,
    secret: String,
}

impl Created {
    #[must_use]
    pub fn new(key: &ApiKey, secret: &SecretString, now: Timestamp) -> Self {
        Self { key: Representation::new(key, now), secret: secret.expose_secret().to_owned() }
    }
}

/// A page of keys.
#[derive(Serialize)]
pub struct ApiKeyPage {
    items: Vec<Representation>,
    /// What to send as `cursor` for the next page; null on the last.
    next_cursor: Option<ApiKeyId>,
}

/// What `POST /v1/api-keys` reads.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    name: String,
    scopes: Vec<String>,
    environment: Option<String>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(errors) => Problem::invalid(errors),
            Refused::Failed(cause) => cause.into(),
        }
    }
}

/// `POST /v1/api-keys`
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    Json(wanted): Json<CreateApiKey>,
) -> Result<(StatusCode, [(axum::http::HeaderName, &'static str); 1], axum::Json<Created>), Problem>
{
    let Some(user) = caller.user else {
        let detail =
            "This credential acts for no person, and a key needs one whose role bounds it.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "Not allowed", detail));
    };
    let now = app.clock.now();
    let resource_servers = resource_servers::list_all(app.db.reader()).await?;
    let new = NewApiKey {
        organization: caller.organization,
        created_by: user,
        // A credential that was given little can't make itself one that has more.
        reach: caller.principal.scopes(),
        name: &wanted.name,
        scopes: &wanted.scopes,
        environment: wanted.environment.as_deref(),
        expires_at: wanted.expires_at.map(Timestamp::from),
    };
    let tx = app.db.begin().await?;
    let (brand, settings) = (&app.config.brand, &app.config.api_keys);
    let (key, secret) =
        super::issue(&tx, now, &caller.by, brand, settings, &resource_servers, new).await?;
    tx.commit().await?;
    let no_store = [(axum::http::header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, axum::Json(Created::new(&key, &secret, now))))
}

/// `GET /v1/api-keys?limit=&cursor=`, newest first.
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadApiKeys>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<ApiKeyPage>, Problem> {
    let (limit, cursor) = paging(query.as_deref().unwrap_or_default())?;
    let now = app.clock.now();
    let mut keys =
        store::list(app.db.reader(), Some(caller.organization), cursor, limit + 1).await?;
    let has_more = keys.len() as u64 > limit;
    keys.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = keys.last().map(|key| key.id).filter(|_| has_more);
    let items = keys.iter().map(|key| Representation::new(key, now)).collect();
    Ok(axum::Json(ApiKeyPage { items, next_cursor }))
}

fn paging(query: &str) -> Result<(u64, Option<ApiKeyId>), Problem> {
    let wrong =
        |field: &str, message: &str| Problem::invalid(vec![FieldError::new(field, message)]);
    let doubled = |_| wrong("query", "a parameter was sent more than once");
    let parameters = Parameters::parse(query.as_bytes())?;
    let limit = parameters.get("limit").map_err(doubled)?.map(str::parse::<u64>).transpose();
    let limit =
        limit.ok().map(|limit| limit.unwrap_or(50)).filter(|limit| (1..=100).contains(limit));
    let limit = limit.ok_or_else(|| wrong("limit", "must be a number from 1 to 100"))?;
    let cursor = parameters.get("cursor").map_err(doubled)?.map(str::parse).transpose();
    let cursor =
        cursor.map_err(|_| wrong("cursor", "must be the next_cursor of an earlier page"))?;
    Ok((limit, cursor))
}

/// The id in the path, if it is text at all.
type PathId = Result<Path<String>, PathRejection>;

fn key_id(id: PathId) -> Result<ApiKeyId, Problem> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(Problem::not_found)
}

/// `GET /v1/api-keys/{id}`
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadApiKeys>,
    id: PathId,
) -> Result<axum::Json<Representation>, Problem> {
    let id = key_id(id)?;
    let key = store::find(app.db.reader(), Some(caller.organization), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(axum::Json(Representation::new(&key, app.clock.now())))
}

/// `DELETE /v1/api-keys/{id}`: revokes it, at once and for good; once more changes nothing.
pub async fn revoke(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    id: PathId,
) -> Result<StatusCode, Problem> {
    let id = key_id(id)?;
    if !super::revoke(&app.db, app.clock.now(), &caller.by, Some(caller.organization), id).await? {
        return Err(Problem::not_found());
    }
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

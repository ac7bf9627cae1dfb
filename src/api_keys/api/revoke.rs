//! `DELETE /v1/api-keys/{id}`, `POST /v1/api-keys/{id}/revoke`, `POST /v1/api-keys:revoke`: ending keys.

use axum::extract::State;
use axum::http::StatusCode;
use entity::{ApiKeyId, ProjectId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Representation, found};
use crate::access::{Caller, WriteApiKeys};
use crate::api_keys::{self, Criteria, RevokedMany};
use crate::app::App;
use crate::http::{Json, PathId, Problem, Versioned};

/// As many ids of revoked keys are told; the audit trail has them all.
const MOST_TOLD: usize = 100;

async fn ended(
    app: &App,
    caller: &Caller<WriteApiKeys>,
    id: ApiKeyId,
    reason: Option<&str>,
) -> Result<(), Problem> {
    found(app, caller, id).await?;
    let (now, organization) = (app.clock.now(), Some(caller.organization));
    if !api_keys::revoke(&app.db, now, &caller.by, organization, id, reason).await? {
        return Err(Problem::not_found());
    }
    app.revocations.catch_up().await;
    Ok(())
}

/// Revoke an API key
///
/// At once and for good; once more changes nothing.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "API keys", params(("id" = ApiKeyId, Path)),
    responses((status = 204, description = "It is revoked")),
    security(("bearer" = ["write:api-keys"]), ("session" = []))
)]
pub async fn revoke(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    PathId(id): PathId<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    ended(&app, &caller, id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why the key is revoked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
}

/// Revoke an API key and say why
///
/// At once and for good; once more changes nothing, not even the reason.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/revoke", tag = "API keys", params(("id" = ApiKeyId, Path)),
    responses((status = 200, description = "The key, which is revoked", body = Representation)),
    security(("bearer" = ["write:api-keys"]), ("session" = []))
)]
pub async fn revoke_for_a_reason(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    PathId(id): PathId<ApiKeyId>,
    Json(wanted): Json<Revoke>,
) -> Result<Versioned<Representation>, Problem> {
    ended(&app, &caller, id, wanted.reason.as_deref()).await?;
    let key = found(&app, &caller, id).await?;
    Ok(Versioned(key.version, Representation::new(&key, app.clock.now())))
}

/// Which keys to revoke. All that is said must hold, and one of `created_by`, `project`, `label` and `unused_days` must
/// be said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "unused_days": 90, "reason": "Nobody uses it", "dry_run": true }))]
pub struct RevokeApiKeys {
    /// Keys that this person made.
    created_by: Option<UserId>,
    /// Keys that are confined to this project.
    project: Option<ProjectId>,
    label: Option<LabelOfKeys>,
    /// Keys that nobody used for so many days, and that have been here for as long.
    #[schema(minimum = 1, maximum = 3650)]
    unused_days: Option<u32>,
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
    /// Says what would be revoked, and revokes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Keys that bear this label, with this value or with any.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelOfKeys {
    #[schema(min_length = 1, max_length = 50, pattern = "^[A-Za-z0-9._-]+$")]
    name: String,
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    value: Option<String>,
}

/// What was revoked, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedApiKeys {
    pub dry_run: bool,
    /// How many keys.
    pub revoked: usize,
    /// The ids of the first 100 of them, oldest first.
    #[schema(max_items = 100)]
    pub keys: Vec<ApiKeyId>,
    /// Whether there are more of them than the 10,000 that one call revokes: call again.
    pub has_more: bool,
}

impl RevokedApiKeys {
    #[must_use]
    pub fn new(dry_run: bool, mut found: RevokedMany) -> Self {
        let revoked = found.keys.len();
        found.keys.truncate(MOST_TOLD);
        Self { dry_run, revoked, keys: found.keys, has_more: found.has_more }
    }
}

/// Revoke many API keys
///
/// Up to 10,000 at a time, at once and for good, all or none of them. With `dry_run` it only says which.
#[utoipa::path(
    post, path = "/v1/api-keys:revoke", tag = "API keys",
    responses((status = 200, description = "What was revoked, or would be", body = RevokedApiKeys)),
    security(("bearer" = ["write:api-keys"]), ("session" = []))
)]
pub async fn revoke_many(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    Json(wanted): Json<RevokeApiKeys>,
) -> Result<axum::Json<RevokedApiKeys>, Problem> {
    let label = wanted.label.as_ref();
    let criteria = Criteria {
        organization: caller.organization,
        confined_to: caller.project,
        created_by: wanted.created_by,
        project: wanted.project,
        label: label.map(|label| (label.name.as_str(), label.value.as_deref())),
        unused_days: wanted.unused_days,
    };
    let (now, reason) = (app.clock.now(), wanted.reason.as_deref());
    if wanted.dry_run {
        let found = api_keys::would_revoke(app.db.reader(), now, criteria, reason).await?;
        return Ok(axum::Json(RevokedApiKeys::new(true, found)));
    }
    let tx = app.db.begin().await?;
    let revoked = api_keys::revoke_many(&tx, now, &caller.by, criteria, reason).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(axum::Json(RevokedApiKeys::new(false, revoked)))
}

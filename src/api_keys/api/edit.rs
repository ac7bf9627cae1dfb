//! `PATCH /v1/api-keys/{id}`: editing a key, and telling what that would do.

use axum::extract::State;
use entity::{ApiKeyId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Representation, found};
use crate::access::{Caller, WriteApiKeys};
use crate::api_keys::{self, ApiKeyChanges, Edited, Extent, Labels};
use crate::app::App;
use crate::http::{IfMatch, Json, PathId, Problem, Query, Versioned, nullable};
use crate::resource_servers;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EditQuery {
    /// Says what the edit would do, and does nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What to change of a key; what is left out stays. A key stays in its project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "scopes": ["read:projects"] }))]
pub struct EditApiKey {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// All of them.
    labels: Option<Labels>,
    /// All of them. What the key does not cover already must be within what you may do yourself.
    #[schema(min_items = 1, max_items = 100)]
    scopes: Option<Vec<String>>,
    /// All of them; null for anywhere.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 50)]
    allowed_ips: Option<Option<Vec<String>>>,
    /// Null for the installation's usual limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<Option<u32>>,
    /// Null for never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Timestamp>)]
    expires_at: Option<Option<Timestamp>>,
}

impl EditApiKey {
    /// The same, as the verb takes it.
    #[must_use]
    pub fn changes<'a>(
        &'a self,
        reach: &'a portcullis_verifier::ScopeSet,
        offered: &'a [resource_servers::ResourceServer],
    ) -> ApiKeyChanges<'a> {
        ApiKeyChanges {
            name: self.name.as_deref(),
            description: self.description.as_deref(),
            labels: self.labels.clone(),
            scopes: self.scopes.as_deref(),
            allowed_ips: self.allowed_ips.as_ref().map(Option::as_deref),
            requests_per_minute: self.requests_per_minute,
            expires_at: self.expires_at,
            reach,
            offered,
        }
    }
}

/// A key that was edited.
#[derive(Serialize, ToSchema)]
pub struct EditedApiKey {
    #[serde(flatten)]
    key: Representation,
    /// What to think over: what was used and is taken away, a network that holds everybody.
    warnings: Vec<String>,
}

/// What an edit would do.
#[derive(Serialize, ToSchema)]
pub struct ApiKeyTrial {
    /// The key as it would be.
    key: Representation,
    /// Scopes that calls with it required in the last 30 days, and that it would cover no more.
    would_lose: Vec<ScopeInUse>,
    /// Networks from which it was used, and that would not be allowed any more.
    would_lose_networks: Vec<NetworkInUse>,
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct ScopeInUse {
    scope: String,
    /// To the minute.
    last_used_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub struct NetworkInUse {
    /// A single address where it is the one from which the key was used last; else a /16, or a /32 of IPv6.
    network: String,
    lost: Extent,
}

/// What was done, or would be.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum EditAnswer {
    Edited(EditedApiKey),
    Trial(ApiKeyTrial),
}

impl EditAnswer {
    #[must_use]
    pub fn edited(edited: Edited, now: Timestamp) -> Self {
        let key = Representation::new(&edited.key, now);
        Self::Edited(EditedApiKey { key, warnings: edited.warnings })
    }

    #[must_use]
    pub fn trial(edited: Edited, now: Timestamp) -> Self {
        let scope = |lost: api_keys::ScopeUse| ScopeInUse {
            scope: lost.scope.to_string(),
            last_used_at: lost.last_used_at,
        };
        let network = |lost: api_keys::LostNetwork| NetworkInUse {
            network: lost.network.to_string(),
            lost: lost.extent,
        };
        Self::Trial(ApiKeyTrial {
            key: Representation::new(&edited.key, now),
            would_lose: edited.lost_scopes.into_iter().map(scope).collect(),
            would_lose_networks: edited.lost_networks.into_iter().map(network).collect(),
            warnings: edited.warnings,
        })
    }
}

/// Edit an API key
///
/// At once and everywhere. Narrowing a key takes no more than this permission. To put a scope on it you must be able to
/// do what it allows; to let it work from more places, for longer or more often, you must be able to do all that it is
/// made for. With `dry_run=true` nothing changes, and the answer says what would.
#[utoipa::path(
    patch, path = "/v1/api-keys/{id}", tag = "API keys", params(("id" = ApiKeyId, Path), EditQuery),
    responses((status = 200, description = "The key, or what the edit would do", body = EditAnswer)),
    security(("bearer" = ["write:api-keys"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    PathId(id): PathId<ApiKeyId>,
    IfMatch(expected): IfMatch,
    Query(query): Query<EditQuery>,
    Json(wanted): Json<EditApiKey>,
) -> Result<Versioned<EditAnswer>, Problem> {
    let before = found(&app, &caller, id).await?;
    let (now, organization) = (app.clock.now(), caller.organization);
    let offered = resource_servers::list_offered(app.db.reader(), organization).await?;
    let changes = wanted.changes(&caller.scopes, &offered);
    if query.dry_run {
        let reader = app.db.reader();
        let edited = api_keys::try_edit(reader, now, organization, id, expected, changes).await?;
        return Ok(Versioned(before.version, EditAnswer::trial(edited, now)));
    }
    let tx = app.db.begin().await?;
    let edited = api_keys::edit(&tx, now, &caller.by, organization, id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Versioned(edited.key.version, EditAnswer::edited(edited, now)))
}

//! `/v1/grants`: what the organization's members, and its applications for themselves, have allowed.

use axum::extract::State;
use axum::http::StatusCode;
use entity::{ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadGrants, WriteGrants};
use crate::app::App;
use crate::grants::{self, Ending, Grant, ListGrants, Status};
use crate::http::{Limit, PageOf, PathId, Problem, Query};

/// A grant as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grant)]
pub struct Representation {
    pub id: GrantId,
    pub client: ClientId,
    /// The person who allowed it; null where the application acts for itself.
    #[schema(required)]
    pub user: Option<UserId>,
    pub organization: OrganizationId,
    /// The project that it is confined to.
    #[schema(required)]
    pub project: Option<ProjectId>,
    pub resource_server: ResourceServerId,
    pub scopes: Vec<String>,
    pub status: Status,
    pub created_at: Timestamp,
    #[schema(required)]
    pub ended_at: Option<Timestamp>,
    #[schema(required)]
    pub last_refreshed_at: Option<Timestamp>,
}

impl From<Grant> for Representation {
    fn from(grant: Grant) -> Self {
        Self {
            status: grant.status(),
            last_refreshed_at: grant.last_refreshed_at(),
            id: grant.id,
            client: grant.client,
            user: grant.user,
            organization: grant.organization,
            project: grant.project,
            resource_server: grant.resource_server,
            scopes: grant.scopes.iter().map(ToString::to_string).collect(),
            created_at: grant.created_at,
            ended_at: grant.ended_at,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<GrantId>,
    user: Option<UserId>,
    client: Option<ClientId>,
    project: Option<ProjectId>,
    status: Option<Status>,
}

/// List grants
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/grants", tag = "Grants", params(ListQuery),
    responses((status = 200, description = "A page of grants", body = PageOf<Representation>)),
    security(("bearer" = ["read:grants"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadGrants>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let which = ListGrants {
        organization: caller.organization,
        user: query.user,
        client: query.client,
        project: query.project,
        status: query.status,
        before: query.cursor,
        limit: query.limit.rows(),
    };
    let found = grants::list(app.db.reader(), which).await?;
    Ok(axum::Json(PageOf::new(found, query.limit, |grant| grant.id, Into::into)))
}

/// The grant, if it is of the caller's organization.
async fn found<P>(app: &App, caller: &Caller<P>, id: GrantId) -> Result<Grant, Problem> {
    grants::find(app.db.reader(), id)
        .await?
        .filter(|grant| grant.organization == caller.organization)
        .ok_or_else(Problem::not_found)
}

/// Read a grant
#[utoipa::path(
    get, path = "/v1/grants/{id}", tag = "Grants", params(("id" = GrantId, Path)),
    responses((status = 200, description = "The grant", body = Representation)),
    security(("bearer" = ["read:grants"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadGrants>,
    PathId(id): PathId<GrantId>,
) -> Result<axum::Json<Representation>, Problem> {
    Ok(axum::Json(found(&app, &caller, id).await?.into()))
}

/// End a grant
///
/// Its tokens are dead, at once and for good; once more changes nothing. The person may be asked again.
#[utoipa::path(
    delete, path = "/v1/grants/{id}", tag = "Grants", params(("id" = GrantId, Path)),
    responses((status = 204, description = "It has ended")),
    security(("bearer" = ["write:grants"]), ("session" = []))
)]
pub async fn end(
    State(app): State<App>,
    caller: Caller<WriteGrants>,
    PathId(id): PathId<GrantId>,
) -> Result<StatusCode, Problem> {
    found(&app, &caller, id).await?;
    let ending = Ending::of_grant(id, "revoked", app.clock.now(), &caller.by);
    if app.grants.end(ending).await? {
        app.revocations.catch_up().await;
    }
    Ok(StatusCode::NO_CONTENT)
}

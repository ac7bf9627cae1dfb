//! `/v1/organizations`: the caller's own, and all of them for the one that runs the installation.

use axum::extract::State;
use axum::response::Response;
use entity::{OrganizationId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{
    Caller, FoundOrganizations, Permission, ReadOrganizations, WriteOrganizations,
};
use crate::app::App;
use crate::http::{
    Beginning, Creation, IfMatch, Json, Limit, PageOf, PathId, Problem, Query, SearchText,
    Versioned, nullable,
};
use crate::organizations::{Closed, close_organization, found_organization};
use crate::tenancy::{self, LeakPolicy, Organization, OrganizationChanges};

/// An organization as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Organization)]
pub struct Representation {
    pub id: OrganizationId,
    pub name: String,
    pub created_at: Timestamp,
    /// When it was closed for good.
    #[schema(required)]
    pub closed_at: Option<Timestamp>,
    /// How often all of its API keys together may be used in a minute; null for as often as each may.
    #[schema(required, minimum = 1, maximum = 1_000_000)]
    pub api_key_requests_per_minute: Option<u32>,
    /// What is done with an API key of its that leaked.
    pub leak_policy: LeakPolicy,
    /// Grows with every change.
    pub version: i32,
}

impl From<Organization> for Representation {
    fn from(organization: Organization) -> Self {
        Self {
            id: organization.id,
            name: organization.name,
            created_at: organization.created_at,
            closed_at: organization.closed_at,
            api_key_requests_per_minute: organization.requests_per_minute,
            leak_policy: organization.leak_policy,
            version: organization.version,
        }
    }
}

/// The organizations that the caller may see; none for all of them.
async fn visible<P: Permission>(
    app: &App,
    caller: &Caller<P>,
) -> Result<Option<Vec<OrganizationId>>, Problem> {
    let reader = app.db.reader();
    if tenancy::find_operator(reader).await? == Some(caller.organization) {
        return Ok(None);
    }
    let Some(user) = caller.user.filter(|_| caller.is_session) else {
        return Ok(Some(vec![caller.organization]));
    };
    let memberships = tenancy::list_memberships(reader, user).await?;
    Ok(Some(memberships.into_iter().map(|membership| membership.organization).collect()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<OrganizationId>,
    /// How the name begins, in whatever case.
    #[param(inline)]
    name: Option<SearchText>,
}

/// List organizations
///
/// The caller's own: that of the credential, or all that the person belongs to who is logged in in a browser. The
/// organization that runs the installation sees every one, those that were closed, too. Newest first.
#[utoipa::path(
    get, path = "/v1/organizations", tag = "Organizations", params(ListQuery),
    responses((status = 200, description = "A page of organizations", body = PageOf<Representation>)),
    security(("bearer" = ["read:organizations"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadOrganizations>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let among = visible(&app, &caller).await?;
    let name = query.name.as_ref().map(|name| name.0.as_str());
    let organizations = tenancy::list_organizations(
        app.db.reader(),
        among.as_deref(),
        name,
        query.cursor,
        query.limit.rows(),
    )
    .await?;
    Ok(axum::Json(PageOf::new(organizations, query.limit, |it| it.id, Into::into)))
}

/// An organization to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The account of its first owner; that of the person behind the credential where it is left out.
    owner: Option<UserId>,
}

/// Create an organization
///
/// Only for the organization that runs the installation. Where no person is behind the credential and no owner is
/// named, nobody is in it until somebody is invited.
#[utoipa::path(
    post, path = "/v1/organizations", tag = "Organizations", request_body = CreateOrganization,
    responses((status = 201, description = "The organization", body = Representation)),
    security(("bearer" = ["write:organizations"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<FoundOrganizations>,
    creation: Creation<CreateOrganization>,
) -> Result<Response, Problem> {
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let (name, owner) = (&creation.wanted.name, creation.wanted.owner.or(caller.user));
    let organization = found_organization(begun.tx(), now, &caller.by, name, owner).await?;
    let made = Representation::from(organization);
    begun.created(Some(made.version), &made, None).await
}

/// Read an organization
#[utoipa::path(
    get, path = "/v1/organizations/{id}", tag = "Organizations", params(("id" = OrganizationId, Path)),
    responses((status = 200, description = "The organization", body = Representation)),
    security(("bearer" = ["read:organizations"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadOrganizations>,
    PathId(id): PathId<OrganizationId>,
) -> Result<Versioned<Representation>, Problem> {
    let among = visible(&app, &caller).await?;
    let organization = tenancy::find_organization(app.db.reader(), id)
        .await?
        .filter(|_| among.is_none_or(|among| among.contains(&id)))
        .ok_or_else(Problem::not_found)?;
    Ok(Versioned(organization.version, organization.into()))
}

/// What to change of an organization; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditOrganization {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// How often all of its API keys together may be used in a minute; null for as often as each may.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    api_key_requests_per_minute: Option<Option<u32>>,
    leak_policy: Option<LeakPolicy>,
}

/// Edit an organization
///
/// The caller's own, or any for the organization that runs the installation.
#[utoipa::path(
    patch, path = "/v1/organizations/{id}", tag = "Organizations", params(("id" = OrganizationId, Path)),
    responses((status = 200, description = "The organization", body = Representation)),
    security(("bearer" = ["write:organizations"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteOrganizations>,
    PathId(id): PathId<OrganizationId>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<EditOrganization>,
) -> Result<Versioned<Representation>, Problem> {
    let operator = tenancy::find_operator(app.db.reader()).await?;
    if id != caller.organization && operator != Some(caller.organization) {
        return Err(Problem::not_found());
    }
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let changes = OrganizationChanges {
        name: wanted.name.as_deref(),
        requests_per_minute: wanted.api_key_requests_per_minute,
        leak_policy: wanted.leak_policy,
    };
    let organization =
        tenancy::edit_organization(&tx, now, &caller.by, id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Versioned(organization.version, organization.into()))
}

/// What ended with an organization.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClosedOrganization)]
pub struct ClosedRepresentation {
    pub members: u64,
    pub api_keys: u64,
    pub clients: usize,
    pub grants: u64,
    pub resource_servers: usize,
}

impl From<Closed> for ClosedRepresentation {
    fn from(closed: Closed) -> Self {
        Self {
            members: closed.members,
            api_keys: closed.api_keys,
            clients: closed.clients,
            grants: closed.grants,
            resource_servers: closed.resource_servers,
        }
    }
}

/// Close an organization
///
/// At once and for good: its API keys, applications, APIs and grants end, and nobody belongs to it any more. Only for
/// the organization that runs the installation, which itself can't be closed. Once more changes nothing.
#[utoipa::path(
    delete, path = "/v1/organizations/{id}", tag = "Organizations", params(("id" = OrganizationId, Path)),
    responses((status = 200, description = "It is closed; this is what ended", body = ClosedRepresentation)),
    security(("bearer" = ["write:organizations"]), ("session" = []))
)]
pub async fn close(
    State(app): State<App>,
    caller: Caller<FoundOrganizations>,
    PathId(id): PathId<OrganizationId>,
) -> Result<axum::Json<ClosedRepresentation>, Problem> {
    let tx = app.db.begin().await?;
    let closed = close_organization(&tx, app.clock.now(), &caller.by, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(axum::Json(closed.into()))
}

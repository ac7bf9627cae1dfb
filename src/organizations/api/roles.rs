//! `/v1/roles`: the built-in roles, and those that the caller's organization has made for itself.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{OrganizationId, RoleId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadRoles, WriteRoles};
use crate::app::App;
use crate::http::{
    Beginning, Creation, IfMatch, Json, Limit, PageOf, PathId, Problem, Query, Versioned,
};
use crate::tenancy::{self, NewRole, OwnRole, Role, RoleChanges, RoleRef};

/// A role as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Role)]
pub struct Representation {
    pub id: RoleRef,
    /// None for a built-in role, which every organization has.
    #[schema(required)]
    pub organization: Option<OrganizationId>,
    pub name: String,
    /// The most that somebody with this role may allow or do.
    pub scopes: Vec<String>,
    pub built_in: bool,
    #[schema(required)]
    pub created_at: Option<Timestamp>,
    /// Grows with every change.
    pub version: i32,
}

impl From<Role> for Representation {
    fn from(role: Role) -> Self {
        Self {
            id: role.into(),
            organization: None,
            name: role.to_string(),
            scopes: role.scopes().iter().map(ToString::to_string).collect(),
            built_in: true,
            created_at: None,
            version: 1,
        }
    }
}

impl From<OwnRole> for Representation {
    fn from(role: OwnRole) -> Self {
        Self {
            id: RoleRef::Own(role.id),
            organization: Some(role.organization),
            name: role.name,
            scopes: role.scopes.iter().map(ToString::to_string).collect(),
            built_in: false,
            created_at: Some(role.created_at),
            version: role.version,
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
    #[param(inline)]
    cursor: Option<RoleRef>,
}

/// List roles
///
/// The built-in ones first, then the organization's own, newest first.
#[utoipa::path(
    get, path = "/v1/roles", tag = "Roles", params(ListQuery),
    responses((status = 200, description = "A page of roles", body = PageOf<Representation>)),
    security(("bearer" = ["read:roles"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadRoles>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let mut built_in = Role::ALL.into_iter();
    let before = match query.cursor {
        None => None,
        Some(RoleRef::BuiltIn(last)) => {
            built_in.find(|role| *role == last);
            None
        }
        Some(RoleRef::Own(last)) => {
            built_in.by_ref().for_each(drop);
            Some(last)
        }
    };
    let mut roles: Vec<Representation> = built_in.map(Representation::from).collect();
    let rows = query.limit.rows().saturating_sub(roles.len() as u64);
    if rows > 0 {
        let (reader, organization) = (app.db.reader(), caller.organization);
        let own = tenancy::list_roles(reader, organization, before, rows).await?;
        roles.extend(own.into_iter().map(Representation::from));
    }
    Ok(axum::Json(PageOf::new(roles, query.limit, |role| role.id, |role| role)))
}

/// A role to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRole {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Each within what you may do yourself.
    #[schema(min_items = 1, max_items = 100, example = json!(["read:tenants"]))]
    scopes: Vec<String>,
}

/// Create a role
#[utoipa::path(
    post, path = "/v1/roles", tag = "Roles", request_body = CreateRole,
    responses((status = 201, description = "The role", body = Representation)),
    security(("bearer" = ["write:roles"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteRoles>,
    creation: Creation<CreateRole>,
) -> Result<Response, Problem> {
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let new = NewRole {
        organization: caller.organization,
        name: &creation.wanted.name,
        scopes: &creation.wanted.scopes,
        reach: &caller.scopes,
    };
    let role = tenancy::create_role(begun.tx(), now, &caller.by, new).await?;
    let made = Representation::from(role);
    begun.created(Some(made.version), &made, None).await
}

/// Read a role
#[utoipa::path(
    get, path = "/v1/roles/{id}", tag = "Roles", params(("id" = RoleRef, Path)),
    responses((status = 200, description = "The role", body = Representation)),
    security(("bearer" = ["read:roles"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadRoles>,
    PathId(id): PathId<RoleRef>,
) -> Result<Versioned<Representation>, Problem> {
    let role: Representation = match id {
        RoleRef::BuiltIn(role) => role.into(),
        RoleRef::Own(id) => {
            let role = tenancy::find_role(app.db.reader(), caller.organization, id).await?;
            role.ok_or_else(Problem::not_found)?.into()
        }
    };
    Ok(Versioned(role.version, role))
}

/// The role, if it is one that can be edited.
fn own(id: RoleRef) -> Result<RoleId, Problem> {
    match id {
        RoleRef::Own(id) => Ok(id),
        RoleRef::BuiltIn(_) => {
            Err(Problem::conflict("A built-in role is the same everywhere and stays as it is."))
        }
    }
}

/// What to change of a role; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRole {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// All of them, each within what you may do yourself.
    #[schema(min_items = 1, max_items = 100)]
    scopes: Option<Vec<String>>,
}

/// Edit a role
///
/// In force at once, for everybody who has it.
#[utoipa::path(
    patch, path = "/v1/roles/{id}", tag = "Roles", params(("id" = RoleRef, Path)),
    responses((status = 200, description = "The role", body = Representation)),
    security(("bearer" = ["write:roles"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteRoles>,
    PathId(id): PathId<RoleRef>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<EditRole>,
) -> Result<Versioned<Representation>, Problem> {
    let id = own(id)?;
    let changes = RoleChanges {
        name: wanted.name.as_deref(),
        scopes: wanted.scopes.as_deref(),
        reach: &caller.scopes,
    };
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let (by, organization) = (&caller.by, caller.organization);
    let role = tenancy::edit_role(&tx, now, by, organization, id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Versioned(role.version, role.into()))
}

/// Delete a role
///
/// Only one that nobody has and that no open invitation offers.
#[utoipa::path(
    delete, path = "/v1/roles/{id}", tag = "Roles", params(("id" = RoleRef, Path)),
    responses((status = 204, description = "It is gone")),
    security(("bearer" = ["write:roles"]), ("session" = []))
)]
pub async fn delete(
    State(app): State<App>,
    caller: Caller<WriteRoles>,
    PathId(id): PathId<RoleRef>,
) -> Result<StatusCode, Problem> {
    let id = own(id)?;
    let tx = app.db.begin().await?;
    tenancy::delete_role(&tx, app.clock.now(), &caller.by, caller.organization, id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

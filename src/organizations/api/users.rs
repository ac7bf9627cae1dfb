//! `/v1/users`: every account of the installation, for the organization that runs it.

use axum::extract::State;
use axum::http::StatusCode;
use entity::{OrganizationId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadUsers, WriteUsers};
use crate::app::App;
use crate::http::{Limit, PageOf, PathId, Problem, Query, SearchText};
use crate::identity::{self, ListUsers, User, UserStatus};
use crate::organizations::{erase_user, resume_user, suspend_user};
use crate::tenancy::{self, Membership, RoleRef};

/// An account as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct Representation {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub status: UserStatus,
    pub created_at: Timestamp,
    #[schema(required)]
    pub suspended_at: Option<Timestamp>,
    #[schema(required)]
    pub erased_at: Option<Timestamp>,
}

impl From<User> for Representation {
    fn from(user: User) -> Self {
        Self {
            status: user.status(),
            id: user.id,
            email: user.email,
            name: user.name,
            created_at: user.created_at,
            suspended_at: user.suspended_at,
            erased_at: user.erased_at,
        }
    }
}

/// An account, and where its person belongs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserWithMemberships)]
pub struct Detailed {
    #[serde(flatten)]
    user: Representation,
    memberships: Vec<MembershipRepresentation>,
}

/// An organization that somebody belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Membership)]
pub struct MembershipRepresentation {
    organization: OrganizationId,
    organization_name: String,
    role: RoleRef,
    role_name: String,
}

impl From<Membership> for MembershipRepresentation {
    fn from(membership: Membership) -> Self {
        Self {
            organization: membership.organization,
            organization_name: membership.organization_name,
            role: membership.role,
            role_name: membership.role_name,
        }
    }
}

async fn detailed(app: &App, user: User) -> Result<axum::Json<Detailed>, Problem> {
    let memberships = tenancy::list_memberships(app.db.reader(), user.id).await?;
    let memberships = memberships.into_iter().map(Into::into).collect();
    Ok(axum::Json(Detailed { user: user.into(), memberships }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<UserId>,
    status: Option<UserStatus>,
    /// How the e-mail address begins, in whatever case.
    #[param(inline)]
    email: Option<SearchText>,
}

/// List accounts
///
/// Every one of the installation, newest first. Only for the organization that runs it.
#[utoipa::path(
    get, path = "/v1/users", tag = "Users", params(ListQuery),
    responses((status = 200, description = "A page of accounts", body = PageOf<Representation>)),
    security(("bearer" = ["read:users"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    _: Caller<ReadUsers>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let which = ListUsers {
        email: query.email.as_ref().map(|email| email.0.as_str()),
        status: query.status,
        before: query.cursor,
        limit: query.limit.rows(),
    };
    let users = identity::search_users(app.db.reader(), which).await?;
    Ok(axum::Json(PageOf::new(users, query.limit, |user| user.id, Into::into)))
}

/// Read an account
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "Users", params(("id" = UserId, Path)),
    responses((status = 200, description = "The account", body = Detailed)),
    security(("bearer" = ["read:users"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    _: Caller<ReadUsers>,
    PathId(id): PathId<UserId>,
) -> Result<axum::Json<Detailed>, Problem> {
    let user = identity::find_user(app.db.reader(), id).await?;
    detailed(&app, user.ok_or_else(Problem::not_found)?).await
}

/// Suspend an account
///
/// Its person is logged out everywhere and can't log in; what they have allowed ends for good; the API keys that they
/// own reach nothing. Once more changes nothing.
#[utoipa::path(
    post, path = "/v1/users/{id}/suspend", tag = "Users", params(("id" = UserId, Path)),
    responses((status = 200, description = "The account", body = Detailed)),
    security(("bearer" = ["write:users"]), ("session" = []))
)]
pub async fn suspend(
    State(app): State<App>,
    caller: Caller<WriteUsers>,
    PathId(id): PathId<UserId>,
) -> Result<axum::Json<Detailed>, Problem> {
    let tx = app.db.begin().await?;
    let user = suspend_user(&tx, app.clock.now(), &caller.by, caller.user, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    detailed(&app, user).await
}

/// Resume an account
///
/// Its person can log in again, and the API keys that they own work again. Once more changes nothing.
#[utoipa::path(
    post, path = "/v1/users/{id}/resume", tag = "Users", params(("id" = UserId, Path)),
    responses((status = 200, description = "The account", body = Detailed)),
    security(("bearer" = ["write:users"]), ("session" = []))
)]
pub async fn resume(
    State(app): State<App>,
    caller: Caller<WriteUsers>,
    PathId(id): PathId<UserId>,
) -> Result<axum::Json<Detailed>, Problem> {
    let tx = app.db.begin().await?;
    let user = resume_user(&tx, app.clock.now(), &caller.by, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    detailed(&app, user).await
}

/// Erase an account
///
/// For good: nothing is left that names the person, and nothing of theirs works any more. The audit trail keeps the id.
/// Once more changes nothing.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "Users", params(("id" = UserId, Path)),
    responses((status = 204, description = "It is erased")),
    security(("bearer" = ["write:users"]), ("session" = []))
)]
pub async fn erase(
    State(app): State<App>,
    caller: Caller<WriteUsers>,
    PathId(id): PathId<UserId>,
) -> Result<StatusCode, Problem> {
    let tx = app.db.begin().await?;
    erase_user(&tx, app.clock.now(), &caller.by, caller.user, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

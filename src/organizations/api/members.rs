//! `/v1/members`: who is in the caller's organization, and with which role.

use axum::extract::State;
use axum::http::StatusCode;
use entity::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, Leave, Permission, ReadMembers, WriteMembers};
use crate::app::App;
use crate::http::{IfMatch, Json, Limit, PageOf, PathId, Problem, Query, SearchText, Versioned};
use crate::organizations::{Authority, change_member_role, remove_member};
use crate::tenancy::{self, ListMembers, Member, RoleRef};

/// A member as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub struct Representation {
    pub user: UserId,
    pub email: String,
    pub name: String,
    pub role: RoleRef,
    /// What the role is called.
    pub role_name: String,
    pub joined_at: Timestamp,
    /// Since when the account is suspended.
    #[schema(required)]
    pub suspended_at: Option<Timestamp>,
    /// Grows with every change.
    pub version: i32,
}

impl From<Member> for Representation {
    fn from(member: Member) -> Self {
        Self {
            user: member.user,
            email: member.email,
            name: member.name,
            role: member.role,
            role_name: member.role_name,
            joined_at: member.joined_at,
            suspended_at: member.suspended_at,
            version: member.version,
        }
    }
}

fn authority<P: Permission>(caller: &Caller<P>) -> Authority<'_> {
    Authority::Caller { user: caller.user, scopes: &caller.scopes }
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
    /// Who has this role.
    #[param(inline)]
    role: Option<RoleRef>,
    /// How the e-mail address begins, in whatever case.
    #[param(inline)]
    email: Option<SearchText>,
}

/// List members
///
/// The newest accounts first.
#[utoipa::path(
    get, path = "/v1/members", tag = "Members", params(ListQuery),
    responses((status = 200, description = "A page of members", body = PageOf<Representation>)),
    security(("bearer" = ["read:members"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadMembers>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let which = ListMembers {
        role: query.role,
        email: query.email.as_ref().map(|email| email.0.as_str()),
        before: query.cursor,
        limit: query.limit.rows(),
    };
    let members = tenancy::list_members(app.db.reader(), caller.organization, which).await?;
    Ok(axum::Json(PageOf::new(members, query.limit, |member| member.user, Into::into)))
}

/// Read a member
#[utoipa::path(
    get, path = "/v1/members/{id}", tag = "Members", params(("id" = UserId, Path)),
    responses((status = 200, description = "The member", body = Representation)),
    security(("bearer" = ["read:members"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadMembers>,
    PathId(user): PathId<UserId>,
) -> Result<Versioned<Representation>, Problem> {
    let member = tenancy::find_member(app.db.reader(), caller.organization, user).await?;
    let member = member.ok_or_else(Problem::not_found)?;
    Ok(Versioned(member.version, member.into()))
}

/// What to change of a member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMember {
    #[schema(inline)]
    role: RoleRef,
}

/// Give a member another role
///
/// In force at once, for what they have allowed and for the API keys that they own, too. Nobody gives or takes away a
/// role that allows more than they may do themselves, and only an owner makes and demotes owners, of whom one must stay.
#[utoipa::path(
    patch, path = "/v1/members/{id}", tag = "Members", params(("id" = UserId, Path)),
    responses((status = 200, description = "The member", body = Representation)),
    security(("bearer" = ["write:members"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteMembers>,
    PathId(user): PathId<UserId>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<EditMember>,
) -> Result<Versioned<Representation>, Problem> {
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let member = change_member_role(
        &tx,
        now,
        &caller.by,
        authority(&caller),
        caller.organization,
        user,
        expected,
        wanted.role,
    )
    .await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Versioned(member.version, member.into()))
}

/// Remove a member
///
/// What they have allowed in the organization ends for good, and the API keys that they own reach nothing any more.
/// Everybody may remove themselves, whatever the scopes of the credential. Nobody removes somebody who may do more than
/// they may do themselves, only an owner removes owners, and the last one stays.
#[utoipa::path(
    delete, path = "/v1/members/{id}", tag = "Members", params(("id" = UserId, Path)),
    responses((status = 204, description = "They are no member any more")),
    security(("bearer" = []), ("session" = []))
)]
pub async fn remove(
    State(app): State<App>,
    caller: Caller<Leave>,
    PathId(user): PathId<UserId>,
) -> Result<StatusCode, Problem> {
    if caller.user != Some(user) {
        caller.needs::<WriteMembers>()?;
    }
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let (by, authority, organization) = (&caller.by, authority(&caller), caller.organization);
    remove_member(&tx, now, by, authority, organization, user).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

use std::collections::{BTreeSet, HashMap};

use entity::{
    OrganizationId, ProjectId, RoleId, Timestamp, UserId, installation, invitation, membership,
    organization, project, role, user,
};
use portcullis_verifier::ScopeSet;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Set,
};

use super::{
    LeakPolicy, Member, Membership, Organization, OrganizationChanges, OwnRole, Project, Role,
    RoleRef,
};
use crate::platform::db::{begins_with, padded, search_text};

fn organization(row: organization::Model) -> Result<Organization, DbErr> {
    let damaged = |column: &str| DbErr::Type(format!("organizations {}: {column}", row.id));
    let requests = row.requests_per_minute.map(u32::try_from).transpose();
    Ok(Organization {
        id: row.id,
        requests_per_minute: requests.map_err(|_| damaged("requests_per_minute"))?,
        leak_policy: row.leak_policy.parse().map_err(|_| damaged("leak_policy"))?,
        name: row.name,
        created_at: row.created_at,
        closed_at: row.closed_at,
        version: row.version,
    })
}

/// # Errors
/// When the database fails.
pub async fn insert_organization(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    name: &str,
) -> Result<OrganizationId, DbErr> {
    let id = OrganizationId::new(now);
    let row = organization::ActiveModel {
        id: Set(id),
        name: Set(name.to_owned()),
        search_name: Set(search_text(name)),
        version: Set(1),
        created_at: Set(now),
        closed_at: Set(None),
        requests_per_minute: Set(None),
        leak_policy: Set(LeakPolicy::default().as_str().to_owned()),
    };
    row.insert(connection).await?;
    Ok(id)
}

/// # Errors
/// When the database fails.
pub async fn find_organization(
    connection: &impl ConnectionTrait,
    id: OrganizationId,
) -> Result<Option<Organization>, DbErr> {
    organization::Entity::find_by_id(id).one(connection).await?.map(organization).transpose()
}

/// What the organization wants done with an API key that leaked.
///
/// # Errors
/// When there is no such organization, or the database fails.
pub async fn find_leak_policy(
    connection: &impl ConnectionTrait,
    id: OrganizationId,
) -> Result<LeakPolicy, DbErr> {
    let damaged = || DbErr::Type(format!("organizations {id}: leak_policy is damaged"));
    let row = organization::Entity::find_by_id(id).one(connection).await?.ok_or_else(damaged)?;
    row.leak_policy.parse().map_err(|_| damaged())
}

/// Organizations, newest first: all whose name begins like this, or those of these ids.
///
/// # Errors
/// When the database fails.
pub async fn list_organizations(
    connection: &impl ConnectionTrait,
    among: Option<&[OrganizationId]>,
    name: Option<&str>,
    before: Option<OrganizationId>,
    limit: u64,
) -> Result<Vec<Organization>, DbErr> {
    let mut query =
        organization::Entity::find().order_by_desc(organization::Column::Id).limit(limit);
    if let Some(among) = among {
        query = query.filter(organization::Column::Id.is_in(among.iter().copied()));
    }
    if let Some(name) = name {
        query = query.filter(begins_with(organization::Column::SearchName, &search_text(name)));
    }
    if let Some(before) = before {
        query = query.filter(organization::Column::Id.lt(before));
    }
    query.all(connection).await?.into_iter().map(organization).collect()
}

pub(super) async fn update_organization(
    tx: &DatabaseTransaction,
    id: OrganizationId,
    expected: Option<i32>,
    changes: OrganizationChanges<'_>,
) -> Result<Option<Organization>, DbErr> {
    use organization::Column;
    let mut update = organization::Entity::update_many()
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::ClosedAt.is_null());
    if let Some(name) = changes.name {
        update = update
            .col_expr(Column::Name, Expr::value(name))
            .col_expr(Column::SearchName, Expr::value(search_text(name)));
    }
    if let Some(requests) = changes.requests_per_minute {
        let requests = requests.map(i64::from);
        update = update.col_expr(Column::RequestsPerMinute, Expr::value(requests));
    }
    if let Some(policy) = changes.leak_policy {
        update = update.col_expr(Column::LeakPolicy, Expr::value(policy.as_str()));
    }
    if let Some(version) = expected {
        update = update.filter(organization::Column::Version.eq(version));
    }
    update.exec_with_returning(tx).await?.into_iter().next().map(organization).transpose()
}

/// Waits for, and holds until the end of the transaction, the lock under which an organization's people change. False
/// where there is no such organization, or none any more.
///
/// # Errors
/// When the database fails.
pub async fn lock_organization(
    tx: &DatabaseTransaction,
    id: OrganizationId,
) -> Result<bool, DbErr> {
    let locked = organization::Entity::update_many()
        .col_expr(organization::Column::Id, Expr::value(id))
        .filter(organization::Column::Id.eq(id))
        .filter(organization::Column::ClosedAt.is_null())
        .exec(tx)
        .await?;
    Ok(locked.rows_affected == 1)
}

/// Whether this call closed the organization. What was in it is for the caller to end.
///
/// # Errors
/// When the database fails.
pub async fn mark_organization_closed(
    tx: &DatabaseTransaction,
    id: OrganizationId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = organization::Entity::update_many()
        .col_expr(organization::Column::ClosedAt, Expr::value(now))
        .col_expr(organization::Column::Version, Expr::col(organization::Column::Version).add(1))
        .filter(organization::Column::Id.eq(id))
        .filter(organization::Column::ClosedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Whether the organization was closed for good.
///
/// # Errors
/// When the database fails.
pub async fn is_closed(
    connection: &impl ConnectionTrait,
    id: OrganizationId,
) -> Result<bool, DbErr> {
    let closed = organization::Entity::find_by_id(id)
        .filter(organization::Column::ClosedAt.is_not_null())
        .count(connection)
        .await?;
    Ok(closed > 0)
}

/// Takes everybody out of the organization; says how many that were.
///
/// # Errors
/// When the database fails.
pub async fn delete_members(tx: &DatabaseTransaction, id: OrganizationId) -> Result<u64, DbErr> {
    let deleted = membership::Entity::delete_many()
        .filter(membership::Column::OrganizationId.eq(id))
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected)
}

/// Takes the user out of every organization; says how many that were.
///
/// # Errors
/// When the database fails.
pub async fn delete_memberships(tx: &DatabaseTransaction, user: UserId) -> Result<u64, DbErr> {
    let deleted = membership::Entity::delete_many()
        .filter(membership::Column::UserId.eq(user))
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected)
}

/// Revokes the invitations into the organization that are still open.
///
/// # Errors
/// When the database fails.
pub async fn revoke_invitations_into(
    tx: &DatabaseTransaction,
    now: Timestamp,
    id: OrganizationId,
) -> Result<u64, DbErr> {
    let updated = invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(now))
        .filter(invitation::Column::OrganizationId.eq(id))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected)
}

/// Revokes the invitations to this address that are still open, and puts another address in its place in all of them.
///
/// # Errors
/// When the database fails.
pub async fn erase_invitations_to(
    tx: &DatabaseTransaction,
    now: Timestamp,
    email: &str,
    replacement: &str,
) -> Result<(), DbErr> {
    invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(now))
        .filter(invitation::Column::Email.eq(email))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    invitation::Entity::update_many()
        .col_expr(invitation::Column::Email, Expr::value(replacement))
        .filter(invitation::Column::Email.eq(email))
        .exec(tx)
        .await?;
    Ok(())
}

/// The organization that runs the installation; none before the setup.
///
/// # Errors
/// When the database fails.
pub async fn find_operator(
    connection: &impl ConnectionTrait,
) -> Result<Option<OrganizationId>, DbErr> {
    let row = installation::Entity::find_by_id(1).one(connection).await?;
    Ok(row.and_then(|row| row.organization_id))
}

/// # Errors
/// When the database fails.
pub async fn set_operator(tx: &DatabaseTransaction, id: OrganizationId) -> Result<(), DbErr> {
    installation::Entity::update_many()
        .col_expr(installation::Column::OrganizationId, Expr::value(id))
        .filter(installation::Column::Id.eq(1))
        .exec(tx)
        .await?;
    Ok(())
}

/// The oldest organization, or the oldest of that name, that was not closed.
///
/// # Errors
/// When the database fails.
pub async fn find_organization_by_name(
    connection: &impl ConnectionTrait,
    name: Option<&str>,
) -> Result<Option<(OrganizationId, String)>, DbErr> {
    let mut query = organization::Entity::find()
        .filter(organization::Column::ClosedAt.is_null())
        .order_by_asc(organization::Column::Id)
        .limit(1);
    if let Some(name) = name {
        query = query.filter(organization::Column::Name.eq(name));
    }
    Ok(query.one(connection).await?.map(|row| (row.id, row.name)))
}

fn project(row: project::Model) -> Project {
    Project {
        id: row.id,
        organization: row.organization_id,
        name: row.name,
        description: row.description,
        created_at: row.created_at,
        version: row.version,
    }
}

pub(super) async fn insert_project(tx: &DatabaseTransaction, new: &Project) -> Result<(), DbErr> {
    let row = project::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        name: Set(new.name.clone()),
        description: Set(new.description.clone()),
        created_at: Set(new.created_at),
        deleted_at: Set(None),
        version: Set(new.version),
    };
    row.insert(tx).await?;
    Ok(())
}

/// The project of this organization, if it was not deleted.
///
/// # Errors
/// When the database fails.
pub async fn find_project(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<Option<Project>, DbErr> {
    let row = project::Entity::find_by_id(id)
        .filter(project::Column::OrganizationId.eq(organization))
        .filter(project::Column::DeletedAt.is_null())
        .one(connection)
        .await?;
    Ok(row.map(project))
}

/// Whether the organization has the project, which is then not deleted before the end of the transaction: what is
/// confined to it here is found by whoever deletes it.
///
/// # Errors
/// When the database fails.
pub async fn hold_project(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<bool, DbErr> {
    let held = project::Entity::update_many()
        .col_expr(project::Column::Id, Expr::value(id))
        .filter(project::Column::Id.eq(id))
        .filter(project::Column::OrganizationId.eq(organization))
        .filter(project::Column::DeletedAt.is_null())
        .exec(tx)
        .await?;
    Ok(held.rows_affected == 1)
}

/// The organization's projects, newest first; `only` where the asker is confined to one.
///
/// # Errors
/// When the database fails.
pub async fn list_projects(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    only: Option<ProjectId>,
    before: Option<ProjectId>,
    limit: u64,
) -> Result<Vec<Project>, DbErr> {
    let mut query = project::Entity::find()
        .filter(project::Column::OrganizationId.eq(organization))
        .filter(project::Column::DeletedAt.is_null())
        .order_by_desc(project::Column::Id)
        .limit(limit);
    if let Some(only) = only {
        query = query.filter(project::Column::Id.eq(only));
    }
    if let Some(before) = before {
        query = query.filter(project::Column::Id.lt(before));
    }
    Ok(query.all(connection).await?.into_iter().map(project).collect())
}

/// What these projects of the organization are called, also those that were deleted.
///
/// # Errors
/// When the database fails.
pub async fn project_names(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    ids: Vec<ProjectId>,
) -> Result<HashMap<ProjectId, String>, DbErr> {
    let found = project::Entity::find()
        .filter(project::Column::OrganizationId.eq(organization))
        .filter(project::Column::Id.is_in(padded(ids)));
    Ok(found.all(connection).await?.into_iter().map(|row| (row.id, row.name)).collect())
}

pub(super) async fn update_project(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ProjectId,
    expected: Option<i32>,
    name: Option<String>,
    description: Option<String>,
) -> Result<Option<Project>, DbErr> {
    let mut update = project::Entity::update_many()
        .col_expr(project::Column::Version, Expr::col(project::Column::Version).add(1))
        .filter(project::Column::Id.eq(id))
        .filter(project::Column::OrganizationId.eq(organization))
        .filter(project::Column::DeletedAt.is_null());
    if let Some(name) = name {
        update = update.col_expr(project::Column::Name, Expr::value(name));
    }
    if let Some(description) = description {
        update = update.col_expr(project::Column::Description, Expr::value(description));
    }
    if let Some(version) = expected {
        update = update.filter(project::Column::Version.eq(version));
    }
    Ok(update.exec_with_returning(tx).await?.into_iter().next().map(project))
}

/// Whether this call deleted the project. What was confined to it is for the caller to end.
///
/// # Errors
/// When the database fails.
pub async fn mark_project_deleted(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ProjectId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = project::Entity::update_many()
        .col_expr(project::Column::DeletedAt, Expr::value(now))
        .filter(project::Column::Id.eq(id))
        .filter(project::Column::OrganizationId.eq(organization))
        .filter(project::Column::DeletedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

fn own_role(row: role::Model) -> Result<OwnRole, DbErr> {
    Ok(OwnRole {
        scopes: row
            .scopes
            .parse()
            .map_err(|_| DbErr::Type(format!("roles {}: scopes is damaged", row.id)))?,
        id: row.id,
        organization: row.organization_id,
        name: row.name,
        created_at: row.created_at,
        version: row.version,
    })
}

pub(super) async fn insert_role(tx: &DatabaseTransaction, new: &OwnRole) -> Result<(), DbErr> {
    let row = role::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        name: Set(new.name.clone()),
        scopes: Set(new.scopes.to_string()),
        created_at: Set(new.created_at),
        version: Set(new.version),
    };
    row.insert(tx).await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn find_role(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: RoleId,
) -> Result<Option<OwnRole>, DbErr> {
    let row = role::Entity::find_by_id(id)
        .filter(role::Column::OrganizationId.eq(organization))
        .one(connection)
        .await?;
    row.map(own_role).transpose()
}

/// The roles that the organization has made for itself, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_roles(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    before: Option<RoleId>,
    limit: u64,
) -> Result<Vec<OwnRole>, DbErr> {
    let mut query = role::Entity::find()
        .filter(role::Column::OrganizationId.eq(organization))
        .order_by_desc(role::Column::Id)
        .limit(limit);
    if let Some(before) = before {
        query = query.filter(role::Column::Id.lt(before));
    }
    query.all(connection).await?.into_iter().map(own_role).collect()
}

pub(super) async fn update_role(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: RoleId,
    expected: Option<i32>,
    name: Option<String>,
    scopes: Option<ScopeSet>,
) -> Result<Option<OwnRole>, DbErr> {
    let mut update = role::Entity::update_many()
        .col_expr(role::Column::Version, Expr::col(role::Column::Version).add(1))
        .filter(role::Column::Id.eq(id))
        .filter(role::Column::OrganizationId.eq(organization));
    if let Some(name) = name {
        update = update.col_expr(role::Column::Name, Expr::value(name));
    }
    if let Some(scopes) = scopes {
        update = update.col_expr(role::Column::Scopes, Expr::value(scopes.to_string()));
    }
    if let Some(version) = expected {
        update = update.filter(role::Column::Version.eq(version));
    }
    update.exec_with_returning(tx).await?.into_iter().next().map(own_role).transpose()
}

/// Whether somebody has the role, or an open invitation offers it.
pub(super) async fn role_is_in_use(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    role: RoleRef,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let members = membership::Entity::find()
        .filter(membership::Column::OrganizationId.eq(organization))
        .filter(membership::Column::Role.eq(role.to_string()))
        .count(tx)
        .await?;
    let invitations = invitation::Entity::find()
        .filter(invitation::Column::OrganizationId.eq(organization))
        .filter(invitation::Column::Role.eq(role.to_string()))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .filter(invitation::Column::ExpiresAt.gt(now))
        .count(tx)
        .await?;
    Ok(members + invitations > 0)
}

pub(super) async fn delete_role(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: RoleId,
) -> Result<bool, DbErr> {
    let deleted = role::Entity::delete_many()
        .filter(role::Column::Id.eq(id))
        .filter(role::Column::OrganizationId.eq(organization))
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected == 1)
}

/// # Errors
/// When the database fails.
pub async fn insert_membership(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    organization: OrganizationId,
    user: UserId,
    role: impl Into<RoleRef>,
) -> Result<(), DbErr> {
    let email: Option<String> = user::Entity::find_by_id(user)
        .select_only()
        .column(user::Column::Email)
        .into_tuple()
        .one(connection)
        .await?;
    let row = membership::ActiveModel {
        organization_id: Set(organization),
        user_id: Set(user),
        role: Set(role.into().to_string()),
        created_at: Set(now),
        version: Set(1),
        search_email: Set(email.unwrap_or_default()),
    };
    row.insert(connection).await?;
    Ok(())
}

pub(super) async fn update_membership(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    user: UserId,
    expected: Option<i32>,
    role: RoleRef,
) -> Result<bool, DbErr> {
    let mut update = membership::Entity::update_many()
        .col_expr(membership::Column::Role, Expr::value(role.to_string()))
        .col_expr(membership::Column::Version, Expr::col(membership::Column::Version).add(1))
        .filter(membership::Column::OrganizationId.eq(organization))
        .filter(membership::Column::UserId.eq(user));
    if let Some(version) = expected {
        update = update.filter(membership::Column::Version.eq(version));
    }
    Ok(update.exec(tx).await?.rows_affected == 1)
}

/// Whether this call took the user out of the organization.
///
/// # Errors
/// When the database fails.
pub async fn delete_membership(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    user: UserId,
) -> Result<bool, DbErr> {
    let deleted = membership::Entity::delete_many()
        .filter(membership::Column::OrganizationId.eq(organization))
        .filter(membership::Column::UserId.eq(user))
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected == 1)
}

/// Whether the user is an owner, and nobody else is. Ask under the organization's lock.
///
/// # Errors
/// When the database fails.
pub async fn is_last_owner(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    user: UserId,
) -> Result<bool, DbErr> {
    let owners: Vec<UserId> = membership::Entity::find()
        .select_only()
        .column(membership::Column::UserId)
        .filter(membership::Column::OrganizationId.eq(organization))
        .filter(membership::Column::Role.eq(Role::Owner.as_str()))
        .limit(2)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(owners == [user])
}

/// The organizations of which the user is the only owner.
///
/// # Errors
/// When the database fails.
pub async fn sole_ownerships(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<Vec<OrganizationId>, DbErr> {
    let owned: Vec<OrganizationId> = membership::Entity::find()
        .select_only()
        .column(membership::Column::OrganizationId)
        .filter(membership::Column::UserId.eq(user))
        .filter(membership::Column::Role.eq(Role::Owner.as_str()))
        .into_tuple()
        .all(connection)
        .await?;
    let mut sole = Vec::new();
    for organization in owned {
        if is_last_owner(connection, organization, user).await? {
            sole.push(organization);
        }
    }
    Ok(sole)
}

/// The role that the user has in the organization now.
///
/// # Errors
/// When the database fails.
pub async fn find_membership(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<Membership>, DbErr> {
    let row = membership::Entity::find_by_id((organization, user)).one(connection).await?;
    Ok(memberships(connection, row.into_iter().collect()).await?.pop())
}

/// A membership, as far as it says what its member may do.
#[derive(Debug, Clone)]
pub struct MemberRole {
    pub organization: OrganizationId,
    pub user: UserId,
    /// As it stands in the row.
    pub role: String,
}

/// The organizations' own roles that some memberships name.
pub struct OwnRoles(HashMap<RoleId, OwnRole>);

impl OwnRoles {
    /// What the role of one of those memberships allows.
    ///
    /// # Errors
    /// When the membership's row is damaged.
    pub fn scopes_of(&self, member: &MemberRole) -> Result<ScopeSet, DbErr> {
        let (_, _, scopes) = named_role(member.organization, member.user, &member.role, &self.0)?;
        Ok(scopes)
    }
}

/// What has to be read to say what all of these members may do: nothing, where their roles are built in.
///
/// # Errors
/// When the database fails. A damaged row is the error of those whose role it is.
pub async fn own_roles_of(
    connection: &impl ConnectionTrait,
    members: impl Iterator<Item = &MemberRole>,
) -> Result<OwnRoles, DbErr> {
    let own: BTreeSet<RoleId> = members.filter_map(|member| member.role.parse().ok()).collect();
    let rows = find_own_roles(connection, own.into_iter().collect()).await?;
    Ok(OwnRoles(rows.into_iter().filter_map(|row| Some((row.id, own_role(row).ok()?))).collect()))
}

/// Every organization that the user belongs to, oldest membership first.
///
/// # Errors
/// When the database fails.
pub async fn list_memberships(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<Vec<Membership>, DbErr> {
    let rows = membership::Entity::find()
        .filter(membership::Column::UserId.eq(user))
        .order_by_asc(membership::Column::CreatedAt)
        .order_by_asc(membership::Column::OrganizationId)
        .all(connection)
        .await?;
    memberships(connection, rows).await
}

async fn memberships(
    connection: &impl ConnectionTrait,
    rows: Vec<membership::Model>,
) -> Result<Vec<Membership>, DbErr> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.organization_id);
    // One that was closed has nobody in it, whoever slipped in beside the closing.
    let names: HashMap<OrganizationId, String> = organization::Entity::find()
        .filter(organization::Column::Id.is_in(ids))
        .filter(organization::Column::ClosedAt.is_null())
        .all(connection)
        .await?
        .into_iter()
        .map(|row| (row.id, row.name))
        .collect();
    let roles = roles_of(connection, &rows).await?;
    rows.into_iter()
        .filter_map(|row| names.get(&row.organization_id).map(|name| (row, name.clone())))
        .map(|(row, organization_name)| {
            let (role, role_name, scopes) = role_of(&row, &roles)?;
            Ok(Membership {
                organization: row.organization_id,
                organization_name,
                role,
                role_name,
                scopes,
            })
        })
        .collect()
}

/// The organizations' own roles among those that these rows name.
async fn roles_of(
    connection: &impl ConnectionTrait,
    rows: &[membership::Model],
) -> Result<HashMap<RoleId, OwnRole>, DbErr> {
    let own = rows.iter().filter_map(|row| row.role.parse().ok()).collect();
    let rows = find_own_roles(connection, own).await?;
    rows.into_iter().map(|row| Ok((row.id, own_role(row)?))).collect()
}

async fn find_own_roles(
    connection: &impl ConnectionTrait,
    own: Vec<RoleId>,
) -> Result<Vec<role::Model>, DbErr> {
    if own.is_empty() {
        return Ok(Vec::new());
    }
    role::Entity::find().filter(role::Column::Id.is_in(padded(own))).all(connection).await
}

fn role_of(
    row: &membership::Model,
    roles: &HashMap<RoleId, OwnRole>,
) -> Result<(RoleRef, String, ScopeSet), DbErr> {
    named_role(row.organization_id, row.user_id, &row.role, roles)
}

fn named_role(
    organization: OrganizationId,
    user: UserId,
    role: &str,
    roles: &HashMap<RoleId, OwnRole>,
) -> Result<(RoleRef, String, ScopeSet), DbErr> {
    let damaged = || DbErr::Type(format!("memberships of {user}: role is damaged"));
    let reference: RoleRef = role.parse().map_err(|_| damaged())?;
    Ok(match reference {
        RoleRef::BuiltIn(role) => (reference, role.to_string(), role.scopes().clone()),
        RoleRef::Own(id) => {
            let role = roles
                .get(&id)
                .filter(|role| role.organization == organization)
                .ok_or_else(damaged)?;
            (reference, role.name.clone(), role.scopes.clone())
        }
    })
}

/// Which members to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListMembers<'a> {
    pub role: Option<RoleRef>,
    /// How their e-mail address begins.
    pub email: Option<&'a str>,
    pub before: Option<UserId>,
    pub limit: u64,
}

/// The organization's members, the newest accounts first.
///
/// # Errors
/// When the database fails.
pub async fn list_members(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    which: ListMembers<'_>,
) -> Result<Vec<Member>, DbErr> {
    let mut query = membership::Entity::find()
        .filter(membership::Column::OrganizationId.eq(organization))
        .order_by_desc(membership::Column::UserId)
        .limit(which.limit);
    if let Some(role) = which.role {
        query = query.filter(membership::Column::Role.eq(role.to_string()));
    }
    if let Some(email) = which.email {
        query = query.filter(begins_with(membership::Column::SearchEmail, &search_text(email)));
    }
    if let Some(before) = which.before {
        query = query.filter(membership::Column::UserId.lt(before));
    }
    let rows = query.all(connection).await?;
    members(connection, rows).await
}

/// # Errors
/// When the database fails.
pub async fn find_member(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<Member>, DbErr> {
    let row = membership::Entity::find_by_id((organization, user)).one(connection).await?;
    Ok(members(connection, row.into_iter().collect()).await?.pop())
}

async fn members(
    connection: &impl ConnectionTrait,
    rows: Vec<membership::Model>,
) -> Result<Vec<Member>, DbErr> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.user_id);
    let mut users: HashMap<UserId, user::Model> = user::Entity::find()
        .filter(user::Column::Id.is_in(ids))
        .all(connection)
        .await?
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
    let roles = roles_of(connection, &rows).await?;
    rows.into_iter()
        .map(|row| {
            let (role, role_name, _) = role_of(&row, &roles)?;
            let user = users
                .remove(&row.user_id)
                .ok_or_else(|| DbErr::Type(format!("memberships {} is damaged", row.user_id)))?;
            Ok(Member {
                user: user.id,
                email: user.email,
                name: user.name,
                role,
                role_name,
                joined_at: row.created_at,
                suspended_at: user.suspended_at,
                version: row.version,
            })
        })
        .collect()
}

/// Which of these people belong to the organization.
///
/// # Errors
/// When the database fails.
pub async fn members_among(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    users: Vec<UserId>,
) -> Result<BTreeSet<UserId>, DbErr> {
    if users.is_empty() {
        return Ok(BTreeSet::new());
    }
    let query = membership::Entity::find()
        .select_only()
        .column(membership::Column::UserId)
        .filter(membership::Column::OrganizationId.eq(organization))
        .filter(membership::Column::UserId.is_in(padded(users)));
    let users: Vec<UserId> = query.into_tuple().all(connection).await?;
    Ok(users.into_iter().collect())
}

/// How many members have each role, as the rows spell it. A role that nobody has is not among them.
///
/// # Errors
/// When the database fails.
pub async fn count_members_by_role(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
) -> Result<HashMap<String, i64>, DbErr> {
    let query = membership::Entity::find()
        .select_only()
        .column(membership::Column::Role)
        .column_as(membership::Column::UserId.count(), "members")
        .filter(membership::Column::OrganizationId.eq(organization))
        .group_by(membership::Column::Role);
    let counts: Vec<(String, i64)> = query.into_tuple().all(connection).await?;
    Ok(counts.into_iter().collect())
}

/// The member of that role who has been there longest.
///
/// # Errors
/// When the database fails.
pub async fn first_member(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    role: Role,
) -> Result<Option<UserId>, DbErr> {
    let row = membership::Entity::find()
        .filter(membership::Column::OrganizationId.eq(organization))
        .filter(membership::Column::Role.eq(role.as_str()))
        .order_by_asc(membership::Column::CreatedAt)
        .order_by_asc(membership::Column::UserId)
        .limit(1)
        .one(connection)
        .await?;
    Ok(row.map(|row| row.user_id))
}

use entity::{OrganizationId, Timestamp, UserId, membership, organization};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::{Membership, Role};

/// # Errors
/// When the database fails.
pub async fn insert_organization(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    name: &str,
) -> Result<OrganizationId, DbErr> {
    let id = OrganizationId::new(now);
    let row =
        organization::ActiveModel { id: Set(id), name: Set(name.to_owned()), created_at: Set(now) };
    row.insert(connection).await?;
    Ok(id)
}

/// # Errors
/// When the database fails.
pub async fn insert_membership(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    organization: OrganizationId,
    user: UserId,
    role: Role,
) -> Result<(), DbErr> {
    let row = membership::ActiveModel {
        organization_id: Set(organization),
        user_id: Set(user),
        role: Set(role.to_string()),
        created_at: Set(now),
    };
    row.insert(connection).await?;
    Ok(())
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
    let memberships = list_memberships(connection, user).await?;
    Ok(memberships.into_iter().find(|membership| membership.organization == organization))
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
    let ids: Vec<OrganizationId> = rows.iter().map(|row| row.organization_id).collect();
    let organizations = organization::Entity::find()
        .filter(organization::Column::Id.is_in(ids))
        .all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            let organization =
                organizations.iter().find(|candidate| candidate.id == row.organization_id);
            let damaged = || {
                DbErr::Type(format!(
                    "memberships {} {} is damaged",
                    row.organization_id, row.user_id
                ))
            };
            Ok(Membership {
                organization: row.organization_id,
                organization_name: organization
                    .map(|found| found.name.clone())
                    .ok_or_else(damaged)?,
                role: row.role.parse().map_err(|_| damaged())?,
            })
        })
        .collect()
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

/// The oldest organization, or the oldest of that name.
///
/// # Errors
/// When the database fails.
pub async fn find_organization_by_name(
    connection: &impl ConnectionTrait,
    name: Option<&str>,
) -> Result<Option<(OrganizationId, String)>, DbErr> {
    let mut query = organization::Entity::find().order_by_asc(organization::Column::Id).limit(1);
    if let Some(name) = name {
        query = query.filter(organization::Column::Name.eq(name));
    }
    Ok(query.one(connection).await?.map(|row| (row.id, row.name)))
}

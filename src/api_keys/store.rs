use entity::{
    ApiKeyId, OrganizationId, SecretId, Timestamp, api_key, api_key_secret, membership, user,
};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction,
    DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::ApiKey;
use crate::tenancy::Role;

fn key(row: api_key::Model, secret: api_key_secret::Model) -> Result<ApiKey, DbErr> {
    Ok(ApiKey {
        scopes: row
            .scopes
            .parse()
            .map_err(|_| DbErr::Type(format!("api_keys {}: scopes is damaged", row.id)))?,
        id: row.id,
        organization: row.organization_id,
        name: row.name,
        environment: row.environment,
        created_by: row.created_by,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        start: secret.start,
        end: secret.end,
    })
}

/// A key as a caller presented it, and what its creator may do now.
pub(super) struct Found {
    pub key: ApiKey,
    /// None when the creator is suspended or no member any more.
    pub creator_role: Option<Role>,
}

pub(super) async fn find_by_digest(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
    now: Timestamp,
) -> Result<Option<Found>, DbErr> {
    let secret = api_key_secret::Entity::find()
        .filter(api_key_secret::Column::Digest.eq(digest.to_vec()))
        .filter(
            Condition::any()
                .add(api_key_secret::Column::ExpiresAt.is_null())
                .add(api_key_secret::Column::ExpiresAt.gt(now)),
        )
        .one(connection)
        .await?;
    let Some(secret) = secret else { return Ok(None) };
    let Some(row) = api_key::Entity::find_by_id(secret.api_key_id).one(connection).await? else {
        return Ok(None);
    };
    let membership = membership::Entity::find_by_id((row.organization_id, row.created_by))
        .one(connection)
        .await?;
    let creator = user::Entity::find_by_id(row.created_by).one(connection).await?;
    let is_suspended = creator.is_none_or(|creator| creator.suspended_at.is_some());
    let creator_role = membership
        .filter(|_| !is_suspended)
        .map(|membership| {
            let damaged =
                |_| DbErr::Type(format!("memberships of {}: role is damaged", membership.user_id));
            membership.role.parse().map_err(damaged)
        })
        .transpose()?;
    Ok(Some(Found { key: key(row, secret)?, creator_role }))
}

/// The key of this organization, or of any.
///
/// # Errors
/// When the database fails.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: Option<OrganizationId>,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, DbErr> {
    let row = api_key::Entity::find_by_id(id).one(connection).await?;
    let Some(row) = row
        .filter(|row| organization.is_none_or(|organization| organization == row.organization_id))
    else {
        return Ok(None);
    };
    Ok(with_secrets(connection, vec![row]).await?.pop())
}

/// The organization's keys (or all), newest first; `before` goes on after an earlier page.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: Option<OrganizationId>,
    before: Option<ApiKeyId>,
    limit: u64,
) -> Result<Vec<ApiKey>, DbErr> {
    let mut query = api_key::Entity::find().order_by_desc(api_key::Column::Id).limit(limit);
    if let Some(organization) = organization {
        query = query.filter(api_key::Column::OrganizationId.eq(organization));
    }
    if let Some(before) = before {
        query = query.filter(api_key::Column::Id.lt(before));
    }
    let rows = query.all(connection).await?;
    with_secrets(connection, rows).await
}

/// Joins each key with its newest secret.
async fn with_secrets(
    connection: &impl ConnectionTrait,
    rows: Vec<api_key::Model>,
) -> Result<Vec<ApiKey>, DbErr> {
    let ids: Vec<ApiKeyId> = rows.iter().map(|row| row.id).collect();
    let secrets = api_key_secret::Entity::find()
        .filter(api_key_secret::Column::ApiKeyId.is_in(ids))
        .order_by_desc(api_key_secret::Column::Id)
        .all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            let secret = secrets.iter().find(|secret| secret.api_key_id == row.id).cloned();
            let secret =
                secret.ok_or_else(|| DbErr::Type(format!("api_keys {} has no secret", row.id)))?;
            key(row, secret)
        })
        .collect()
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    new: &ApiKey,
    secret: SecretId,
    digest: [u8; 32],
) -> Result<(), DbErr> {
    let row = api_key::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        name: Set(new.name.clone()),
        scopes: Set(new.scopes.to_string()),
        environment: Set(new.environment.clone()),
        created_by: Set(new.created_by),
        created_at: Set(new.created_at),
        expires_at: Set(new.expires_at),
        revoked_at: Set(new.revoked_at),
    };
    row.insert(tx).await?;
    let row = api_key_secret::ActiveModel {
        id: Set(secret),
        api_key_id: Set(new.id),
        digest: Set(digest.to_vec()),
        start: Set(new.start.clone()),
        end: Set(new.end.clone()),
        created_at: Set(new.created_at),
        expires_at: Set(None),
    };
    row.insert(tx).await?;
    Ok(())
}

/// The organization of the key that this call revoked; none where there was nothing to revoke.
pub(super) async fn mark_revoked(
    tx: &DatabaseTransaction,
    organization: Option<OrganizationId>,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Option<OrganizationId>, DbErr> {
    let mut update = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(now))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::RevokedAt.is_null());
    if let Some(organization) = organization {
        update = update.filter(api_key::Column::OrganizationId.eq(organization));
    }
    let rows = update.exec_with_returning(tx).await?;
    Ok(rows.first().map(|row| row.organization_id))
}

use entity::{
    ApiKeyId, OrganizationId, ProjectId, SecretId, Timestamp, UserId, api_key, api_key_secret, user,
};
use portcullis_verifier::ScopeSet;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction,
    DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::{AllowedNetworks, ApiKey, Status, Use};
use crate::platform::db::{begins_with, search_text};
use crate::tenancy::{self, Role};

/// What people recognise a secret by: its first 12 and last 4 characters.
pub(super) struct Hint {
    pub start: String,
    pub end: String,
}

impl Hint {
    pub fn of(secret: &str) -> Self {
        Self {
            start: secret.chars().take(12).collect(),
            end: secret.chars().skip(secret.len().saturating_sub(4)).collect(),
        }
    }
}

fn key(row: api_key::Model, secret: api_key_secret::Model) -> Result<ApiKey, DbErr> {
    let id = row.id;
    let damaged = |column: &str| DbErr::Type(format!("api_keys {id}: {column} is damaged"));
    Ok(ApiKey {
        scopes: row.scopes.parse().map_err(|_| damaged("scopes"))?,
        id: row.id,
        organization: row.organization_id,
        project: row.project_id,
        labels: serde_json::from_str(&row.labels).map_err(|_| damaged("labels"))?,
        allowed_networks: match &row.allowed_ips {
            None => AllowedNetworks::Anywhere,
            Some(texts) => AllowedNetworks::Only(
                texts
                    .split(' ')
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .map_err(|_| damaged("allowed_ips"))?,
            ),
        },
        name: row.name,
        description: row.description,
        environment: row.environment,
        created_by: row.created_by,
        owner: row.owner_id,
        version: row.version,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        start: secret.start,
        end: secret.end,
        rotating_until: None,
        revoked_reason: row.revoked_reason,
        brand: row.brand,
        requests_per_minute: row
            .requests_per_minute
            .map(u32::try_from)
            .transpose()
            .map_err(|_| damaged("requests_per_minute"))?,
        is_decoy: row.is_decoy,
        last_use: row.last_used_at.map(|at| Use { at, from: row.last_used_from }),
        older_secret_use: None,
    })
}

/// A key as a caller presented it, and what its owner may do now.
pub(super) struct Found {
    pub key: ApiKey,
    /// When the secret that was presented ends, if it was rotated out.
    pub secret_ends: Option<Timestamp>,
    /// None when the owner is suspended or no member any more.
    pub reach: Option<ScopeSet>,
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
    let reach = match row.owner_id {
        Some(owner) => reach_of(connection, row.organization_id, owner).await?,
        // One that was closed may do nothing, whatever was made beside the closing.
        None if tenancy::is_closed(connection, row.organization_id).await? => None,
        // The organization itself may do everything.
        None => Some(Role::Owner.scopes().clone()),
    };
    let secret_ends = secret.expires_at;
    Ok(Some(Found { key: key(row, secret)?, secret_ends, reach }))
}

/// What somebody may do in the organization now: none when they are suspended or no member.
async fn reach_of(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<ScopeSet>, DbErr> {
    let owner = user::Entity::find_by_id(user).one(connection).await?;
    if owner.is_none_or(|owner| owner.suspended_at.is_some()) {
        return Ok(None);
    }
    tenancy::find_reach(connection, organization, user).await
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

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct ListApiKeys<'a> {
    pub organization: Option<OrganizationId>,
    pub project: Option<ProjectId>,
    /// A user, or none for those that belong to the organization itself.
    pub owner: Option<Option<UserId>>,
    pub status: Option<Status>,
    /// How the name begins.
    pub name: Option<&'a str>,
    /// Whether whoever lists may know of decoys.
    pub include_decoys: bool,
    /// Goes on after an earlier page.
    pub before: Option<ApiKeyId>,
    pub limit: u64,
}

/// Keys, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    which: ListApiKeys<'_>,
) -> Result<Vec<ApiKey>, DbErr> {
    let mut query = api_key::Entity::find().order_by_desc(api_key::Column::Id).limit(which.limit);
    if let Some(organization) = which.organization {
        query = query.filter(api_key::Column::OrganizationId.eq(organization));
    }
    if let Some(project) = which.project {
        query = query.filter(api_key::Column::ProjectId.eq(project));
    }
    if let Some(owner) = which.owner {
        query = query.filter(match owner {
            Some(owner) => api_key::Column::OwnerId.eq(owner),
            None => api_key::Column::OwnerId.is_null(),
        });
    }
    if let Some(name) = which.name {
        query = query.filter(begins_with(api_key::Column::SearchName, &search_text(name)));
    }
    if !which.include_decoys {
        query = query.filter(api_key::Column::IsDecoy.eq(false));
    }
    let has_expired = api_key::Column::ExpiresAt.lte(now);
    query = match which.status {
        None => query,
        Some(Status::Revoked) => query.filter(api_key::Column::RevokedAt.is_not_null()),
        Some(Status::Expired) => {
            query.filter(api_key::Column::RevokedAt.is_null()).filter(has_expired)
        }
        Some(Status::Active) => query.filter(api_key::Column::RevokedAt.is_null()).filter(
            Condition::any().add(api_key::Column::ExpiresAt.is_null()).add(has_expired.not()),
        ),
    };
    if let Some(before) = which.before {
        query = query.filter(api_key::Column::Id.lt(before));
    }
    let rows = query.all(connection).await?;
    with_secrets(connection, rows).await
}

/// Joins each key with its current secret.
pub(super) async fn with_secrets(
    connection: &impl ConnectionTrait,
    rows: Vec<api_key::Model>,
) -> Result<Vec<ApiKey>, DbErr> {
    let ids: Vec<ApiKeyId> = rows.iter().map(|row| row.id).collect();
    let secrets = api_key_secret::Entity::find()
        .filter(api_key_secret::Column::ApiKeyId.is_in(ids))
        .all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            let own = || secrets.iter().filter(|secret| secret.api_key_id == row.id);
            let damaged = || DbErr::Type(format!("api_keys {} has no current secret", row.id));
            let current = own().find(|secret| secret.expires_at.is_none()).cloned();
            let current = current.ok_or_else(damaged)?;
            let older = own().filter(|secret| secret.expires_at.is_some());
            let older = older.max_by_key(|secret| secret.expires_at);
            let rotating_until = older.and_then(|older| older.expires_at);
            let older_secret_use = older.and_then(|older| {
                older.last_used_at.map(|at| Use { at, from: older.last_used_from.clone() })
            });
            Ok(ApiKey { rotating_until, older_secret_use, ..key(row, current)? })
        })
        .collect()
}

pub(super) async fn insert(tx: &DatabaseTransaction, new: &ApiKey) -> Result<(), DbErr> {
    let row = api_key::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        project_id: Set(new.project),
        name: Set(new.name.clone()),
        search_name: Set(search_text(&new.name)),
        description: Set(new.description.clone()),
        labels: Set(serde_json::json!(new.labels).to_string()),
        allowed_ips: Set(match &new.allowed_networks {
            AllowedNetworks::Anywhere => None,
            AllowedNetworks::Only(_) => Some(new.allowed_networks.texts().join(" ")),
        }),
        scopes: Set(new.scopes.to_string()),
        environment: Set(new.environment.clone()),
        created_by: Set(new.created_by),
        owner_id: Set(new.owner),
        version: Set(new.version),
        created_at: Set(new.created_at),
        expires_at: Set(new.expires_at),
        revoked_at: Set(new.revoked_at),
        revoked_reason: Set(new.revoked_reason.clone()),
        brand: Set(new.brand.clone()),
        requests_per_minute: Set(new.requests_per_minute.map(i64::from)),
        is_decoy: Set(new.is_decoy),
        ..Default::default()
    };
    row.insert(tx).await?;
    Ok(())
}

pub(super) async fn insert_secret(
    tx: &DatabaseTransaction,
    key: ApiKeyId,
    id: SecretId,
    digest: [u8; 32],
    hint: &Hint,
    now: Timestamp,
) -> Result<(), DbErr> {
    let row = api_key_secret::ActiveModel {
        id: Set(id),
        api_key_id: Set(key),
        digest: Set(digest.to_vec()),
        start: Set(hint.start.clone()),
        end: Set(hint.end.clone()),
        created_at: Set(now),
        expires_at: Set(None),
        ..Default::default()
    };
    row.insert(tx).await?;
    Ok(())
}

/// Makes a new version of a key that lives, and holds its row until the end of the transaction.
pub(super) async fn touch(tx: &DatabaseTransaction, id: ApiKeyId) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::Version, Expr::col(api_key::Column::Version).add(1))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Ends what is left of older secrets' grace, and gives the current one its own.
pub(super) async fn retire_secrets(
    tx: &DatabaseTransaction,
    key: ApiKeyId,
    now: Timestamp,
    end: Timestamp,
) -> Result<(), DbErr> {
    api_key_secret::Entity::update_many()
        .col_expr(api_key_secret::Column::ExpiresAt, Expr::value(now))
        .filter(api_key_secret::Column::ApiKeyId.eq(key))
        .filter(api_key_secret::Column::ExpiresAt.gt(now))
        .exec(tx)
        .await?;
    api_key_secret::Entity::update_many()
        .col_expr(api_key_secret::Column::ExpiresAt, Expr::value(end))
        .filter(api_key_secret::Column::ApiKeyId.eq(key))
        .filter(api_key_secret::Column::ExpiresAt.is_null())
        .exec(tx)
        .await?;
    Ok(())
}

/// Whether this call gave the key, if it lives, another owner.
pub(super) async fn update_owner(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ApiKeyId,
    owner: Option<UserId>,
) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::OwnerId, Expr::value(owner))
        .col_expr(api_key::Column::Version, Expr::col(api_key::Column::Version).add(1))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::OrganizationId.eq(organization))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Revokes every living key that is confined to the project; says how many. The log and the audit trail are for the
/// caller to write.
///
/// # Errors
/// When the database fails.
pub async fn revoke_of_project(
    tx: &DatabaseTransaction,
    now: Timestamp,
    project: ProjectId,
) -> Result<u64, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(now))
        .filter(api_key::Column::ProjectId.eq(project))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected)
}

/// Revokes every living key of the organization; says how many. The log and the audit trail are for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn revoke_of_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: OrganizationId,
) -> Result<u64, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(now))
        .filter(api_key::Column::OrganizationId.eq(organization))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected)
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

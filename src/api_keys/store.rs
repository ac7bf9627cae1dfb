use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use entity::{
    ApiKeyId, OrganizationId, ProjectId, SecretId, Timestamp, UserId, api_key, api_key_network,
    api_key_scope_use, api_key_secret, membership, organization, user,
};
use portcullis_verifier::network::Network;
use portcullis_verifier::{Scope, ScopeSet};
use sea_orm::sea_query::{
    Expr, ExprTrait as _, Func, IntoIden as _, LockType, OnConflict, TableRef, ValueTuple,
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait, JoinType, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QueryResult,
    QuerySelect as _, QueryTrait, Select, Set, TryGetable, TryInsertResult, UpdateMany, Value,
};

use super::uses::KeyUse;
use super::{AllowedNetworks, ApiKey, Status, Use};
use crate::platform::db::{begins_with, padded, search_text};
use crate::tenancy::{self, MemberRole, Role};

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

fn key(row: api_key::Model, hint: Hint) -> Result<ApiKey, DbErr> {
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
        start: hint.start,
        end: hint.end,
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
    pub secret: SecretId,
    /// When the secret that was presented ends, if it was rotated out.
    pub secret_ends: Option<Timestamp>,
    /// None when the owner is suspended or no member any more.
    pub reach: Option<ScopeSet>,
    /// How often all keys of the organization together may be used in a minute.
    pub organization_per_minute: Option<u32>,
}

/// What there is to know of the keys with these secrets, by digest: one statement for all of them, and one more where a
/// role is one that an organization has made for itself. A damaged row is the error of its own key alone.
pub(super) async fn find_presented(
    connection: &impl ConnectionTrait,
    digests: Vec<[u8; 32]>,
) -> Result<HashMap<[u8; 32], Result<Found, DbErr>>, DbErr> {
    let digests = padded(digests).into_iter().map(|digest| digest.to_vec());
    let query = presented().filter(api_key_secret::Column::Digest.is_in(digests));
    let statement = connection.get_database_backend().build(query.as_query());
    let mut rows = Vec::new();
    for row in connection.query_all_raw(statement).await? {
        let digest: Vec<u8> = row.try_get_by_index(0)?;
        let damaged = |_| DbErr::Type("api_key_secrets: a digest is damaged".to_owned());
        rows.push((<[u8; 32]>::try_from(digest).map_err(damaged)?, presented_row(&row)));
    }
    let members = rows.iter().filter_map(|(_, row)| row.as_ref().ok()?.member.as_ref());
    let roles = tenancy::own_roles_of(connection, members).await?;
    let found = |row: PresentedRow| {
        let reach = match (&row.member, row.key.owner) {
            // One that was closed may do nothing, whatever was made beside the closing.
            _ if row.is_closed => None,
            // The organization itself may do everything.
            (_, None) => Some(Role::Owner.scopes().clone()),
            (Some(member), Some(_)) => Some(roles.scopes_of(member)?),
            (None, Some(_)) => None,
        };
        let PresentedRow { secret, secret_ends, key, organization_per_minute, .. } = row;
        Ok(Found { key, secret, secret_ends, reach, organization_per_minute })
    };
    Ok(rows.into_iter().map(|(digest, row)| (digest, row.and_then(found))).collect())
}

/// A key beside what bounds it.
struct PresentedRow {
    secret: SecretId,
    secret_ends: Option<Timestamp>,
    key: ApiKey,
    is_closed: bool,
    organization_per_minute: Option<u32>,
    /// The owner's membership, where there is one and the owner is not suspended.
    member: Option<MemberRole>,
}

/// The secret first, then the key, then what bounds it; `presented_row` reads them in this order.
fn presented() -> Select<api_key_secret::Entity> {
    use api_key::Column as Key;
    use api_key_secret::Column as Secret;
    let owner = api_key::Entity::belongs_to(user::Entity).from(Key::OwnerId).to(user::Column::Id);
    let role = api_key::Entity::belongs_to(membership::Entity)
        .from((Key::OrganizationId, Key::OwnerId))
        .to((membership::Column::OrganizationId, membership::Column::UserId));
    let organization = api_key::Entity::belongs_to(organization::Entity)
        .from(Key::OrganizationId)
        .to(organization::Column::Id);
    let key_of_secret =
        api_key_secret::Entity::belongs_to(api_key::Entity).from(Secret::ApiKeyId).to(Key::Id);
    api_key_secret::Entity::find()
        .select_only()
        .columns([Secret::Digest, Secret::Id, Secret::ExpiresAt, Secret::Start, Secret::End])
        .columns(KEY_COLUMNS)
        .columns([organization::Column::ClosedAt, organization::Column::RequestsPerMinute])
        .column(user::Column::SuspendedAt)
        .column(membership::Column::Role)
        .join(JoinType::InnerJoin, key_of_secret.into())
        .join(JoinType::InnerJoin, organization.into())
        .join(JoinType::LeftJoin, owner.into())
        .join(JoinType::LeftJoin, role.into())
}

/// All of a key but what is there for searches and reminders.
const KEY_COLUMNS: [api_key::Column; 21] = {
    use api_key::Column as Key;
    [
        Key::Id,
        Key::OrganizationId,
        Key::ProjectId,
        Key::Name,
        Key::Description,
        Key::Labels,
        Key::Scopes,
        Key::AllowedIps,
        Key::Environment,
        Key::CreatedBy,
        Key::OwnerId,
        Key::Version,
        Key::CreatedAt,
        Key::ExpiresAt,
        Key::RevokedAt,
        Key::RevokedReason,
        Key::Brand,
        Key::RequestsPerMinute,
        Key::IsDecoy,
        Key::LastUsedAt,
        Key::LastUsedFrom,
    ]
};

fn presented_row(row: &QueryResult) -> Result<PresentedRow, DbErr> {
    // By their places: to look each up by its name takes longer than to read it. The digest is at 0.
    let mut columns = Columns { row, next: 1 };
    let (secret, secret_ends) = (columns.next()?, columns.next()?);
    let hint = Hint { start: columns.next()?, end: columns.next()? };
    let key = key(
        api_key::Model {
            id: columns.next()?,
            organization_id: columns.next()?,
            project_id: columns.next()?,
            name: columns.next()?,
            search_name: String::new(),
            description: columns.next()?,
            labels: columns.next()?,
            scopes: columns.next()?,
            allowed_ips: columns.next()?,
            environment: columns.next()?,
            created_by: columns.next()?,
            owner_id: columns.next()?,
            version: columns.next()?,
            created_at: columns.next()?,
            expires_at: columns.next()?,
            revoked_at: columns.next()?,
            revoked_reason: columns.next()?,
            brand: columns.next()?,
            requests_per_minute: columns.next()?,
            is_decoy: columns.next()?,
            last_used_at: columns.next()?,
            last_used_from: columns.next()?,
            told_days_left: None,
            told_unused_at: None,
        },
        hint,
    )?;
    let closed_at: Option<Timestamp> = columns.next()?;
    let organization_per_minute: Option<i64> = columns.next()?;
    let suspended_at: Option<Timestamp> = columns.next()?;
    let role: Option<String> = columns.next()?;
    let (organization, owner) = (key.organization, key.owner.filter(|_| suspended_at.is_none()));
    Ok(PresentedRow {
        secret,
        secret_ends,
        is_closed: closed_at.is_some(),
        organization_per_minute: organization_per_minute.and_then(|it| u32::try_from(it).ok()),
        member: owner.zip(role).map(|(user, role)| MemberRole { organization, user, role }),
        key,
    })
}

/// The columns of a row, one after the other.
struct Columns<'a> {
    row: &'a QueryResult,
    next: usize,
}

impl Columns<'_> {
    fn next<T: TryGetable>(&mut self) -> Result<T, DbErr> {
        let at = self.next;
        self.next += 1;
        self.row.try_get_by_index(at)
    }
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
    query = query.filter(is_now(which.status, now));
    if let Some(before) = which.before {
        query = query.filter(api_key::Column::Id.lt(before));
    }
    let rows = query.all(connection).await?;
    with_secrets(connection, rows).await
}

/// What those of these keys are called that are the organization's.
///
/// # Errors
/// When the database fails.
pub async fn names_of(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    ids: Vec<ApiKeyId>,
) -> Result<HashMap<ApiKeyId, String>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let query = api_key::Entity::find()
        .select_only()
        .columns([api_key::Column::Id, api_key::Column::Name])
        .filter(api_key::Column::OrganizationId.eq(organization))
        .filter(api_key::Column::Id.is_in(padded(ids)));
    let names: Vec<(ApiKeyId, String)> = query.into_tuple().all(connection).await?;
    Ok(names.into_iter().collect())
}

/// That a key is this at the moment; none: whatever it is.
pub(super) fn is_now(status: Option<Status>, now: Timestamp) -> Condition {
    use api_key::Column::{ExpiresAt, RevokedAt};
    let (all, has_expired) = (Condition::all(), ExpiresAt.lte(now));
    match status {
        None => all,
        Some(Status::Revoked) => all.add(RevokedAt.is_not_null()),
        Some(Status::Expired) => all.add(RevokedAt.is_null()).add(has_expired),
        Some(Status::Active) => all
            .add(RevokedAt.is_null())
            .add(Condition::any().add(ExpiresAt.is_null()).add(has_expired.not())),
    }
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
            let hint = Hint { start: current.start, end: current.end };
            Ok(ApiKey { rotating_until, older_secret_use, ..key(row, hint)? })
        })
        .collect()
}

fn row(new: &ApiKey) -> api_key::ActiveModel {
    api_key::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        project_id: Set(new.project),
        name: Set(new.name.clone()),
        search_name: Set(search_text(&new.name)),
        description: Set(new.description.clone()),
        labels: Set(serde_json::json!(new.labels).to_string()),
        allowed_ips: Set(allowed_ips(&new.allowed_networks)),
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
    }
}

fn allowed_ips(networks: &AllowedNetworks) -> Option<String> {
    match networks {
        AllowedNetworks::Anywhere => None,
        AllowedNetworks::Only(_) => Some(networks.texts().join(" ")),
    }
}

pub(super) async fn insert(tx: &DatabaseTransaction, new: &ApiKey) -> Result<(), DbErr> {
    row(new).insert(tx).await?;
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

/// Ends what is left of older secrets' grace, and gives the current one its own; says which of them end at once.
pub(super) async fn retire_secrets(
    tx: &DatabaseTransaction,
    key: ApiKeyId,
    now: Timestamp,
    end: Timestamp,
) -> Result<Vec<SecretId>, DbErr> {
    let cut_short = api_key_secret::Entity::update_many()
        .col_expr(api_key_secret::Column::ExpiresAt, Expr::value(now))
        .filter(api_key_secret::Column::ApiKeyId.eq(key))
        .filter(api_key_secret::Column::ExpiresAt.gt(now))
        .exec_with_returning(tx)
        .await?;
    let retired = api_key_secret::Entity::update_many()
        .col_expr(api_key_secret::Column::ExpiresAt, Expr::value(end))
        .filter(api_key_secret::Column::ApiKeyId.eq(key))
        .filter(api_key_secret::Column::ExpiresAt.is_null())
        .exec_with_returning(tx)
        .await?;
    let retired = retired.into_iter().filter(|_| end <= now);
    Ok(cut_short.into_iter().chain(retired).map(|secret| secret.id).collect())
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
    reason: Option<&str>,
) -> Result<Option<OrganizationId>, DbErr> {
    let mut update = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(now))
        .col_expr(api_key::Column::RevokedReason, Expr::value(reason.map(str::to_owned)))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::RevokedAt.is_null());
    if let Some(organization) = organization {
        update = update.filter(api_key::Column::OrganizationId.eq(organization));
    }
    let rows = update.exec_with_returning(tx).await?;
    Ok(rows.first().map(|row| row.organization_id))
}

/// Networks of a key that are remembered; one more is no news.
const MOST_NETWORKS: i64 = 500;
/// Different scopes of a key whose use is remembered.
const MOST_SCOPES: usize = 200;

/// Writes down how keys were used, and says from which networks each was for the first time, if not at all. The keys
/// come in the order of their ids; the statements are as many for one as for all.
pub(super) async fn record_uses<'a>(
    tx: &DatabaseTransaction,
    uses: &'a [(ApiKeyId, KeyUse)],
) -> Result<Vec<(&'a (ApiKeyId, KeyUse), String)>, DbErr> {
    hold(tx, uses).await?;
    let key_rows = uses.iter().map(|(id, key_use)| UsedRow {
        id: (*id).into(),
        at: key_use.at,
        from: key_use.from,
    });
    let of_keys = || {
        api_key::Entity::update_many()
            .col_expr(api_key::Column::ToldUnusedAt, Expr::value(None::<i64>))
    };
    let columns = (api_key::Column::Id, api_key::Column::LastUsedAt, api_key::Column::LastUsedFrom);
    update_last_use(tx, of_keys, columns, key_rows.collect()).await?;
    let secret_rows = uses.iter().flat_map(|(_, key_use)| &key_use.secrets);
    let secret_rows =
        secret_rows.map(|(id, (at, from))| UsedRow { id: (*id).into(), at: *at, from: *from });
    let of_secrets = api_key_secret::Entity::update_many;
    let columns = (
        api_key_secret::Column::Id,
        api_key_secret::Column::LastUsedAt,
        api_key_secret::Column::LastUsedFrom,
    );
    update_last_use(tx, of_secrets, columns, secret_rows.collect()).await?;
    record_scopes(tx, uses).await?;
    record_networks(tx, uses).await
}

/// Locks the keys in the order of their ids, so that of two processes neither waits for the other in a circle, and each
/// sees what the other has written.
async fn hold(tx: &DatabaseTransaction, uses: &[(ApiKeyId, KeyUse)]) -> Result<(), DbErr> {
    let ids = uses.iter().map(|(id, _)| *id).collect();
    let _: Vec<ApiKeyId> = api_key::Entity::find()
        .select_only()
        .column(api_key::Column::Id)
        .filter(api_key::Column::Id.is_in(padded(ids)))
        .order_by_asc(api_key::Column::Id)
        .lock(LockType::NoKeyUpdate)
        .into_tuple()
        .all(tx)
        .await?;
    Ok(())
}

/// When and from where one of many was used last.
struct UsedRow {
    id: Value,
    at: Timestamp,
    from: Option<IpAddr>,
}

/// Each its own values, which the update joins as a table named `used`. Both databases call the columns of such a table
/// `column1` and so on. What is there already is left where it is later; an address where none is known now.
async fn update_last_use<E: EntityTrait, C: ColumnTrait>(
    tx: &DatabaseTransaction,
    update: impl Fn() -> UpdateMany<E>,
    (id, at, from): (C, C, C),
    rows: Vec<UsedRow>,
) -> Result<(), DbErr> {
    let used = |column: &'static str| Expr::col(("used", column));
    for some in rows.chunks(ROWS_PER_STATEMENT) {
        let values = some.iter().map(|row| {
            let from = row.from.map(|from| from.to_string());
            ValueTuple::Three(row.id.clone(), row.at.into(), from.into())
        });
        let last_from = Func::coalesce([used("column3"), from.into_expr()]);
        let is_older = at.into_expr().is_null().or(at.into_expr().lte(used("column2")));
        let mut update = update()
            .col_expr(at, used("column2"))
            .col_expr(from, last_from.into())
            .filter(id.into_expr().eq(used("column1")))
            .filter(is_older);
        let values = TableRef::ValuesList(values.collect(), "used".into_iden());
        QueryTrait::query(&mut update).from(values);
        update.exec(tx).await?;
    }
    Ok(())
}

async fn record_scopes(tx: &DatabaseTransaction, uses: &[(ApiKeyId, KeyUse)]) -> Result<(), DbErr> {
    use api_key_scope_use::{ActiveModel, Column, Entity};
    let used: Vec<_> = uses.iter().filter(|(_, key_use)| !key_use.scopes.is_empty()).collect();
    if used.is_empty() {
        return Ok(());
    }
    let ids = used.iter().map(|(id, _)| *id).collect();
    let counts: Vec<(ApiKeyId, i64)> = Entity::find()
        .select_only()
        .column(Column::ApiKeyId)
        .column_as(Column::Scope.count(), "scopes")
        .filter(Column::ApiKeyId.is_in(padded(ids)))
        .group_by(Column::ApiKeyId)
        .into_tuple()
        .all(tx)
        .await?;
    let counts: HashMap<ApiKeyId, i64> = counts.into_iter().collect();
    let (mut rows, mut crowded) = (Vec::new(), Vec::new());
    for (id, key_use) in used {
        let known = counts.get(id).map_or(0, |count| usize::try_from(*count).unwrap_or(usize::MAX));
        let has_room = known.saturating_add(key_use.scopes.len()) <= MOST_SCOPES;
        let scopes = key_use.scopes.iter().map(|scope| (*id, scope, key_use.at));
        if has_room { rows.extend(scopes) } else { crowded.extend(scopes) }
    }
    let row = |(id, scope, at): &(ApiKeyId, &Scope, Timestamp)| ActiveModel {
        api_key_id: Set(*id),
        scope: Set(scope.to_string()),
        last_used_at: Set(*at),
    };
    let conflict = OnConflict::columns([Column::ApiKeyId, Column::Scope])
        .update_column(Column::LastUsedAt)
        .to_owned();
    for some in rows.chunks(ROWS_PER_STATEMENT) {
        let insert = Entity::insert_many(some.iter().map(row)).on_conflict(conflict.clone());
        insert.exec_without_returning(tx).await?;
    }
    // Of keys that are asked for ever other scopes those that are there are kept true, and few are added.
    for used in crowded {
        let of_the_key = || Entity::find().filter(Column::ApiKeyId.eq(used.0));
        let updated = Entity::update_many()
            .col_expr(Column::LastUsedAt, Expr::value(used.2))
            .filter(Column::ApiKeyId.eq(used.0))
            .filter(Column::Scope.eq(used.1.as_str()))
            .exec(tx)
            .await?;
        if updated.rows_affected == 0 && of_the_key().count(tx).await? < MOST_SCOPES as u64 {
            let insert = Entity::insert(row(&used)).on_conflict(conflict.clone());
            insert.exec_without_returning(tx).await?;
        }
    }
    Ok(())
}

async fn record_networks<'a>(
    tx: &DatabaseTransaction,
    uses: &'a [(ApiKeyId, KeyUse)],
) -> Result<Vec<(&'a (ApiKeyId, KeyUse), String)>, DbErr> {
    use api_key_network::{ActiveModel, Column, Entity};
    let used = uses
        .iter()
        .flat_map(|of| of.1.networks.iter().map(move |network| (of, network.to_string())));
    let used: Vec<(&(ApiKeyId, KeyUse), String)> = used.collect();
    if used.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = HashSet::new();
    let ids: BTreeSet<ApiKeyId> = used.iter().map(|(of, _)| of.0).collect();
    let ids = padded(ids.into_iter().collect());
    let networks: BTreeSet<&str> = used.iter().map(|(_, network)| network.as_str()).collect();
    let networks: Vec<&str> = networks.into_iter().collect();
    for some in networks.chunks(ROWS_PER_STATEMENT) {
        let found: Vec<(ApiKeyId, String)> = Entity::find()
            .select_only()
            .columns([Column::ApiKeyId, Column::Network])
            .filter(Column::ApiKeyId.is_in(ids.iter().copied()))
            .filter(Column::Network.is_in(padded(some.to_vec())))
            .into_tuple()
            .all(tx)
            .await?;
        known.extend(found);
    }
    let new: Vec<_> = used
        .into_iter()
        .filter(|(of, network)| !known.contains(&(of.0, network.clone())))
        .collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let ids: BTreeSet<ApiKeyId> = new.iter().map(|(of, _)| of.0).collect();
    let counts: Vec<(ApiKeyId, i64)> = Entity::find()
        .select_only()
        .column(Column::ApiKeyId)
        .column_as(Column::Network.count(), "networks")
        .filter(Column::ApiKeyId.is_in(padded(ids.into_iter().collect())))
        .group_by(Column::ApiKeyId)
        .into_tuple()
        .all(tx)
        .await?;
    let mut counts: HashMap<ApiKeyId, i64> = counts.into_iter().collect();
    let (mut rows, mut news) = (Vec::new(), Vec::new());
    for (of, network) in new {
        let count = counts.entry(of.0).or_default();
        if *count >= MOST_NETWORKS {
            continue;
        }
        // Where a key is used first is no news.
        if *count > 0 {
            news.push((of, network.clone()));
        }
        *count += 1;
        rows.push(ActiveModel {
            api_key_id: Set(of.0),
            network: Set(network),
            first_used_at: Set(of.1.at),
        });
    }
    for some in rows.chunks(ROWS_PER_STATEMENT) {
        Entity::insert_many(some.to_vec()).exec_without_returning(tx).await?;
    }
    Ok(news)
}

/// Makes the next version of a key that lives, for this transaction alone to change; only of the expected one.
pub(super) async fn next_version(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ApiKeyId,
    expected: Option<i32>,
) -> Result<bool, DbErr> {
    let mut update = api_key::Entity::update_many()
        .col_expr(api_key::Column::Version, Expr::col(api_key::Column::Version).add(1))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::OrganizationId.eq(organization))
        .filter(api_key::Column::RevokedAt.is_null());
    if let Some(version) = expected {
        update = update.filter(api_key::Column::Version.eq(version));
    }
    Ok(update.exec(tx).await?.rows_affected == 1)
}

/// Writes what can be edited of a key whose row this transaction holds.
pub(super) async fn update(
    tx: &DatabaseTransaction,
    before: &ApiKey,
    after: &ApiKey,
) -> Result<(), DbErr> {
    use api_key::Column;
    let labels = serde_json::json!(after.labels).to_string();
    let requests = after.requests_per_minute.map(i64::from);
    let mut update = api_key::Entity::update_many()
        .col_expr(Column::Name, Expr::value(after.name.clone()))
        .col_expr(Column::SearchName, Expr::value(search_text(&after.name)))
        .col_expr(Column::Description, Expr::value(after.description.clone()))
        .col_expr(Column::Labels, Expr::value(labels))
        .col_expr(Column::Scopes, Expr::value(after.scopes.to_string()))
        .col_expr(Column::AllowedIps, Expr::value(allowed_ips(&after.allowed_networks)))
        .col_expr(Column::RequestsPerMinute, Expr::value(requests))
        .col_expr(Column::ExpiresAt, Expr::value(after.expires_at))
        .filter(Column::Id.eq(after.id));
    if before.expires_at != after.expires_at {
        // Of another end its owner was told nothing yet.
        update = update.col_expr(Column::ToldDaysLeft, Expr::value(None::<i32>));
    }
    update.exec(tx).await?;
    Ok(())
}

/// Which scopes calls with the key required since then, and when last; those used latest first.
pub(super) async fn list_scope_uses(
    connection: &impl ConnectionTrait,
    key: ApiKeyId,
    since: Timestamp,
    limit: u64,
) -> Result<Vec<(Scope, Timestamp)>, DbErr> {
    let rows = api_key_scope_use::Entity::find()
        .filter(api_key_scope_use::Column::ApiKeyId.eq(key))
        .filter(api_key_scope_use::Column::LastUsedAt.gte(since))
        .order_by_desc(api_key_scope_use::Column::LastUsedAt)
        .order_by_asc(api_key_scope_use::Column::Scope)
        .limit(limit)
        .all(connection)
        .await?;
    let damaged = |_| DbErr::Type(format!("api_key_scope_uses {key}: scope is damaged"));
    rows.into_iter()
        .map(|row| Ok((row.scope.parse().map_err(damaged)?, row.last_used_at)))
        .collect()
}

/// The networks, of the size of a country, from which the key was ever used; the newest first.
pub(super) async fn list_networks(
    connection: &impl ConnectionTrait,
    key: ApiKeyId,
    limit: u64,
) -> Result<Vec<Network>, DbErr> {
    let rows = api_key_network::Entity::find()
        .filter(api_key_network::Column::ApiKeyId.eq(key))
        .order_by_desc(api_key_network::Column::FirstUsedAt)
        .order_by_asc(api_key_network::Column::Network)
        .limit(limit)
        .all(connection)
        .await?;
    let damaged = |_| DbErr::Type(format!("api_key_networks {key}: network is damaged"));
    rows.into_iter().map(|row| row.network.parse().map_err(damaged)).collect()
}

/// Which keys of an organization to revoke; all that is said must hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matching<'a> {
    pub organization: OrganizationId,
    pub created_by: Option<UserId>,
    pub project: Option<ProjectId>,
    /// A label's name, and perhaps its value.
    pub label: Option<(&'a str, Option<&'a str>)>,
    pub unused_since: Option<Timestamp>,
    /// All but this one.
    pub except: Option<ApiKeyId>,
}

impl Matching<'_> {
    fn condition(&self) -> Condition {
        use api_key::Column;
        let mut condition = Condition::all()
            .add(Column::OrganizationId.eq(self.organization))
            .add(Column::RevokedAt.is_null())
            // Decoys are meant to be unused, and nobody is to learn of them by the count.
            .add(Column::IsDecoy.eq(false))
            .add_option(self.except.map(|key| Column::Id.ne(key)));
        if let Some(user) = self.created_by {
            condition = condition.add(Column::CreatedBy.eq(user));
        }
        if let Some(project) = self.project {
            condition = condition.add(Column::ProjectId.eq(project));
        }
        if let Some((name, value)) = self.label {
            // How the label stands in the JSON. It stands nowhere else: every quote within a value is escaped, and only
            // a name is followed by a colon. `replace` compares letter by letter on either database; LIKE does not.
            let json = |text: &str| serde_json::Value::from(text).to_string();
            let label = format!("{}:{}", json(name), value.map(json).unwrap_or_default());
            let without: Expr =
                Func::cust("replace").arg(Expr::col(Column::Labels)).arg(label).arg("").into();
            condition = condition.add(Expr::col(Column::Labels).ne(without));
        }
        if let Some(since) = self.unused_since {
            let used: Expr =
                Func::coalesce([Expr::col(Column::LastUsedAt), Expr::col(Column::CreatedAt)])
                    .into();
            // A key that was imported has not been here since it was made; its id tells how long it has been.
            let here_before = Column::Id.lt(ApiKeyId::first_at(since));
            condition = condition.add(used.lt(since)).add(here_before);
        }
        condition
    }
}

/// How many keys are to be revoked.
pub(super) async fn count_matching(
    connection: &impl ConnectionTrait,
    which: Matching<'_>,
) -> Result<u64, DbErr> {
    api_key::Entity::find().filter(which.condition()).count(connection).await
}

/// Keys that are to be revoked, oldest first.
pub(super) async fn list_matching(
    connection: &impl ConnectionTrait,
    which: Matching<'_>,
    limit: u64,
) -> Result<Vec<ApiKeyId>, DbErr> {
    oldest_matching(which, limit).into_tuple().all(connection).await
}

fn oldest_matching(which: Matching<'_>, limit: u64) -> Select<api_key::Entity> {
    api_key::Entity::find()
        .select_only()
        .column(api_key::Column::Id)
        .filter(which.condition())
        .order_by_asc(api_key::Column::Id)
        .limit(limit)
}

/// Revokes the oldest keys of those, `limit` so many; says which. The log and the audit trail are for the caller to
/// write.
pub(super) async fn mark_matching_revoked(
    tx: &DatabaseTransaction,
    now: Timestamp,
    which: Matching<'_>,
    reason: Option<&str>,
    limit: u64,
) -> Result<Vec<ApiKeyId>, DbErr> {
    // Locked in one order, so that of two calls neither waits for the other in a circle. One statement for both would
    // leave it to PostgreSQL how to join the keys with themselves, and before it has counted many new ones it takes
    // each with each.
    let oldest: Vec<ApiKeyId> =
        oldest_matching(which, limit).lock_exclusive().into_tuple().all(tx).await?;
    let mut revoked = Vec::with_capacity(oldest.len());
    for some in oldest.chunks(ROWS_PER_STATEMENT) {
        let rows = api_key::Entity::update_many()
            .col_expr(api_key::Column::RevokedAt, Expr::value(now))
            .col_expr(api_key::Column::RevokedReason, Expr::value(reason.map(str::to_owned)))
            .filter(api_key::Column::Id.is_in(some.iter().copied()))
            .filter(which.condition())
            .exec_with_returning(tx)
            .await?;
        revoked.extend(rows.into_iter().map(|row| row.id));
    }
    revoked.sort_unstable();
    Ok(revoked)
}

/// Both databases limit the parameters of a statement.
const ROWS_PER_STATEMENT: usize = 500;

/// A key with a secret that somebody else made.
pub(super) struct WithSecret {
    pub key: ApiKey,
    pub secret: SecretId,
    pub digest: [u8; 32],
}

/// Which of these secrets are somebody's, and under which id.
pub(super) async fn find_by_digests(
    connection: &impl ConnectionTrait,
    digests: &[[u8; 32]],
) -> Result<HashMap<Vec<u8>, SecretId>, DbErr> {
    let mut found = HashMap::new();
    for some in digests.chunks(ROWS_PER_STATEMENT) {
        let some = some.iter().map(|digest| digest.to_vec());
        let rows: Vec<(Vec<u8>, SecretId)> = api_key_secret::Entity::find()
            .select_only()
            .column(api_key_secret::Column::Digest)
            .column(api_key_secret::Column::Id)
            .filter(api_key_secret::Column::Digest.is_in(some))
            .into_tuple()
            .all(connection)
            .await?;
        found.extend(rows);
    }
    Ok(found)
}

/// Writes keys with their secrets; false where a secret is somebody's already, and then nothing of it may be kept.
pub(super) async fn insert_with_secrets(
    tx: &DatabaseTransaction,
    new: &[WithSecret],
    now: Timestamp,
) -> Result<bool, DbErr> {
    for some in new.chunks(ROWS_PER_STATEMENT) {
        let rows = some.iter().map(|new| row(&new.key));
        api_key::Entity::insert_many(rows).exec_without_returning(tx).await?;
    }
    // In one order, so that of two who bring the same secrets neither waits for the other in a circle.
    let mut ordered: Vec<&WithSecret> = new.iter().collect();
    ordered.sort_unstable_by_key(|new| new.digest);
    for some in ordered.chunks(ROWS_PER_STATEMENT) {
        let rows = some.iter().map(|new| api_key_secret::ActiveModel {
            id: Set(new.secret),
            api_key_id: Set(new.key.id),
            digest: Set(new.digest.to_vec()),
            start: Set(new.key.start.clone()),
            end: Set(new.key.end.clone()),
            created_at: Set(now),
            expires_at: Set(None),
            ..Default::default()
        });
        let inserted = api_key_secret::Entity::insert_many(rows)
            .on_conflict_do_nothing_on([api_key_secret::Column::Digest])
            .exec_without_returning(tx)
            .await?;
        if !matches!(inserted, TryInsertResult::Inserted(rows) if rows == some.len() as u64) {
            return Ok(false);
        }
    }
    Ok(true)
}

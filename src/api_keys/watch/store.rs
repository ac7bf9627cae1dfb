use std::time::Duration;

use entity::{ApiKeyId, Timestamp, api_key, api_key_secret, leak_sighting};
use portcullis_verifier::ScopeSet;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set, TryInsertResult,
};

use crate::api_keys::{ApiKey, store::with_secrets};

/// How many places are told of a key: whoever has it can put it into any number of them.
const MOST_SIGHTINGS: u64 = 100;
/// As the index spells it: what a key's owner was told of last, 99 for nothing.
const TOLD: &str = "coalesce(told_days_left, 99)";
const UNTOLD: i32 = 99;
/// As the index spells it.
const LAST_USED: &str = "coalesce(last_used_at, created_at)";
const UNTOLD_OF_DISUSE: &str = "revoked_at IS NULL AND NOT is_decoy \
     AND (told_unused_at IS NULL OR told_unused_at < coalesce(last_used_at, created_at))";

// Decoys

/// Whether the use of a decoy is news: none was told of since `quiet`.
pub(super) async fn mark_tripped(
    tx: &DatabaseTransaction,
    id: ApiKeyId,
    now: Timestamp,
    quiet: Timestamp,
    from: Option<&str>,
) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::LastUsedAt, Expr::value(now))
        .col_expr(api_key::Column::LastUsedFrom, Expr::value(from))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::IsDecoy.eq(true))
        .filter(api_key::Column::RevokedAt.is_null())
        .filter(
            Condition::any()
                .add(api_key::Column::LastUsedAt.is_null())
                .add(api_key::Column::LastUsedAt.lte(quiet)),
        )
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

// Notices

/// A key that ends soon.
pub(super) struct Ending {
    pub id: ApiKeyId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    told: Option<i32>,
}

/// Keys that end by `until`, of which so many days were told of before.
pub(super) async fn list_ending(
    connection: &impl ConnectionTrait,
    told: Option<i32>,
    now: Timestamp,
    until: Timestamp,
    limit: u64,
) -> Result<Vec<Ending>, DbErr> {
    let rows: Vec<(ApiKeyId, Timestamp, Option<Timestamp>)> = api_key::Entity::find()
        .select_only()
        .column(api_key::Column::Id)
        .column(api_key::Column::CreatedAt)
        .column(api_key::Column::ExpiresAt)
        .filter(api_key::Column::RevokedAt.is_null())
        .filter(api_key::Column::ExpiresAt.is_not_null())
        .filter(Expr::cust(TOLD).eq(told.unwrap_or(UNTOLD)))
        .filter(api_key::Column::ExpiresAt.gt(now))
        .filter(api_key::Column::ExpiresAt.lte(until))
        .order_by_asc(api_key::Column::ExpiresAt)
        .order_by_asc(api_key::Column::Id)
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, created_at, end)| {
            end.map(|expires_at| Ending { id, created_at, expires_at, told })
        })
        .collect())
}

/// Whether this call was the one that notes that the owner is told now.
pub(super) async fn mark_told(
    tx: &DatabaseTransaction,
    key: &Ending,
    days: u32,
) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::ToldDaysLeft, Expr::value(days.cast_signed()))
        .filter(api_key::Column::Id.eq(key.id))
        .filter(api_key::Column::RevokedAt.is_null())
        .filter(api_key::Column::ExpiresAt.eq(key.expires_at))
        .filter(Expr::cust(TOLD).eq(key.told.unwrap_or(UNTOLD)))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Forgets what was told of keys whose end has since been put off beyond that.
pub(super) async fn forget_told(
    connection: &impl ConnectionTrait,
    days: u32,
    beyond: Timestamp,
) -> Result<u64, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::ToldDaysLeft, Expr::value(None::<i32>))
        .filter(api_key::Column::RevokedAt.is_null())
        .filter(api_key::Column::ExpiresAt.is_not_null())
        .filter(Expr::cust(TOLD).eq(days.cast_signed()))
        .filter(api_key::Column::ExpiresAt.gt(beyond))
        .exec(connection)
        .await?;
    Ok(updated.rows_affected)
}

/// A key that nobody uses.
pub(super) struct Idle {
    pub id: ApiKeyId,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// Keys that were last used, or else made, by `since`, and of which nobody was told.
pub(super) async fn list_idle(
    connection: &impl ConnectionTrait,
    since: Timestamp,
    limit: u64,
) -> Result<Vec<Idle>, DbErr> {
    let rows: Vec<(ApiKeyId, Option<Timestamp>, Option<Timestamp>)> = api_key::Entity::find()
        .select_only()
        .column(api_key::Column::Id)
        .column(api_key::Column::ExpiresAt)
        .column(api_key::Column::LastUsedAt)
        .filter(Expr::cust(UNTOLD_OF_DISUSE))
        .filter(Expr::cust(LAST_USED).lte(since))
        // A key that was imported has not been here since it was made; its id tells how long it has been.
        .filter(api_key::Column::Id.lt(ApiKeyId::first_at(since + Duration::from_millis(1))))
        .order_by_asc(Expr::cust(LAST_USED))
        .order_by_asc(api_key::Column::Id)
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    let idle = |(id, expires_at, last_used_at)| Idle { id, expires_at, last_used_at };
    Ok(rows.into_iter().map(idle).collect())
}

/// Whether this call was the one that notes that the owner is told now.
pub(super) async fn mark_told_of_disuse(
    tx: &DatabaseTransaction,
    id: ApiKeyId,
    now: Timestamp,
    since: Timestamp,
) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::ToldUnusedAt, Expr::value(now))
        .filter(api_key::Column::Id.eq(id))
        .filter(Expr::cust(UNTOLD_OF_DISUSE))
        .filter(Expr::cust(LAST_USED).lte(since))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

// Leaks

pub(super) async fn find_by_digests(
    connection: &impl ConnectionTrait,
    digests: &[[u8; 32]],
    now: Timestamp,
) -> Result<Vec<([u8; 32], ApiKey)>, DbErr> {
    if digests.is_empty() {
        return Ok(Vec::new());
    }
    let secrets = api_key_secret::Entity::find()
        .filter(api_key_secret::Column::Digest.is_in(digests.iter().map(|digest| digest.to_vec())))
        .filter(
            Condition::any()
                .add(api_key_secret::Column::ExpiresAt.is_null())
                .add(api_key_secret::Column::ExpiresAt.gt(now)),
        )
        .all(connection)
        .await?;
    if secrets.is_empty() {
        return Ok(Vec::new());
    }
    let rows = api_key::Entity::find()
        .filter(api_key::Column::Id.is_in(secrets.iter().map(|secret| secret.api_key_id)))
        .order_by_asc(api_key::Column::Id)
        .all(connection)
        .await?;
    let mut found = Vec::new();
    for key in with_secrets(connection, rows).await? {
        for secret in secrets.iter().filter(|secret| secret.api_key_id == key.id) {
            let damaged = |_| DbErr::Type(format!("api_key_secrets {} is damaged", secret.id));
            let digest = secret.digest.as_slice().try_into().map_err(damaged)?;
            found.push((digest, key.clone()));
        }
    }
    Ok(found)
}

/// Whether this is the first that is heard of the key in that place.
pub(super) async fn insert_sighting(
    tx: &DatabaseTransaction,
    id: ApiKeyId,
    place: [u8; 32],
    now: Timestamp,
) -> Result<bool, DbErr> {
    let known = leak_sighting::Entity::find()
        .filter(leak_sighting::Column::ApiKeyId.eq(id))
        .count(tx)
        .await?;
    if known >= MOST_SIGHTINGS {
        return Ok(false);
    }
    let row = leak_sighting::ActiveModel {
        api_key_id: Set(id),
        place: Set(place.to_vec()),
        seen_at: Set(now),
    };
    let inserted = leak_sighting::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(tx)
        .await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(1)))
}

/// Whether this call revoked the key.
pub(super) async fn mark_revoked(
    tx: &DatabaseTransaction,
    id: ApiKeyId,
    now: Timestamp,
    reason: &str,
) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(now))
        .col_expr(api_key::Column::RevokedReason, Expr::value(reason))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Whether this call gave the key, which had just those scopes, fewer of them.
pub(super) async fn narrow(
    tx: &DatabaseTransaction,
    id: ApiKeyId,
    before: &ScopeSet,
    after: &ScopeSet,
) -> Result<bool, DbErr> {
    let updated = api_key::Entity::update_many()
        .col_expr(api_key::Column::Scopes, Expr::value(after.to_string()))
        .col_expr(api_key::Column::Version, Expr::col(api_key::Column::Version).add(1))
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::Scopes.eq(before.to_string()))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

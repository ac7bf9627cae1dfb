use anyhow::Context as _;
use entity::{SigningKeyId, Timestamp, signing_key};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Set,
};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::generate::Generated;
use super::keyring::OpenedKey;
use super::{Algorithm, State};
use crate::platform::master_key::SealingKey;

/// What people see of a signing key.
#[derive(Debug, Clone, Serialize)]
pub struct SigningKeySummary {
    pub id: SigningKeyId,
    pub kid: String,
    pub algorithm: String,
    pub state: String,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub retires_at: Option<Timestamp>,
}

/// Every key that there ever was, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &impl ConnectionTrait) -> Result<Vec<SigningKeySummary>, DbErr> {
    let rows =
        signing_key::Entity::find().order_by_desc(signing_key::Column::Id).all(connection).await?;
    Ok(rows.into_iter().map(summary).collect())
}

fn summary(row: signing_key::Model) -> SigningKeySummary {
    SigningKeySummary {
        id: row.id,
        kid: row.kid,
        algorithm: row.algorithm,
        state: row.state,
        created_at: row.created_at,
        activated_at: row.activated_at,
        retires_at: row.retires_at,
    }
}

/// Some of the keys, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_page(
    connection: &impl ConnectionTrait,
    before: Option<SigningKeyId>,
    limit: u64,
) -> Result<Vec<SigningKeySummary>, DbErr> {
    let mut query = signing_key::Entity::find().order_by_desc(signing_key::Column::Id).limit(limit);
    if let Some(before) = before {
        query = query.filter(signing_key::Column::Id.lt(before));
    }
    Ok(query.all(connection).await?.into_iter().map(summary).collect())
}

/// Upcoming, active and retiring keys, newest first.
pub(super) async fn list_published(
    connection: &impl ConnectionTrait,
) -> Result<Vec<SigningKeySummary>, DbErr> {
    let rows = signing_key::Entity::find()
        .filter(signing_key::Column::State.ne(State::Retired.as_str()))
        .order_by_desc(signing_key::Column::Id)
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(summary).collect())
}

/// Some of the keys that are no longer published, newest first.
pub(super) async fn list_retired(
    connection: &impl ConnectionTrait,
    before: Option<SigningKeyId>,
    limit: u64,
) -> Result<Vec<SigningKeySummary>, DbErr> {
    let mut query = signing_key::Entity::find()
        .filter(signing_key::Column::State.eq(State::Retired.as_str()))
        .order_by_desc(signing_key::Column::Id)
        .limit(limit);
    if let Some(before) = before {
        query = query.filter(signing_key::Column::Id.lt(before));
    }
    Ok(query.all(connection).await?.into_iter().map(summary).collect())
}

/// # Errors
/// When the database fails.
pub async fn find(
    connection: &impl ConnectionTrait,
    id: SigningKeyId,
) -> Result<Option<SigningKeySummary>, DbErr> {
    Ok(signing_key::Entity::find_by_id(id).one(connection).await?.map(summary))
}

/// Upcoming, active and retiring keys; of the active ones the private half too.
pub(super) async fn open_published(
    connection: &impl ConnectionTrait,
    sealing_key: &SealingKey,
) -> anyhow::Result<Vec<OpenedKey>> {
    let rows = signing_key::Entity::find()
        .filter(signing_key::Column::State.ne(State::Retired.as_str()))
        .order_by_asc(signing_key::Column::Id)
        .all(connection)
        .await?;
    rows.into_iter().map(|row| open(row, sealing_key)).collect()
}

fn open(row: signing_key::Model, sealing_key: &SealingKey) -> anyhow::Result<OpenedKey> {
    let damaged = || format!("signing_keys {} is damaged", row.id);
    let algorithm: Algorithm = row.algorithm.parse().map_err(|_| anyhow::anyhow!(damaged()))?;
    let state: State = row.state.parse().map_err(|()| anyhow::anyhow!(damaged()))?;
    let public = serde_json::from_str(&row.public_jwk).with_context(damaged)?;
    let pkcs8 = match state {
        State::Active => {
            let opened = sealing_key
                .open(&row.sealed_private_key, row.kid.as_bytes())
                .context("this is not the master key that the signing keys were sealed with")?;
            Some(opened.into())
        }
        _ => None,
    };
    Ok(OpenedKey { kid: row.kid, algorithm, public, pkcs8 })
}

pub(super) async fn count_published(connection: &impl ConnectionTrait) -> Result<u64, DbErr> {
    signing_key::Entity::find()
        .filter(signing_key::Column::State.ne(State::Retired.as_str()))
        .count(connection)
        .await
}

pub(super) async fn find_current(
    connection: &impl ConnectionTrait,
    algorithm: Algorithm,
    state: State,
) -> Result<Option<SigningKeyId>, DbErr> {
    signing_key::Entity::find()
        .select_only()
        .column(signing_key::Column::Id)
        .filter(signing_key::Column::Algorithm.eq(algorithm.as_str()))
        .filter(signing_key::Column::State.eq(state.as_str()))
        .into_tuple()
        .one(connection)
        .await
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    now: Timestamp,
    id: SigningKeyId,
    key: &Generated,
    state: State,
    sealing_key: &SealingKey,
) -> anyhow::Result<()> {
    let row = signing_key::ActiveModel {
        id: Set(id),
        kid: Set(key.kid.clone()),
        algorithm: Set(key.algorithm.to_string()),
        state: Set(state.to_string()),
        public_jwk: Set(serde_json::to_string(&key.public)?),
        sealed_private_key: Set(sealing_key.seal(key.pkcs8.expose_secret(), key.kid.as_bytes())?),
        created_at: Set(now),
        activated_at: Set((state == State::Active).then_some(now)),
        retires_at: Set(None),
    };
    row.insert(tx).await?;
    Ok(())
}

pub(super) async fn activate(
    tx: &DatabaseTransaction,
    id: SigningKeyId,
    now: Timestamp,
) -> Result<(), DbErr> {
    signing_key::Entity::update_many()
        .col_expr(signing_key::Column::State, Expr::value(State::Active.as_str()))
        .col_expr(signing_key::Column::ActivatedAt, Expr::value(now))
        .filter(signing_key::Column::Id.eq(id))
        .exec(tx)
        .await?;
    Ok(())
}

pub(super) async fn retire(
    tx: &DatabaseTransaction,
    id: SigningKeyId,
    at: Timestamp,
) -> Result<(), DbErr> {
    signing_key::Entity::update_many()
        .col_expr(signing_key::Column::State, Expr::value(State::Retiring.as_str()))
        .col_expr(signing_key::Column::RetiresAt, Expr::value(at))
        .filter(signing_key::Column::Id.eq(id))
        .exec(tx)
        .await?;
    Ok(())
}

pub(super) async fn retire_expired(
    tx: &DatabaseTransaction,
    now: Timestamp,
) -> Result<Vec<SigningKeyId>, DbErr> {
    let rows = signing_key::Entity::update_many()
        .col_expr(signing_key::Column::State, Expr::value(State::Retired.as_str()))
        .filter(signing_key::Column::State.eq(State::Retiring.as_str()))
        .filter(signing_key::Column::RetiresAt.lt(now))
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

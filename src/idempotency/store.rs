use entity::{Timestamp, idempotency_key};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    QueryFilter as _, Set, TryInsertResult,
};

use super::{Claim, KEPT, KeyedRequest};

/// Claims the key for this transaction; of several at once one goes on, the others wait for it and get its answer.
///
/// # Errors
/// When the database fails.
pub async fn claim(tx: &DatabaseTransaction, request: &KeyedRequest) -> Result<Claim, DbErr> {
    // One that is too old was never swept; its time is over all the same.
    idempotency_key::Entity::delete_many()
        .filter(idempotency_key::Column::Digest.eq(request.digest.to_vec()))
        .filter(idempotency_key::Column::CreatedAt.lte(request.at - KEPT))
        .exec(tx)
        .await?;
    let row = idempotency_key::ActiveModel {
        digest: Set(request.digest.to_vec()),
        fingerprint: Set(request.fingerprint.to_vec()),
        status: Set(None),
        body: Set(None),
        created_at: Set(request.at),
    };
    let inserted = idempotency_key::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(tx)
        .await?;
    if matches!(inserted, TryInsertResult::Inserted(1)) {
        return Ok(Claim::First);
    }
    let damaged = || DbErr::Type("idempotency_keys: a row is damaged".to_owned());
    let row = idempotency_key::Entity::find_by_id(request.digest.to_vec())
        .one(tx)
        .await?
        .ok_or_else(damaged)?;
    if row.fingerprint != request.fingerprint {
        return Ok(Claim::OfAnotherRequest);
    }
    match (row.status.and_then(|status| u16::try_from(status).ok()), row.body) {
        (Some(status), Some(body)) => Ok(Claim::Answered { status, body }),
        _ => Err(damaged()),
    }
}

/// Keeps the answer to the request that claimed the key in this transaction.
///
/// # Errors
/// When the database fails.
pub async fn settle(
    tx: &DatabaseTransaction,
    request: &KeyedRequest,
    status: u16,
    body: &str,
) -> Result<(), DbErr> {
    idempotency_key::Entity::update_many()
        .col_expr(idempotency_key::Column::Status, Expr::value(i32::from(status)))
        .col_expr(idempotency_key::Column::Body, Expr::value(body))
        .filter(idempotency_key::Column::Digest.eq(request.digest.to_vec()))
        .exec(tx)
        .await?;
    Ok(())
}

/// Puts something else in the place of a text, such as an e-mail address, wherever an answer that is kept holds it as a
/// whole.
///
/// # Errors
/// When the database fails.
pub async fn erase_from_answers(
    tx: &DatabaseTransaction,
    text: &str,
    replacement: &str,
) -> Result<(), DbErr> {
    // As JSON has it, quotes included: what merely contains it is something else.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let replaced: Expr = Func::cust("replace")
        .arg(Expr::col(idempotency_key::Column::Body))
        .arg(quoted(text))
        .arg(quoted(replacement))
        .into();
    idempotency_key::Entity::update_many()
        .col_expr(idempotency_key::Column::Body, replaced.clone())
        .filter(Expr::col(idempotency_key::Column::Body).ne(replaced))
        .exec(tx)
        .await?;
    Ok(())
}

/// Removes answers that are older than a day; says how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(connection: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    let deleted = idempotency_key::Entity::delete_many()
        .filter(idempotency_key::Column::CreatedAt.lte(now - KEPT))
        .exec(connection)
        .await?;
    Ok(deleted.rows_affected)
}

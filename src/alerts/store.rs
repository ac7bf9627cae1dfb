use std::time::Duration;

use entity::{AlertId, Timestamp, UserId, alert};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::{AlertKind, Body, Channel, Queued};

/// How long an alert is kept once it was delivered or given up.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    now: Timestamp,
    kind: AlertKind,
    body: &Body,
    ways: &[(Channel, Option<UserId>)],
) -> Result<(), DbErr> {
    let text = serde_json::to_string(body).map_err(|error| DbErr::Json(error.to_string()))?;
    let rows = ways.iter().map(|(channel, recipient)| alert::ActiveModel {
        id: Set(AlertId::new(now)),
        at: Set(now),
        kind: Set(kind.as_str().to_owned()),
        organization_id: Set(body.organization),
        body: Set(text.clone()),
        channel: Set(channel.as_str().to_owned()),
        recipient_id: Set(*recipient),
        attempts: Set(0),
        next_try_at: Set(now),
        done_at: Set(None),
    });
    alert::Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}

/// What is to be sent by now, the longest due first. A kind that this release does not know is another's to send, and a
/// row that can't be read keeps no others waiting.
pub(super) async fn list_due(
    connection: &impl ConnectionTrait,
    channel: Channel,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Queued>, DbErr> {
    let rows = alert::Entity::find()
        .filter(alert::Column::Channel.eq(channel.as_str()))
        .filter(alert::Column::Kind.is_in(AlertKind::ALL.map(AlertKind::as_str)))
        .filter(alert::Column::DoneAt.is_null())
        .filter(alert::Column::NextTryAt.lte(now))
        .order_by_asc(alert::Column::NextTryAt)
        .limit(limit)
        .all(connection)
        .await?;
    let readable = rows.into_iter().filter_map(|row| {
        queued(row).inspect_err(|error| tracing::error!(%error, "an alert can't be read")).ok()
    });
    Ok(readable.collect())
}

fn queued(row: alert::Model) -> Result<Queued, DbErr> {
    let damaged = |column: &str| DbErr::Type(format!("alerts {}: {column} is damaged", row.id));
    Ok(Queued {
        kind: row.kind.parse().map_err(|_| damaged("kind"))?,
        body: serde_json::from_str(&row.body).map_err(|_| damaged("body"))?,
        id: row.id,
        at: row.at,
        recipient: row.recipient_id,
        attempts: row.attempts,
    })
}

/// Whether this call has begun the next attempt: of several processes one does. Should it end in between, the next one
/// begins when `next` has come.
pub(super) async fn claim(
    connection: &impl ConnectionTrait,
    queued: &Queued,
    next: Timestamp,
) -> Result<bool, DbErr> {
    let updated = alert::Entity::update_many()
        .col_expr(alert::Column::Attempts, Expr::value(queued.attempts.saturating_add(1)))
        .col_expr(alert::Column::NextTryAt, Expr::value(next))
        .filter(alert::Column::Id.eq(queued.id))
        .filter(alert::Column::Attempts.eq(queued.attempts))
        .filter(alert::Column::DoneAt.is_null())
        .exec(connection)
        .await?;
    Ok(updated.rows_affected == 1)
}

pub(super) async fn mark_done(
    connection: &impl ConnectionTrait,
    id: AlertId,
    now: Timestamp,
) -> Result<(), DbErr> {
    alert::Entity::update_many()
        .col_expr(alert::Column::DoneAt, Expr::value(now))
        .filter(alert::Column::Id.eq(id))
        .exec(connection)
        .await?;
    Ok(())
}

/// Removes what was delivered or given up a week ago, and what nobody delivered because its way was taken out of the
/// settings; says how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(connection: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    let deleted = alert::Entity::delete_many()
        .filter(
            Condition::any().add(alert::Column::DoneAt.lte(now - KEPT)).add(
                Condition::all()
                    .add(alert::Column::DoneAt.is_null())
                    .add(alert::Column::NextTryAt.lte(now - KEPT)),
            ),
        )
        .exec(connection)
        .await?;
    Ok(deleted.rows_affected)
}

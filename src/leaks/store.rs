use entity::{ReportId, Timestamp, credential_report};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::Reported;
use crate::audit::Source;

/// A report that waits to be worked on.
pub(super) struct Waiting {
    pub id: ReportId,
    pub source: Source,
    pub attempts: i32,
    body: String,
}

impl Waiting {
    pub fn reported(&self) -> Result<Reported, DbErr> {
        let damaged = |_| DbErr::Type(format!("credential_reports {}: body is damaged", self.id));
        serde_json::from_str(&self.body).map_err(damaged)
    }
}

pub(super) async fn insert(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    source: &Source,
    reported: &Reported,
) -> Result<(), DbErr> {
    let body = serde_json::to_string(reported).map_err(|error| DbErr::Json(error.to_string()))?;
    let row = credential_report::ActiveModel {
        id: Set(ReportId::new(now)),
        at: Set(now),
        address: Set(source.address.clone()),
        user_agent: Set(source.user_agent.clone()),
        request_id: Set(source.request_id.clone()),
        body: Set(body),
        attempts: Set(0),
        next_try_at: Set(now),
    };
    row.insert(connection).await?;
    Ok(())
}

/// The reports that nobody works on, the longest waiting first.
pub(super) async fn list_due(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Waiting>, DbErr> {
    let rows = credential_report::Entity::find()
        .filter(credential_report::Column::NextTryAt.lte(now))
        .order_by_asc(credential_report::Column::NextTryAt)
        .limit(limit)
        .all(connection)
        .await?;
    let waiting = |row: credential_report::Model| Waiting {
        id: row.id,
        source: Source {
            address: row.address,
            user_agent: row.user_agent,
            request_id: row.request_id,
        },
        attempts: row.attempts,
        body: row.body,
    };
    Ok(rows.into_iter().map(waiting).collect())
}

/// Whether this call has begun to work on the report: of several processes one does. Should it end in between, another
/// begins when `next` has come.
pub(super) async fn claim(
    connection: &impl ConnectionTrait,
    report: &Waiting,
    next: Timestamp,
) -> Result<bool, DbErr> {
    let updated = credential_report::Entity::update_many()
        .col_expr(
            credential_report::Column::Attempts,
            Expr::value(report.attempts.saturating_add(1)),
        )
        .col_expr(credential_report::Column::NextTryAt, Expr::value(next))
        .filter(credential_report::Column::Id.eq(report.id))
        .filter(credential_report::Column::Attempts.eq(report.attempts))
        .exec(connection)
        .await?;
    Ok(updated.rows_affected == 1)
}

pub(super) async fn delete(connection: &impl ConnectionTrait, id: ReportId) -> Result<(), DbErr> {
    credential_report::Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}

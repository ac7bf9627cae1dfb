use entity::{AuditEventId, Timestamp, audit_event};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Set,
};

use super::{By, Event, Of, Order, Recorded, Source, Which};
use crate::platform::db::insert_all;

/// Both databases limit the parameters of a statement.
const ROWS_PER_STATEMENT: usize = 500;

/// Writes an event.
///
/// # Errors
/// When the database fails.
pub async fn record(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    by: &By,
    event: Event,
) -> Result<(), DbErr> {
    row(now, by, event).insert(connection).await?;
    Ok(())
}

/// Writes many events of one moment.
///
/// # Errors
/// When the database fails.
pub async fn record_many(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    by: &By,
    events: impl IntoIterator<Item = Event>,
) -> Result<(), DbErr> {
    let rows: Vec<_> = events.into_iter().map(|event| row(now, by, event)).collect();
    for some in rows.chunks(ROWS_PER_STATEMENT) {
        let some = some.iter().cloned();
        audit_event::Entity::insert_many(some).exec_without_returning(connection).await?;
    }
    Ok(())
}

/// Writes the events of many callers, each at its own moment.
///
/// # Errors
/// When the database fails.
pub async fn record_each<'a>(
    connection: &impl ConnectionTrait,
    events: impl IntoIterator<Item = (Timestamp, &'a By, Event)>,
) -> Result<(), DbErr> {
    let rows: Vec<_> = events.into_iter().map(|(now, by, event)| row(now, by, event)).collect();
    insert_all(connection, &rows).await
}

fn row(now: Timestamp, by: &By, event: Event) -> audit_event::ActiveModel {
    audit_event::ActiveModel {
        id: Set(AuditEventId::new(now)),
        at: Set(now),
        actor: Set(by.actor.to_string()),
        action: Set(event.action.to_owned()),
        target: Set(event.target),
        organization_id: Set(event.organization),
        address: Set(by.source.address.clone()),
        user_agent: Set(by.source.user_agent.clone()),
        request_id: Set(by.source.request_id.clone()),
        detail: Set(event.detail.map(|detail| detail.to_string())),
    }
}

/// The next events in that order.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &impl ConnectionTrait,
    which: &Which,
    order: Order,
    limit: u64,
) -> Result<Vec<Recorded>, DbErr> {
    let query = in_order(matching(which), order).limit(limit);
    let column = audit_event::Column::OrganizationId;
    let rows = match which.of {
        Of::Everybody => query.all(connection).await?,
        Of::Organization(id) => query.filter(column.eq(id)).all(connection).await?,
        // Two queries, of which an index serves each: no index gives those of either in the order of their ids.
        Of::Operator(id) => {
            let mut rows = query.filter(column.eq(id)).all(connection).await?;
            // To order by what is nothing in every row changes nothing, but to PostgreSQL, which else walks through
            // everybody's events.
            let query = match order {
                Order::NewestFirst { .. } => matching(which).order_by_desc(column),
                Order::OldestFirst { .. } => matching(which).order_by_asc(column),
            };
            let query = in_order(query, order).filter(column.is_null()).limit(limit);
            rows.extend(query.all(connection).await?);
            match order {
                Order::NewestFirst { .. } => rows.sort_by_key(|row| std::cmp::Reverse(row.id)),
                Order::OldestFirst { .. } => rows.sort_by_key(|row| row.id),
            }
            rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            rows
        }
    };
    rows.into_iter().map(recorded).collect()
}

fn matching(which: &Which) -> Select<audit_event::Entity> {
    use audit_event::Column;
    let mut query = audit_event::Entity::find();
    for (column, wanted) in [
        (Column::Actor, &which.actor),
        (Column::Action, &which.action),
        (Column::Target, &which.target),
        (Column::RequestId, &which.request_id),
    ] {
        if let Some(wanted) = wanted {
            query = query.filter(column.eq(wanted));
        }
    }
    // By id rather than by time: it is what the indexes end with.
    if let Some(from) = which.from {
        query = query.filter(Column::Id.gte(AuditEventId::first_at(from)));
    }
    if let Some(to) = which.to {
        query = query.filter(Column::Id.lt(AuditEventId::first_at(to)));
    }
    query
}

fn in_order(query: Select<audit_event::Entity>, order: Order) -> Select<audit_event::Entity> {
    let id = audit_event::Column::Id;
    match order {
        Order::NewestFirst { before } => {
            let query = query.order_by_desc(id);
            match before {
                Some(before) => query.filter(id.lt(before)),
                None => query,
            }
        }
        Order::OldestFirst { after } => {
            let query = query.order_by_asc(id);
            match after {
                Some(after) => query.filter(id.gt(after)),
                None => query,
            }
        }
    }
}

fn recorded(row: audit_event::Model) -> Result<Recorded, DbErr> {
    let damaged = |_| DbErr::Type(format!("audit_events {}: the detail is no object", row.id));
    let detail = row.detail.as_deref().map(serde_json::from_str).transpose().map_err(damaged)?;
    Ok(Recorded {
        id: row.id,
        at: row.at,
        actor: row.actor,
        action: row.action,
        target: row.target,
        organization: row.organization_id,
        source: Source {
            address: row.address,
            user_agent: row.user_agent,
            request_id: row.request_id,
        },
        detail: detail.unwrap_or_default(),
    })
}

/// Removes the oldest events from before a time, `at_most` so many; says how many there were.
///
/// # Errors
/// When the database fails.
pub(super) async fn delete_oldest(
    connection: &impl ConnectionTrait,
    before: Timestamp,
    at_most: u64,
) -> Result<u64, DbErr> {
    let id = audit_event::Column::Id;
    let first_kept = AuditEventId::first_at(before);
    let next: Option<AuditEventId> = audit_event::Entity::find()
        .select_only()
        .column(id)
        .filter(id.lt(first_kept))
        .order_by_asc(id)
        .offset(at_most)
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?;
    let deleted = audit_event::Entity::delete_many()
        .filter(id.lt(next.unwrap_or(first_kept)))
        .exec(connection)
        .await?;
    Ok(deleted.rows_affected)
}

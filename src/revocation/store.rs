use std::time::Duration;

use entity::{Timestamp, revocation, revocation_counter};
use portcullis_verifier::revocation::{Entry, EntryKind};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::Logged;
use super::about::{About, Audience, Reader};
use crate::platform::db;

/// The channel on which PostgreSQL wakes the other processes.
pub(super) const CHANNEL: &str = "portcullis_revocations";
/// Clocks of resource servers may be this much behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
const COUNTER: i32 = 1;
/// Both databases limit the parameters of a statement.
const ROWS_PER_STATEMENT: usize = 1000;

pub(super) async fn append(
    tx: &DatabaseTransaction,
    now: Timestamp,
    kind: EntryKind,
    subjects: &[About],
    issued_before: Option<i64>,
    expires_at: Timestamp,
) -> Result<(), DbErr> {
    if subjects.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(subjects.len()).unwrap_or(i64::MAX);
    let last = revocation_counter::Entity::update_many()
        .col_expr(
            revocation_counter::Column::Seq,
            Expr::col(revocation_counter::Column::Seq).add(count),
        )
        .filter(revocation_counter::Column::Id.eq(COUNTER))
        .exec_with_returning(tx)
        .await?
        .first()
        .map(|counter| counter.seq)
        .ok_or_else(|| DbErr::RecordNotFound("revocation_counter has no row".to_owned()))?;
    let kind = match kind {
        EntryKind::Revoked => "revoked",
        EntryKind::Changed => "changed",
    };
    let numbered: Vec<_> = subjects.iter().zip(last - count + 1..).collect();
    for some in numbered.chunks(ROWS_PER_STATEMENT) {
        let rows = some.iter().map(|(about, seq)| revocation::ActiveModel {
            seq: Set(*seq),
            at: Set(now),
            kind: Set(kind.to_owned()),
            subject: Set(about.subject.to_string()),
            issued_before: Set(issued_before),
            expires_at: Set(expires_at + CLOCK_SKEW),
            organization_id: Set(about.audience.organization),
            resource_server_id: Set(about.audience.resource_server),
        });
        db::insert_all(tx, &rows.collect::<Vec<_>>()).await?;
    }
    db::notify(tx, CHANNEL).await
}

/// Where the log ends, and up to where it was trimmed.
pub(super) struct Position {
    pub last: i64,
    pub trimmed: i64,
}

pub(super) async fn position(connection: &impl ConnectionTrait) -> Result<Position, DbErr> {
    let counter = revocation_counter::Entity::find_by_id(COUNTER)
        .one(connection)
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("revocation_counter has no row".to_owned()))?;
    Ok(Position { last: counter.seq, trimmed: counter.trimmed })
}

/// The next entries after `seq`, in order.
pub(super) async fn list_after(
    connection: &impl ConnectionTrait,
    seq: i64,
    limit: u64,
) -> Result<Vec<Logged>, DbErr> {
    list(connection, seq, Condition::all(), limit).await
}

/// The next entries after `seq` that concern the reader, in order. `Reader::sees` says the same.
pub(super) async fn list_for(
    connection: &impl ConnectionTrait,
    reader: Reader,
    seq: i64,
    limit: u64,
) -> Result<Vec<Entry>, DbErr> {
    let at_it = Condition::any()
        .add(revocation::Column::ResourceServerId.is_null())
        .add(revocation::Column::ResourceServerId.eq(reader.resource_server));
    let of_it = reader.only_of.map(|own| {
        Condition::any()
            .add(revocation::Column::OrganizationId.is_null())
            .add(revocation::Column::OrganizationId.eq(own))
    });
    let concerns = Condition::all().add(at_it).add_option(of_it);
    let found = list(connection, seq, concerns, limit).await?;
    Ok(found.into_iter().map(|logged| logged.entry).collect())
}

async fn list(
    connection: &impl ConnectionTrait,
    seq: i64,
    which: Condition,
    limit: u64,
) -> Result<Vec<Logged>, DbErr> {
    let rows = revocation::Entity::find()
        .filter(revocation::Column::Seq.gt(seq))
        .filter(which)
        .order_by_asc(revocation::Column::Seq)
        .limit(limit)
        .all(connection)
        .await?;
    rows.into_iter().map(logged).collect()
}

fn logged(row: revocation::Model) -> Result<Logged, DbErr> {
    let kind = match row.kind.as_str() {
        "revoked" => EntryKind::Revoked,
        "changed" => EntryKind::Changed,
        other => return Err(DbErr::Type(format!("revocations {}: unknown kind {other}", row.seq))),
    };
    let audience =
        Audience { organization: row.organization_id, resource_server: row.resource_server_id };
    let entry = Entry {
        seq: row.seq,
        kind,
        subject: row.subject,
        issued_before: row.issued_before,
        expires_at: row.expires_at.unix_seconds(),
    };
    Ok(Logged { entry, audience })
}

/// Removes what can no longer kill anything; says how many entries that were.
///
/// # Errors
/// When the database fails.
pub async fn trim(tx: &DatabaseTransaction, now: Timestamp) -> Result<u64, DbErr> {
    let last: Option<i64> = revocation::Entity::find()
        .select_only()
        .column_as(revocation::Column::Seq.max(), "last")
        .filter(revocation::Column::ExpiresAt.lt(now))
        .into_tuple()
        .one(tx)
        .await?
        .flatten();
    let Some(last) = last else { return Ok(0) };
    revocation_counter::Entity::update_many()
        .col_expr(revocation_counter::Column::Trimmed, Expr::value(last))
        .filter(revocation_counter::Column::Id.eq(COUNTER))
        .exec(tx)
        .await?;
    let removed = revocation::Entity::delete_many()
        .filter(revocation::Column::ExpiresAt.lt(now))
        .exec(tx)
        .await?;
    Ok(removed.rows_affected)
}

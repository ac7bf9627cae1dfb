use entity::{ResourceServerId, StatusListId, Timestamp, status_list, status_list_entry};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _,
    QueryFilter as _, Set,
};

use super::{CLOCK_SKEW, Entry, Place};
use crate::platform::db::insert_all;
use crate::signing::Algorithm;

pub(super) async fn insert(
    connection: &impl ConnectionTrait,
    id: StatusListId,
    (resource_server, algorithm): (ResourceServerId, Algorithm),
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbErr> {
    let row = status_list::ActiveModel {
        id: Set(id),
        resource_server_id: Set(resource_server),
        signing_algorithm: Set(algorithm.to_string()),
        created_at: Set(now),
        expires_at: Set(expires_at),
    };
    row.insert(connection).await?;
    Ok(())
}

/// Writes down which token has its place. Belongs into the transaction of the issue, where there is one; else before
/// the answer.
///
/// # Errors
/// When the database fails, or the place is another token's.
pub async fn record(connection: &impl ConnectionTrait, entry: &Entry) -> Result<(), DbErr> {
    status_list_entry::Entity::insert(row(entry)).exec_without_returning(connection).await?;
    Ok(())
}

/// The same for many.
///
/// # Errors
/// When the database fails, or one of the places is another token's.
pub async fn record_all<'a>(
    connection: &impl ConnectionTrait,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<(), DbErr> {
    let rows: Vec<_> = entries.into_iter().map(row).collect();
    insert_all(connection, &rows).await
}

fn row(entry: &Entry) -> status_list_entry::ActiveModel {
    status_list_entry::ActiveModel {
        list_id: Set(entry.place.list),
        idx: Set(entry.place.idx.into()),
        token_id: Set(entry.token),
        organization_id: Set(entry.organization),
        project_id: Set(entry.project),
        grant_id: Set(entry.grant),
        client_id: Set(entry.client),
        user_id: Set(entry.user),
        api_key_id: Set(entry.api_key),
        secret_id: Set(entry.secret),
        owner_id: Set(entry.owner),
        issued_at: Set(entry.issued_at),
        expires_at: Set(entry.expires_at),
    }
}

/// What a list is signed with; none for one that does not exist, or is over.
pub(super) async fn find_algorithm(
    connection: &impl ConnectionTrait,
    id: StatusListId,
    now: Timestamp,
) -> Result<Option<Algorithm>, DbErr> {
    let row = status_list::Entity::find_by_id(id)
        .filter(status_list::Column::ExpiresAt.gt(now))
        .one(connection)
        .await?;
    row.map(|row| {
        let damaged = |_| DbErr::Type(format!("status_lists {id}: the algorithm is damaged"));
        row.signing_algorithm.parse().map_err(damaged)
    })
    .transpose()
}

/// Every token that has a place in the list.
pub(super) async fn list_entries(
    connection: &impl ConnectionTrait,
    id: StatusListId,
) -> Result<Vec<Entry>, DbErr> {
    let rows = status_list_entry::Entity::find()
        .filter(status_list_entry::Column::ListId.eq(id))
        .all(connection)
        .await?;
    rows.into_iter().map(entry).collect()
}

fn entry(row: status_list_entry::Model) -> Result<Entry, DbErr> {
    let damaged =
        |_| DbErr::Type(format!("status_list_entries {}: {} is no place", row.list_id, row.idx));
    Ok(Entry {
        place: Place { list: row.list_id, idx: row.idx.try_into().map_err(damaged)? },
        token: row.token_id,
        organization: row.organization_id,
        project: row.project_id,
        grant: row.grant_id,
        client: row.client_id,
        user: row.user_id,
        api_key: row.api_key_id,
        secret: row.secret_id,
        owner: row.owner_id,
        issued_at: row.issued_at,
        expires_at: row.expires_at,
    })
}

/// Removes tokens that no clock takes for unexpired, and lists that can have none; says how many.
///
/// # Errors
/// When the database fails.
pub async fn remove_expired(
    connection: &impl ConnectionTrait,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let entries = status_list_entry::Entity::delete_many()
        .filter(status_list_entry::Column::ExpiresAt.lt(now - CLOCK_SKEW))
        .exec(connection)
        .await?;
    let lists = status_list::Entity::delete_many()
        .filter(status_list::Column::ExpiresAt.lt(now))
        .exec(connection)
        .await?;
    Ok(entries.rows_affected + lists.rows_affected)
}

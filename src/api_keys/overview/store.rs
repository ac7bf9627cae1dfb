use std::collections::HashMap;

use entity::{ApiKeyId, Timestamp, api_key};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, Order as Direction,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
};

use super::{Order, Overview, Page};
use crate::api_keys::store::{is_now, with_secrets};
use crate::platform::db::{padded, search_text};

/// A page of keys. Which they are, and how many fit, is one statement that looks at each of the organization's keys
/// once, in an index where it can; what they are is read for those of the page alone.
///
/// # Errors
/// When the database fails.
pub async fn overview(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    which: Overview<'_>,
) -> Result<Page, DbErr> {
    let fitting: Vec<(ApiKeyId, i64)> = fitting(now, which).into_tuple().all(connection).await?;
    let Some((_, total)) = fitting.first() else { return Ok(Page::default()) };
    let total = u64::try_from(*total).unwrap_or_default();
    let ids: Vec<ApiKeyId> = fitting.iter().map(|(id, _)| *id).collect();
    let places: HashMap<ApiKeyId, usize> =
        ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let rows = api_key::Entity::find().filter(api_key::Column::Id.is_in(padded(ids)));
    let mut keys = with_secrets(connection, rows.all(connection).await?).await?;
    keys.sort_unstable_by_key(|key| places.get(&key.id));
    Ok(Page { keys, total })
}

/// The ids of the page's keys, each beside the number of all that fit.
fn fitting(now: Timestamp, which: Overview<'_>) -> Select<api_key::Entity> {
    use api_key::Column;
    let mut query = api_key::Entity::find()
        .select_only()
        .column(Column::Id)
        .expr_as(Expr::cust("COUNT(*) OVER ()"), "fitting")
        .filter(Column::OrganizationId.eq(which.organization))
        .filter(is_now(which.status, now))
        .offset(which.skip)
        .limit(which.limit);
    if let Some(project) = which.project {
        query = query.filter(Column::ProjectId.eq(project));
    }
    if !which.include_decoys {
        query = query.filter(Column::IsDecoy.eq(false));
    }
    let wanted = which.name.map(search_text).filter(|text| !text.is_empty());
    if let Some(text) = wanted {
        // `replace` compares letter by letter on either database; LIKE does not, and has wildcards.
        let without: Expr =
            Func::cust("replace").arg(Expr::col(Column::SearchName)).arg(text).arg("").into();
        query = query.filter(Expr::col(Column::SearchName).ne(without));
    }
    // None sorts where the value that stands for it would.
    let or = |column: Column, value: i64| Func::coalesce([Expr::col(column), Expr::value(value)]);
    query = match which.order {
        Order::Newest => query,
        Order::Oldest => return query.order_by_asc(Column::Id),
        Order::Name => query.order_by_asc(Column::SearchName),
        Order::LastUsed => query.order_by(or(Column::LastUsedAt, 0), Direction::Desc),
        Order::Expiry => query.order_by(or(Column::ExpiresAt, i64::MAX), Direction::Asc),
    };
    query.order_by_desc(Column::Id)
}

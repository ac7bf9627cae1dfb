use entity::{SessionId, Timestamp, UserId, installation, session, setup_link, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, Set,
};

use super::{Session, User};

fn user(row: user::Model) -> User {
    User {
        id: row.id,
        email: row.email,
        name: row.name,
        created_at: row.created_at,
        suspended_at: row.suspended_at,
    }
}

/// # Errors
/// When the database fails.
pub async fn find_user(
    connection: &impl ConnectionTrait,
    id: UserId,
) -> Result<Option<User>, DbErr> {
    Ok(user::Entity::find_by_id(id).one(connection).await?.map(user))
}

/// # Errors
/// When the database fails.
pub async fn find_user_by_email(
    connection: &impl ConnectionTrait,
    email: &str,
) -> Result<Option<User>, DbErr> {
    Ok(user::Entity::find().filter(user::Column::Email.eq(email)).one(connection).await?.map(user))
}

/// Every user, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_users(connection: &impl ConnectionTrait) -> Result<Vec<User>, DbErr> {
    let rows = user::Entity::find().order_by_asc(user::Column::Id).all(connection).await?;
    Ok(rows.into_iter().map(user).collect())
}

pub(super) async fn insert_user(
    tx: &DatabaseTransaction,
    new: &User,
    password_hash: &str,
) -> Result<(), DbErr> {
    let row = user::ActiveModel {
        id: Set(new.id),
        email: Set(new.email.clone()),
        name: Set(new.name.clone()),
        password_hash: Set(password_hash.to_owned()),
        created_at: Set(new.created_at),
        suspended_at: Set(new.suspended_at),
        erased_at: Set(None),
    };
    row.insert(tx).await?;
    Ok(())
}

pub(super) struct Credentials {
    pub user: UserId,
    pub password_hash: String,
    pub is_suspended: bool,
}

pub(super) async fn find_credentials(
    connection: &impl ConnectionTrait,
    email: &str,
) -> Result<Option<Credentials>, DbErr> {
    let row = user::Entity::find().filter(user::Column::Email.eq(email)).one(connection).await?;
    Ok(row.map(|row| Credentials {
        user: row.id,
        is_suspended: row.suspended_at.is_some(),
        password_hash: row.password_hash,
    }))
}

pub(super) async fn update_password_hash(
    connection: &impl ConnectionTrait,
    id: UserId,
    hash: &str,
) -> Result<(), DbErr> {
    user::Entity::update_many()
        .col_expr(user::Column::PasswordHash, Expr::value(hash))
        .filter(user::Column::Id.eq(id))
        .exec(connection)
        .await?;
    Ok(())
}

pub(super) async fn insert_session(
    connection: &impl ConnectionTrait,
    id: SessionId,
    digest: [u8; 32],
    user: UserId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbErr> {
    let row = session::ActiveModel {
        id: Set(id),
        digest: Set(digest.to_vec()),
        user_id: Set(user),
        created_at: Set(now),
        authenticated_at: Set(now),
        expires_at: Set(expires_at),
    };
    row.insert(connection).await?;
    Ok(())
}

pub(super) async fn find_session(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
    now: Timestamp,
) -> Result<Option<Session>, DbErr> {
    let row = session::Entity::find()
        .filter(session::Column::Digest.eq(digest.to_vec()))
        .filter(session::Column::ExpiresAt.gt(now))
        .one(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let user = find_user(connection, row.user_id).await?.filter(|user| user.suspended_at.is_none());
    Ok(user.map(|user| Session {
        id: row.id,
        user: user.id,
        email: user.email,
        authenticated_at: row.authenticated_at,
    }))
}

/// Whose session it was; none where there was none.
pub(super) async fn delete_session(
    tx: &DatabaseTransaction,
    digest: [u8; 32],
) -> Result<Option<UserId>, DbErr> {
    let rows = session::Entity::delete_many()
        .filter(session::Column::Digest.eq(digest.to_vec()))
        .exec_with_returning(tx)
        .await?;
    Ok(rows.first().map(|row| row.user_id))
}

pub(super) async fn is_set_up(connection: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let row = installation::Entity::find_by_id(1).one(connection).await?;
    Ok(row.is_some_and(|row| row.set_up_at.is_some()))
}

/// Whether this call was the one that set it.
pub(super) async fn mark_set_up(tx: &DatabaseTransaction, now: Timestamp) -> Result<bool, DbErr> {
    let updated = installation::Entity::update_many()
        .col_expr(installation::Column::SetUpAt, Expr::value(now))
        .filter(installation::Column::Id.eq(1))
        .filter(installation::Column::SetUpAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

pub(super) async fn insert_setup_link(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
    expires_at: Timestamp,
) -> Result<(), DbErr> {
    let row = setup_link::ActiveModel { digest: Set(digest.to_vec()), expires_at: Set(expires_at) };
    row.insert(connection).await?;
    Ok(())
}

pub(super) async fn has_setup_link(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
    now: Timestamp,
) -> Result<bool, DbErr> {
    let found = setup_link::Entity::find()
        .filter(setup_link::Column::Digest.eq(digest.to_vec()))
        .filter(setup_link::Column::ExpiresAt.gt(now))
        .count(connection)
        .await?;
    Ok(found == 1)
}

pub(super) async fn delete_setup_links(tx: &DatabaseTransaction) -> Result<(), DbErr> {
    setup_link::Entity::delete_many().exec(tx).await?;
    Ok(())
}

/// Removes sessions and setup links that have expired; says how many.
///
/// # Errors
/// When the database fails.
pub async fn delete_expired(
    connection: &impl ConnectionTrait,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let sessions = session::Entity::delete_many()
        .filter(session::Column::ExpiresAt.lt(now))
        .exec(connection)
        .await?;
    let links = setup_link::Entity::delete_many()
        .filter(setup_link::Column::ExpiresAt.lt(now))
        .exec(connection)
        .await?;
    Ok(sessions.rows_affected + links.rows_affected)
}

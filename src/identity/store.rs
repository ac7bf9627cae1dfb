use std::collections::HashMap;

use entity::{SessionId, Timestamp, UserId, installation, session, setup_link, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Set,
};

use super::{OpenSession, Session, User, UserStatus};
use crate::audit::Source;
use crate::platform::db::{begins_with, padded, search_text};

fn user(row: user::Model) -> User {
    User {
        id: row.id,
        email: row.email,
        name: row.name,
        created_at: row.created_at,
        suspended_at: row.suspended_at,
        erased_at: row.erased_at,
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

/// Those of these accounts that there are.
///
/// # Errors
/// When the database fails.
pub async fn find_users(
    connection: &impl ConnectionTrait,
    ids: Vec<UserId>,
) -> Result<HashMap<UserId, User>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = user::Entity::find().filter(user::Column::Id.is_in(padded(ids)));
    Ok(found.all(connection).await?.into_iter().map(|row| (row.id, user(row))).collect())
}

/// Every user, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_users(connection: &impl ConnectionTrait) -> Result<Vec<User>, DbErr> {
    let rows = user::Entity::find().order_by_asc(user::Column::Id).all(connection).await?;
    Ok(rows.into_iter().map(user).collect())
}

/// Which accounts to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListUsers<'a> {
    /// How their e-mail address begins.
    pub email: Option<&'a str>,
    pub status: Option<UserStatus>,
    pub before: Option<UserId>,
    pub limit: u64,
}

/// Accounts, newest first.
///
/// # Errors
/// When the database fails.
pub async fn search_users(
    connection: &impl ConnectionTrait,
    which: ListUsers<'_>,
) -> Result<Vec<User>, DbErr> {
    let mut query = user::Entity::find().order_by_desc(user::Column::Id).limit(which.limit);
    if let Some(email) = which.email {
        query = query.filter(begins_with(user::Column::Email, &search_text(email)));
    }
    query = match which.status {
        None => query,
        Some(UserStatus::Active) => query.filter(user::Column::SuspendedAt.is_null()),
        Some(UserStatus::Suspended) => query
            .filter(user::Column::SuspendedAt.is_not_null())
            .filter(user::Column::ErasedAt.is_null()),
        Some(UserStatus::Erased) => query.filter(user::Column::ErasedAt.is_not_null()),
    };
    if let Some(before) = which.before {
        query = query.filter(user::Column::Id.lt(before));
    }
    Ok(query.all(connection).await?.into_iter().map(user).collect())
}

/// Waits for, and holds until the end of the transaction, the lock under which an account is suspended or erased.
/// False where there is no such account, or it is suspended.
///
/// # Errors
/// When the database fails.
pub async fn lock_active_user(tx: &DatabaseTransaction, id: UserId) -> Result<bool, DbErr> {
    let locked = user::Entity::update_many()
        .col_expr(user::Column::Id, Expr::value(id))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::SuspendedAt.is_null())
        .exec(tx)
        .await?;
    Ok(locked.rows_affected == 1)
}

/// Whether this call suspended the account.
///
/// # Errors
/// When the database fails.
pub async fn mark_suspended(
    tx: &DatabaseTransaction,
    id: UserId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = user::Entity::update_many()
        .col_expr(user::Column::SuspendedAt, Expr::value(now))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::SuspendedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Whether this call ended the suspension. An account that was erased stays so.
///
/// # Errors
/// When the database fails.
pub async fn mark_resumed(tx: &DatabaseTransaction, id: UserId) -> Result<bool, DbErr> {
    let updated = user::Entity::update_many()
        .col_expr(user::Column::SuspendedAt, Expr::value(None::<Timestamp>))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::SuspendedAt.is_not_null())
        .filter(user::Column::ErasedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Takes from the account all that names its person, and suspends it for good: true for the call that did.
///
/// # Errors
/// When the database fails.
pub async fn mark_erased(
    tx: &DatabaseTransaction,
    id: UserId,
    now: Timestamp,
    email: &str,
    name: &str,
    password_hash: &str,
) -> Result<bool, DbErr> {
    let updated = user::Entity::update_many()
        .col_expr(user::Column::Email, Expr::value(email))
        .col_expr(user::Column::Name, Expr::value(name))
        .col_expr(user::Column::PasswordHash, Expr::value(password_hash))
        .col_expr(user::Column::SuspendedAt, Expr::value(now))
        .col_expr(user::Column::ErasedAt, Expr::value(now))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::ErasedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Logs the user out everywhere.
///
/// # Errors
/// When the database fails.
pub async fn delete_sessions(tx: &DatabaseTransaction, id: UserId) -> Result<u64, DbErr> {
    let deleted =
        session::Entity::delete_many().filter(session::Column::UserId.eq(id)).exec(tx).await?;
    Ok(deleted.rows_affected)
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
        erased_at: Set(new.erased_at),
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

/// Puts one password hash in the place of another, if that is the account's still and nobody has suspended it; holds the
/// account's row until the end of the transaction. With the same hash twice it finds out whether it is still good.
pub(super) async fn replace_password_hash(
    tx: &DatabaseTransaction,
    id: UserId,
    from: &str,
    to: &str,
) -> Result<bool, DbErr> {
    let updated = user::Entity::update_many()
        .col_expr(user::Column::PasswordHash, Expr::value(to))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::PasswordHash.eq(from))
        .filter(user::Column::SuspendedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Whether the account is there to be called by another name.
pub(super) async fn update_name(
    tx: &DatabaseTransaction,
    id: UserId,
    name: &str,
) -> Result<bool, DbErr> {
    let updated = user::Entity::update_many()
        .col_expr(user::Column::Name, Expr::value(name))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::SuspendedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// A session to be.
pub(super) struct NewSession<'a> {
    pub id: SessionId,
    pub digest: [u8; 32],
    pub user: UserId,
    pub began_at: Timestamp,
    pub expires_at: Timestamp,
    pub source: &'a Source,
}

pub(super) async fn insert_session(
    connection: &impl ConnectionTrait,
    new: NewSession<'_>,
) -> Result<(), DbErr> {
    let row = session::ActiveModel {
        id: Set(new.id),
        digest: Set(new.digest.to_vec()),
        user_id: Set(new.user),
        created_at: Set(new.began_at),
        authenticated_at: Set(new.began_at),
        expires_at: Set(new.expires_at),
        user_agent: Set(new.source.user_agent.clone()),
        address: Set(new.source.address.clone()),
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

/// Writes down that the password was entered in this session now; false where there is no such session any more.
pub(super) async fn mark_authenticated(
    tx: &DatabaseTransaction,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = session::Entity::update_many()
        .col_expr(session::Column::AuthenticatedAt, Expr::value(now))
        .filter(session::Column::Id.eq(id))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
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

/// The person's sessions that are still good, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_sessions(
    connection: &impl ConnectionTrait,
    user: UserId,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<OpenSession>, DbErr> {
    let rows = session::Entity::find()
        .filter(session::Column::UserId.eq(user))
        .filter(session::Column::ExpiresAt.gt(now))
        .order_by_desc(session::Column::Id)
        .limit(limit)
        .all(connection)
        .await?;
    let open = rows.into_iter().map(|row| OpenSession {
        id: row.id,
        began_at: row.created_at,
        authenticated_at: row.authenticated_at,
        expires_at: row.expires_at,
        user_agent: row.user_agent,
        address: row.address,
    });
    Ok(open.collect())
}

/// Whether this call ended the session, and it was this person's.
pub(super) async fn delete_own_session(
    tx: &DatabaseTransaction,
    user: UserId,
    id: SessionId,
) -> Result<bool, DbErr> {
    let deleted = session::Entity::delete_many()
        .filter(session::Column::Id.eq(id))
        .filter(session::Column::UserId.eq(user))
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected == 1)
}

/// Logs the user out everywhere but in one session; says of how many.
pub(super) async fn delete_other_sessions(
    tx: &DatabaseTransaction,
    user: UserId,
    kept: SessionId,
) -> Result<u64, DbErr> {
    let deleted = session::Entity::delete_many()
        .filter(session::Column::UserId.eq(user))
        .filter(session::Column::Id.ne(kept))
        .exec(tx)
        .await?;
    Ok(deleted.rows_affected)
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

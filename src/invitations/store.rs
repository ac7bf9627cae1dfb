use entity::{InvitationId, OrganizationId, Timestamp, invitation};
use sea_orm::sea_query::{Expr, LikeExpr};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Set,
};

use super::{Invitation, Status};
use crate::platform::db::search_text;

fn invitation(row: invitation::Model) -> Result<Invitation, DbErr> {
    Ok(Invitation {
        role: row
            .role
            .parse()
            .map_err(|_| DbErr::Type(format!("invitations {}: role is damaged", row.id)))?,
        id: row.id,
        organization: row.organization_id,
        email: row.email,
        invited_by: row.invited_by,
        created_at: row.created_at,
        expires_at: row.expires_at,
        accepted_at: row.accepted_at,
        revoked_at: row.revoked_at,
    })
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    new: &Invitation,
    digest: [u8; 32],
) -> Result<(), DbErr> {
    let row = invitation::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        email: Set(new.email.clone()),
        role: Set(new.role.to_string()),
        digest: Set(digest.to_vec()),
        invited_by: Set(new.invited_by),
        created_at: Set(new.created_at),
        expires_at: Set(new.expires_at),
        accepted_at: Set(new.accepted_at),
        revoked_at: Set(new.revoked_at),
    };
    row.insert(tx).await?;
    Ok(())
}

/// The invitation of this organization, or of any.
pub(super) async fn find(
    connection: &impl ConnectionTrait,
    organization: Option<OrganizationId>,
    id: InvitationId,
) -> Result<Option<Invitation>, DbErr> {
    let mut query = invitation::Entity::find_by_id(id);
    if let Some(organization) = organization {
        query = query.filter(invitation::Column::OrganizationId.eq(organization));
    }
    query.one(connection).await?.map(invitation).transpose()
}

pub(super) async fn find_by_digest(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
) -> Result<Option<Invitation>, DbErr> {
    let query = invitation::Entity::find();
    let query = query.filter(invitation::Column::Digest.eq(digest.to_vec()));
    query.one(connection).await?.map(invitation).transpose()
}

/// Which invitations to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListInvitations<'a> {
    pub organization: Option<OrganizationId>,
    pub status: Option<Status>,
    /// How the address begins.
    pub email: Option<&'a str>,
    pub before: Option<InvitationId>,
    pub limit: u64,
}

/// Invitations, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    which: ListInvitations<'_>,
) -> Result<Vec<Invitation>, DbErr> {
    let mut query =
        invitation::Entity::find().order_by_desc(invitation::Column::Id).limit(which.limit);
    if let Some(organization) = which.organization {
        query = query.filter(invitation::Column::OrganizationId.eq(organization));
    }
    if let Some(status) = which.status {
        query = of_status(query, status, now);
    }
    if let Some(email) = which.email {
        // Addresses are kept in lower case. What stands for other text in a pattern stands for itself here.
        let text: String = search_text(email)
            .chars()
            .flat_map(|letter| {
                matches!(letter, '%' | '_' | '\\').then_some('\\').into_iter().chain([letter])
            })
            .collect();
        let pattern = LikeExpr::new(format!("{text}%")).escape('\\');
        query = query.filter(invitation::Column::Email.like(pattern));
    }
    if let Some(before) = which.before {
        query = query.filter(invitation::Column::Id.lt(before));
    }
    query.all(connection).await?.into_iter().map(invitation).collect()
}

fn of_status(
    query: Select<invitation::Entity>,
    status: Status,
    now: Timestamp,
) -> Select<invitation::Entity> {
    use invitation::Column::{AcceptedAt, ExpiresAt, RevokedAt};
    match status {
        Status::Accepted => query.filter(AcceptedAt.is_not_null()),
        Status::Revoked => query.filter(AcceptedAt.is_null()).filter(RevokedAt.is_not_null()),
        Status::Expired => query
            .filter(AcceptedAt.is_null())
            .filter(RevokedAt.is_null())
            .filter(ExpiresAt.lte(now)),
        Status::Open => {
            query.filter(AcceptedAt.is_null()).filter(RevokedAt.is_null()).filter(ExpiresAt.gt(now))
        }
    }
}

/// The invitation that this call accepted; none where it was not open.
pub(super) async fn mark_accepted(
    tx: &DatabaseTransaction,
    now: Timestamp,
    digest: [u8; 32],
) -> Result<Option<Invitation>, DbErr> {
    let rows = invitation::Entity::update_many()
        .col_expr(invitation::Column::AcceptedAt, Expr::value(now))
        .filter(invitation::Column::Digest.eq(digest.to_vec()))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .filter(invitation::Column::ExpiresAt.gt(now))
        .exec_with_returning(tx)
        .await?;
    rows.into_iter().next().map(invitation).transpose()
}

/// The organization of the invitation that this call revoked; none where it was accepted or revoked before.
pub(super) async fn mark_revoked(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: Option<OrganizationId>,
    id: InvitationId,
) -> Result<Option<OrganizationId>, DbErr> {
    let mut update = invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(now))
        .filter(invitation::Column::Id.eq(id))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null());
    if let Some(organization) = organization {
        update = update.filter(invitation::Column::OrganizationId.eq(organization));
    }
    let rows = update.exec_with_returning(tx).await?;
    Ok(rows.first().map(|row| row.organization_id))
}

/// Revokes the open invitations of an address; says which they were.
pub(super) async fn revoke_open(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: OrganizationId,
    email: &str,
) -> Result<Vec<InvitationId>, DbErr> {
    let rows = invitation::Entity::update_many()
        .col_expr(invitation::Column::RevokedAt, Expr::value(now))
        .filter(invitation::Column::OrganizationId.eq(organization))
        .filter(invitation::Column::Email.eq(email))
        .filter(invitation::Column::AcceptedAt.is_null())
        .filter(invitation::Column::RevokedAt.is_null())
        .filter(invitation::Column::ExpiresAt.gt(now))
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

use std::collections::BTreeSet;
use std::time::Duration;

use entity::{
    ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId,
    authorization_code, client, consent, grant,
};
use portcullis_verifier::ScopeSet;
use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction,
    DbErr, EntityTrait as _, FromQueryResult, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Set,
};

use super::{Code, Grant, Refresh, Status};
use crate::revocation::{About, LONGEST_TOKEN_LIFETIME, Subject};

pub(super) async fn insert_code(
    tx: &DatabaseTransaction,
    now: Timestamp,
    digest: [u8; 32],
    code: &Code,
) -> Result<(), DbErr> {
    let row = authorization_code::ActiveModel {
        digest: Set(digest.to_vec()),
        grant_id: Set(code.grant),
        client_id: Set(code.client),
        user_id: Set(code.user),
        organization_id: Set(code.organization),
        project_id: Set(code.project),
        resource_server_id: Set(code.resource_server),
        scopes: Set(code.scopes.to_string()),
        redirect_uri: Set(code.redirect_uri.clone()),
        code_challenge: Set(code.code_challenge.clone()),
        created_at: Set(now),
        expires_at: Set(code.expires_at),
        redeemed_at: Set(None),
    };
    row.insert(tx).await?;
    Ok(())
}

pub(super) async fn find_code(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
) -> Result<Option<Code>, DbErr> {
    let row = authorization_code::Entity::find_by_id(digest.to_vec()).one(connection).await?;
    row.map(|row| {
        let damaged = || {
            DbErr::Type(format!("authorization_codes of grant {}: scopes is damaged", row.grant_id))
        };
        Ok(Code {
            scopes: row.scopes.parse().map_err(|_| damaged())?,
            grant: row.grant_id,
            client: row.client_id,
            user: row.user_id,
            organization: row.organization_id,
            project: row.project_id,
            resource_server: row.resource_server_id,
            redirect_uri: row.redirect_uri,
            code_challenge: row.code_challenge,
            expires_at: row.expires_at,
            is_redeemed: row.redeemed_at.is_some(),
        })
    })
    .transpose()
}

pub(super) async fn redeem_code(
    tx: &DatabaseTransaction,
    now: Timestamp,
    digest: [u8; 32],
) -> Result<bool, DbErr> {
    let updated = authorization_code::Entity::update_many()
        .col_expr(authorization_code::Column::RedeemedAt, Expr::value(now))
        .filter(authorization_code::Column::Digest.eq(digest.to_vec()))
        .filter(authorization_code::Column::RedeemedAt.is_null())
        .filter(authorization_code::Column::ExpiresAt.gt(now))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Removes codes that expired long ago; until then a replay is recognised. Says how many.
///
/// # Errors
/// When the database fails.
pub async fn delete_expired_codes(
    connection: &impl ConnectionTrait,
    now: Timestamp,
) -> Result<u64, DbErr> {
    const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
    let deleted = authorization_code::Entity::delete_many()
        .filter(authorization_code::Column::ExpiresAt.lt(now - REMEMBERED))
        .exec(connection)
        .await?;
    Ok(deleted.rows_affected)
}

/// # Errors
/// When the database fails.
pub async fn insert(tx: &DatabaseTransaction, new: &Grant) -> Result<(), DbErr> {
    let refresh = new.refresh.as_ref();
    let row = grant::ActiveModel {
        id: Set(new.id),
        client_id: Set(new.client),
        user_id: Set(new.user),
        organization_id: Set(new.organization),
        project_id: Set(new.project),
        resource_server_id: Set(new.resource_server),
        scopes: Set(new.scopes.to_string()),
        created_at: Set(new.created_at),
        ended_at: Set(new.ended_at),
        generation: Set(refresh.map_or(0, |refresh| refresh.generation)),
        refresh_expires_at: Set(refresh.map(|refresh| refresh.expires_at)),
        absolute_expires_at: Set(refresh.map(|refresh| refresh.absolute_expires_at)),
        rotated_at: Set(refresh.map(|refresh| refresh.rotated_at)),
        retry_answer: Set(None),
    };
    row.insert(tx).await?;
    Ok(())
}

/// # Errors
/// When the database fails.
pub async fn find(connection: &impl ConnectionTrait, id: GrantId) -> Result<Option<Grant>, DbErr> {
    grant::Entity::find_by_id(id).one(connection).await?.map(grant).transpose()
}

fn grant(row: grant::Model) -> Result<Grant, DbErr> {
    let refresh = match (row.refresh_expires_at, row.absolute_expires_at, row.rotated_at) {
        (Some(expires_at), Some(absolute_expires_at), Some(rotated_at)) => Some(Refresh {
            generation: row.generation,
            expires_at,
            absolute_expires_at,
            rotated_at,
            retry_answer: row.retry_answer,
        }),
        _ => None,
    };
    Ok(Grant {
        scopes: row
            .scopes
            .parse()
            .map_err(|_| DbErr::Type(format!("grants {}: scopes is damaged", row.id)))?,
        id: row.id,
        client: row.client_id,
        user: row.user_id,
        organization: row.organization_id,
        project: row.project_id,
        resource_server: row.resource_server_id,
        created_at: row.created_at,
        ended_at: row.ended_at,
        refresh,
    })
}

/// Which grants to list.
#[derive(Debug, Clone, Copy)]
pub struct ListGrants {
    pub organization: OrganizationId,
    pub user: Option<UserId>,
    pub client: Option<ClientId>,
    pub project: Option<ProjectId>,
    pub status: Option<Status>,
    pub before: Option<GrantId>,
    pub limit: u64,
}

/// The organization's grants, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &impl ConnectionTrait,
    which: ListGrants,
) -> Result<Vec<Grant>, DbErr> {
    let mut query = grant::Entity::find()
        .filter(grant::Column::OrganizationId.eq(which.organization))
        .order_by_desc(grant::Column::Id)
        .limit(which.limit);
    if let Some(user) = which.user {
        query = query.filter(grant::Column::UserId.eq(user));
    }
    if let Some(client) = which.client {
        query = query.filter(grant::Column::ClientId.eq(client));
    }
    if let Some(project) = which.project {
        query = query.filter(grant::Column::ProjectId.eq(project));
    }
    query = match which.status {
        Some(Status::Active) => query.filter(grant::Column::EndedAt.is_null()),
        Some(Status::Ended) => query.filter(grant::Column::EndedAt.is_not_null()),
        None => query,
    };
    if let Some(before) = which.before {
        query = query.filter(grant::Column::Id.lt(before));
    }
    query.all(connection).await?.into_iter().map(grant).collect()
}

/// What the living grants of one person come to that allow the same: a login makes another grant each time.
#[derive(Debug)]
pub(super) struct Allowed {
    pub client: ClientId,
    pub organization: OrganizationId,
    pub resource_server: ResourceServerId,
    pub scopes: ScopeSet,
    pub first: Timestamp,
    /// When tokens were last made; none where there is but a consent.
    pub last: Option<Timestamp>,
}

#[derive(FromQueryResult)]
struct AllowedRow {
    client_id: ClientId,
    organization_id: OrganizationId,
    resource_server_id: ResourceServerId,
    scopes: String,
    first: Timestamp,
    made: Option<Timestamp>,
    rotated: Option<Timestamp>,
}

impl AllowedRow {
    fn allowed(self) -> Result<Allowed, DbErr> {
        let client = self.client_id;
        Ok(Allowed {
            scopes: self
                .scopes
                .parse()
                .map_err(|_| DbErr::Type(format!("a grant of {client}: scopes is damaged")))?,
            client,
            organization: self.organization_id,
            resource_server: self.resource_server_id,
            first: self.first,
            last: self.made.max(self.rotated),
        })
    }
}

/// What the person's living grants allow.
pub(super) async fn list_allowed(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<Vec<Allowed>, DbErr> {
    let rows: Vec<AllowedRow> = grant::Entity::find()
        .select_only()
        .column(grant::Column::ClientId)
        .column(grant::Column::OrganizationId)
        .column(grant::Column::ResourceServerId)
        .column(grant::Column::Scopes)
        .column_as(grant::Column::CreatedAt.min(), "first")
        .column_as(grant::Column::CreatedAt.max(), "made")
        .column_as(grant::Column::RotatedAt.max(), "rotated")
        .filter(grant::Column::UserId.eq(user))
        .filter(grant::Column::EndedAt.is_null())
        .group_by(grant::Column::ClientId)
        .group_by(grant::Column::OrganizationId)
        .group_by(grant::Column::ResourceServerId)
        .group_by(grant::Column::Scopes)
        .into_model()
        .all(connection)
        .await?;
    rows.into_iter().map(AllowedRow::allowed).collect()
}

/// What the person has consented to and what is remembered of it.
pub(super) async fn list_agreed(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<Vec<Allowed>, DbErr> {
    let rows =
        consent::Entity::find().filter(consent::Column::UserId.eq(user)).all(connection).await?;
    let agreed = rows.into_iter().map(|row| AllowedRow {
        client_id: row.client_id,
        organization_id: row.organization_id,
        resource_server_id: row.resource_server_id,
        scopes: row.scope,
        first: row.granted_at,
        made: None,
        rotated: None,
    });
    agreed.map(AllowedRow::allowed).collect()
}

/// One step of a refresh token from its generation to the next.
pub struct Advance {
    pub from_generation: i64,
    pub expires_at: Timestamp,
    /// What the presented token got, sealed under a key that only it yields.
    pub retry_answer: Vec<u8>,
}

/// Takes the step if the grant still stands where it starts: true for exactly one caller.
///
/// # Errors
/// When the database fails.
pub async fn advance(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    id: GrantId,
    step: Advance,
) -> Result<bool, DbErr> {
    let updated = grant::Entity::update_many()
        .col_expr(grant::Column::Generation, Expr::value(step.from_generation + 1))
        .col_expr(grant::Column::RefreshExpiresAt, Expr::value(step.expires_at))
        .col_expr(grant::Column::RotatedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(step.retry_answer))
        .filter(grant::Column::Id.eq(id))
        .filter(grant::Column::Generation.eq(step.from_generation))
        .filter(grant::Column::EndedAt.is_null())
        .filter(grant::Column::RefreshExpiresAt.gt(now))
        .exec(connection)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Forgets answers whose retry window has closed; says how many.
///
/// # Errors
/// When the database fails.
pub async fn clear_retry_answers(
    connection: &impl ConnectionTrait,
    now: Timestamp,
) -> Result<u64, DbErr> {
    const LONGEST_WINDOW: Duration = Duration::from_secs(60);
    let cleared = grant::Entity::update_many()
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::RotatedAt.lt(now - LONGEST_WINDOW))
        .filter(grant::Column::RetryAnswer.is_not_null())
        .exec(connection)
        .await?;
    Ok(cleared.rows_affected)
}

/// Ends every living grant that is confined to the project; says how many. The log and the audit trail are for the
/// caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_of_project(
    tx: &DatabaseTransaction,
    now: Timestamp,
    project: ProjectId,
) -> Result<u64, DbErr> {
    let updated = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::ProjectId.eq(project))
        .filter(grant::Column::EndedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected)
}

/// Ends every living grant in the organization, and those of its clients elsewhere; says how many. The log and the audit
/// trail are for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_of_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: OrganizationId,
) -> Result<u64, DbErr> {
    let its_clients = Query::select()
        .column(client::Column::Id)
        .from(client::Entity)
        .and_where(client::Column::OrganizationId.eq(organization))
        .to_owned();
    let updated = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(
            Condition::any()
                .add(grant::Column::OrganizationId.eq(organization))
                .add(grant::Column::ClientId.in_subquery(its_clients)),
        )
        .filter(grant::Column::EndedAt.is_null())
        .exec(tx)
        .await?;
    consent::Entity::delete_many()
        .filter(consent::Column::OrganizationId.eq(organization))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected)
}

/// Ends every living grant of the user's, in one organization or in all, and the codes that would have become one;
/// says which. The log and the audit trail are for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_of_user(
    tx: &DatabaseTransaction,
    now: Timestamp,
    user: UserId,
    organization: Option<OrganizationId>,
) -> Result<Vec<EndedGrant>, DbErr> {
    let mut codes = authorization_code::Entity::delete_many()
        .filter(authorization_code::Column::UserId.eq(user))
        .filter(authorization_code::Column::RedeemedAt.is_null());
    let mut update = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::UserId.eq(user))
        .filter(grant::Column::EndedAt.is_null());
    if let Some(organization) = organization {
        codes = codes.filter(authorization_code::Column::OrganizationId.eq(organization));
        update = update.filter(grant::Column::OrganizationId.eq(organization));
    }
    // The codes first: one that is being redeemed is waited for, and its grant is found by what follows.
    codes.exec(tx).await?;
    let ended = update.exec_with_returning(tx).await?;
    Ok(ended.into_iter().map(EndedGrant::of).collect())
}

/// Forgets what the user has consented to, in one organization or in all.
///
/// # Errors
/// When the database fails.
pub async fn forget_consents(
    tx: &DatabaseTransaction,
    user: UserId,
    organization: Option<OrganizationId>,
) -> Result<(), DbErr> {
    let mut consents = consent::Entity::delete_many().filter(consent::Column::UserId.eq(user));
    if let Some(organization) = organization {
        consents = consents.filter(consent::Column::OrganizationId.eq(organization));
    }
    consents.exec(tx).await?;
    Ok(())
}

/// A grant that has just ended.
pub struct EndedGrant {
    pub id: GrantId,
    pub organization: OrganizationId,
    pub resource_server: ResourceServerId,
    pub has_refresh_token: bool,
    /// When its last token was issued; none where that is not written down, for a client that acts for itself.
    pub last_issued_at: Option<Timestamp>,
}

impl EndedGrant {
    fn of(row: grant::Model) -> Self {
        Self {
            id: row.id,
            organization: row.organization_id,
            resource_server: row.resource_server_id,
            has_refresh_token: row.refresh_expires_at.is_some(),
            last_issued_at: row.user_id.map(|_| row.rotated_at.unwrap_or(row.created_at)),
        }
    }

    /// What the log says of it.
    #[must_use]
    pub fn about(&self) -> About {
        Subject::Grant(self.id).at(self.organization, self.resource_server)
    }

    /// Whether a token of it may still be unexpired, and so is to be killed by the log.
    #[must_use]
    pub fn may_have_a_token(&self, now: Timestamp) -> bool {
        self.last_issued_at.is_none_or(|at| at + LONGEST_TOKEN_LIFETIME > now)
    }
}

/// Ends every living grant for the resource server. The log and the audit trail are for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn end_of_resource_server(
    tx: &DatabaseTransaction,
    now: Timestamp,
    resource_server: ResourceServerId,
) -> Result<Vec<EndedGrant>, DbErr> {
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::ResourceServerId.eq(resource_server))
        .filter(grant::Column::EndedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(EndedGrant::of).collect())
}

/// Which of an organization's living grants: all that is said must hold.
#[derive(Debug, Clone, Copy)]
pub struct LivingGrants {
    pub organization: OrganizationId,
    pub id: Option<GrantId>,
    pub user: Option<UserId>,
    pub client: Option<ClientId>,
}

impl LivingGrants {
    #[must_use]
    pub fn of(organization: OrganizationId) -> Self {
        Self { organization, id: None, user: None, client: None }
    }

    fn condition(&self) -> Condition {
        Condition::all()
            .add(grant::Column::OrganizationId.eq(self.organization))
            .add(grant::Column::EndedAt.is_null())
            .add_option(self.id.map(|id| grant::Column::Id.eq(id)))
            .add_option(self.user.map(|user| grant::Column::UserId.eq(user)))
            .add_option(self.client.map(|client| grant::Column::ClientId.eq(client)))
    }
}

/// How many grants there are to end, and how many of them have a refresh token.
///
/// # Errors
/// When the database fails.
pub async fn count_living(
    connection: &impl ConnectionTrait,
    which: LivingGrants,
) -> Result<(u64, u64), DbErr> {
    let living = || grant::Entity::find().filter(which.condition());
    let with_refresh_token = living().filter(grant::Column::RefreshExpiresAt.is_not_null());
    Ok((living().count(connection).await?, with_refresh_token.count(connection).await?))
}

/// Deletes the codes that would become such a grant.
pub(super) async fn delete_codes(
    tx: &DatabaseTransaction,
    which: LivingGrants,
) -> Result<(), DbErr> {
    use authorization_code::Column;
    let condition = Condition::all()
        .add(Column::OrganizationId.eq(which.organization))
        .add(Column::RedeemedAt.is_null())
        .add_option(which.id.map(|id| Column::GrantId.eq(id)))
        .add_option(which.user.map(|user| Column::UserId.eq(user)))
        .add_option(which.client.map(|client| Column::ClientId.eq(client)));
    authorization_code::Entity::delete_many().filter(condition).exec(tx).await?;
    Ok(())
}

/// The next of them, in the order in which everybody locks them.
pub(super) async fn lock_living(
    tx: &DatabaseTransaction,
    which: LivingGrants,
    after: Option<GrantId>,
    limit: u64,
) -> Result<Vec<GrantId>, DbErr> {
    let query = grant::Entity::find().select_only().column(grant::Column::Id);
    let further_on = after.map(|after| grant::Column::Id.gt(after));
    query
        .filter(which.condition().add_option(further_on))
        .order_by_asc(grant::Column::Id)
        .limit(limit)
        .lock_exclusive()
        .into_tuple()
        .all(tx)
        .await
}

/// Ends those of them that live; says which.
pub(super) async fn mark_all_ended(
    tx: &DatabaseTransaction,
    now: Timestamp,
    ids: &[GrantId],
) -> Result<Vec<EndedGrant>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::Id.is_in(ids.iter().copied()))
        .filter(grant::Column::EndedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(EndedGrant::of).collect())
}

/// The grant that this call ended; none where there was nothing to end.
pub(super) async fn mark_ended(
    tx: &DatabaseTransaction,
    id: GrantId,
    now: Timestamp,
) -> Result<Option<EndedGrant>, DbErr> {
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::Id.eq(id))
        .filter(grant::Column::EndedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().next().map(EndedGrant::of))
}

/// Ends the person's living grants with the client, in every organization; says which they were.
pub(super) async fn end_of_person(
    tx: &DatabaseTransaction,
    now: Timestamp,
    user: UserId,
    client: ClientId,
) -> Result<Vec<EndedGrant>, DbErr> {
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(grant::Column::UserId.eq(user))
        .filter(grant::Column::ClientId.eq(client))
        .filter(grant::Column::EndedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(EndedGrant::of).collect())
}

/// Spends the codes that the client could still redeem for the person; says how many.
pub(super) async fn spend_codes(
    tx: &DatabaseTransaction,
    now: Timestamp,
    user: UserId,
    client: ClientId,
) -> Result<u64, DbErr> {
    let updated = authorization_code::Entity::update_many()
        .col_expr(authorization_code::Column::RedeemedAt, Expr::value(now))
        .filter(authorization_code::Column::UserId.eq(user))
        .filter(authorization_code::Column::ClientId.eq(client))
        .filter(authorization_code::Column::RedeemedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected)
}

/// Forgets what the person has consented to for the client; says in which organizations that was.
pub(super) async fn forget_consents_to(
    tx: &DatabaseTransaction,
    user: UserId,
    client: ClientId,
) -> Result<BTreeSet<OrganizationId>, DbErr> {
    let rows = consent::Entity::delete_many()
        .filter(consent::Column::UserId.eq(user))
        .filter(consent::Column::ClientId.eq(client))
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.organization_id).collect())
}

/// What a user has consented to in one organization.
pub struct Consent {
    pub organization: OrganizationId,
    /// The project that it was confined to.
    pub project: Option<ProjectId>,
    pub scopes: ScopeSet,
}

/// What the user has consented to for this client and resource server, by organization, latest first.
///
/// # Errors
/// When the database fails.
pub async fn list_consents(
    connection: &impl ConnectionTrait,
    user: UserId,
    client: ClientId,
    resource_server: ResourceServerId,
) -> Result<Vec<Consent>, DbErr> {
    let rows = consent::Entity::find()
        .filter(consent::Column::UserId.eq(user))
        .filter(consent::Column::ClientId.eq(client))
        .filter(consent::Column::ResourceServerId.eq(resource_server))
        .order_by_desc(consent::Column::GrantedAt)
        .all(connection)
        .await?;
    let mut consents: Vec<Consent> = Vec::new();
    for row in rows {
        let damaged = |_| DbErr::Type(format!("consents {user} {client}: a scope is damaged"));
        let scope = row.scope.parse().map_err(damaged)?;
        // What was agreed to for one project is no word about another, nor about the whole organization.
        let same = |it: &&mut Consent| {
            it.organization == row.organization_id && it.project == row.project_id
        };
        match consents.iter_mut().find(same) {
            Some(consent) => consent.scopes.insert(scope),
            None => consents.push(Consent {
                organization: row.organization_id,
                project: row.project_id,
                scopes: ScopeSet::from_iter([scope]),
            }),
        }
    }
    Ok(consents)
}

/// Adds what the code is made for to what its user has consented to.
///
/// # Errors
/// When the database fails.
pub async fn remember_consent(
    tx: &DatabaseTransaction,
    now: Timestamp,
    code: &Code,
) -> Result<(), DbErr> {
    let rows = code.scopes.iter().map(|scope| consent::ActiveModel {
        user_id: Set(code.user),
        client_id: Set(code.client),
        organization_id: Set(code.organization),
        resource_server_id: Set(code.resource_server),
        scope: Set(scope.to_string()),
        project_id: Set(code.project),
        granted_at: Set(now),
    });
    let key = [
        consent::Column::UserId,
        consent::Column::ClientId,
        consent::Column::OrganizationId,
        consent::Column::ResourceServerId,
        consent::Column::Scope,
    ];
    let on_conflict = OnConflict::columns(key)
        .update_columns([consent::Column::GrantedAt, consent::Column::ProjectId])
        .to_owned();
    consent::Entity::insert_many(rows).on_conflict(on_conflict).exec_without_returning(tx).await?;
    Ok(())
}

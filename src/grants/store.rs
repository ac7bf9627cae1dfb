use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use entity::{
    ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, Timestamp, UserId,
    authorization_code, client, consent, grant, membership, project, user,
};
use portcullis_verifier::{Scope, ScopeSet};
use sea_orm::sea_query::{
    CommonTableExpression, Expr, IntoIden as _, OnConflict, Order, Query, SelectStatement,
    TableRef, ValueTuple,
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend,
    DbErr, EntityTrait, FromQueryResult, JoinType, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QueryResult, QuerySelect as _, Select, Set,
};

use super::queues::{Digest, Step};
use super::{Code, Grant, Refresh, Standing, Status};
use crate::platform::db::{self, padded};
use crate::revocation::{About, LONGEST_TOKEN_LIFETIME, Subject};
use crate::tenancy::{self, MemberRole};

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

fn code(row: authorization_code::Model) -> Result<Code, DbErr> {
    let damaged =
        || DbErr::Type(format!("authorization_codes of grant {}: scopes is damaged", row.grant_id));
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
}

/// Redeems those of the codes that can be; says which.
pub(super) async fn redeem_codes(
    tx: &DatabaseTransaction,
    now: Timestamp,
    digests: Vec<Digest>,
) -> Result<Vec<Digest>, DbErr> {
    use authorization_code::Column;
    let digests = padded(digests).into_iter().map(|digest| digest.to_vec());
    let which = Condition::all()
        .add(Column::Digest.is_in(digests))
        .add(Column::RedeemedAt.is_null())
        .add(Column::ExpiresAt.gt(now));
    let mut update = Query::update();
    update
        .table(authorization_code::Entity)
        .value(Column::RedeemedAt, now)
        .cond_where(in_order(tx, Column::Digest, which))
        .and_where(Column::RedeemedAt.is_null())
        .returning_col(Column::Digest);
    let damaged = |_| DbErr::Type("authorization_codes: a digest is damaged".to_owned());
    let rows = tx.query_all(&update).await?;
    rows.iter().map(|row| row.try_get_by_index::<Vec<u8>>(0)?.try_into().map_err(damaged)).collect()
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

pub(super) async fn insert_all<'a>(
    tx: &DatabaseTransaction,
    new: impl Iterator<Item = &'a Grant>,
) -> Result<(), DbErr> {
    let rows: Vec<_> = new.map(row).collect();
    db::insert_all(tx, &rows).await
}

fn row(new: &Grant) -> grant::ActiveModel {
    let refresh = new.refresh.as_ref();
    grant::ActiveModel {
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
    }
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

/// These grants, by their ids, and what stands behind each. A damaged one is the failure of whoever asked for it.
pub(super) async fn find_standing(
    connection: &impl ConnectionTrait,
    ids: &[GrantId],
) -> Result<HashMap<GrantId, Result<Arc<Standing<Grant>>, DbErr>>, DbErr> {
    use grant::Column;
    let ids: BTreeSet<GrantId> = ids.iter().copied().collect();
    let query = grant::Entity::find().filter(Column::Id.is_in(padded(ids.into_iter().collect())));
    let columns = [Column::UserId, Column::OrganizationId, Column::ProjectId];
    standing(connection, query, columns, |row| (row.id, row.project_id.is_some()), grant).await
}

/// The same of the grants that these codes will become.
pub(super) async fn find_standing_of_codes(
    connection: &impl ConnectionTrait,
    digests: &[Digest],
) -> Result<HashMap<Digest, Result<Arc<Standing<Code>>, DbErr>>, DbErr> {
    use authorization_code::Column;
    let asked: BTreeSet<&Digest> = digests.iter().collect();
    let asked = padded(asked.into_iter().map(|digest| digest.to_vec()).collect());
    let query = authorization_code::Entity::find().filter(Column::Digest.is_in(asked));
    let columns = [Column::UserId, Column::OrganizationId, Column::ProjectId];
    // Whatever else it were, nobody asked for it.
    let key = |row: &authorization_code::Model| {
        (Digest::try_from(row.digest.as_slice()).unwrap_or_default(), row.project_id.is_some())
    };
    standing(connection, query, columns, key, code).await
}

/// All that is asked of what stands behind the rows is joined with them; only roles that organizations have made for
/// themselves are read after it.
async fn standing<E: EntityTrait, K: Eq + Hash, T>(
    connection: &impl ConnectionTrait,
    query: Select<E>,
    [its_user, its_organization, its_project]: [E::Column; 3],
    key_and_is_confined: impl Fn(&E::Model) -> (K, bool),
    domain: impl Fn(E::Model) -> Result<T, DbErr>,
) -> Result<HashMap<K, Result<Arc<Standing<T>>, DbErr>>, DbErr> {
    let account = E::belongs_to(user::Entity).from(its_user).to(user::Column::Id);
    let role = E::belongs_to(membership::Entity)
        .from((its_organization, its_user))
        .to((membership::Column::OrganizationId, membership::Column::UserId));
    let project = E::belongs_to(project::Entity)
        .from((its_project, its_organization))
        .to((project::Column::Id, project::Column::OrganizationId));
    let query = query
        .join(JoinType::LeftJoin, account.into())
        .join(JoinType::LeftJoin, role.into())
        .join(JoinType::LeftJoin, project.into())
        .column_as(membership::Column::Role, "standing_role")
        .column_as(user::Column::Id, "standing_account")
        .column_as(user::Column::SuspendedAt, "account_suspended_at")
        .column_as(project::Column::Id, "found_project")
        .column_as(project::Column::DeletedAt, "found_project_deleted_at");
    let rows: Vec<StandingRow<E::Model>> = query.into_model().all(connection).await?;
    let roles = rows.iter().filter_map(|row| row.role.as_ref());
    let roles = tenancy::own_roles_of(connection, roles).await?;
    let found = rows.into_iter().map(|row| {
        let (key, is_confined) = key_and_is_confined(&row.of);
        let reach = row.role.map(|role| roles.scopes_of(&role)).transpose();
        let standing = reach.and_then(|reach| {
            let has_its_project = row.has_a_project || !is_confined;
            Ok(Arc::new(Standing { of: domain(row.of)?, has_its_project, reach }))
        });
        (key, standing)
    });
    Ok(found.collect())
}

struct StandingRow<M> {
    of: M,
    /// Of its user, where they are a member and not suspended.
    role: Option<MemberRole>,
    /// Whether it is confined to a project that is still there.
    has_a_project: bool,
}

impl<M: FromQueryResult> FromQueryResult for StandingRow<M> {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let organization = row.try_get("", "organization_id")?;
        let account: Option<UserId> = row.try_get("", "standing_account")?;
        let suspended_at: Option<Timestamp> = row.try_get("", "account_suspended_at")?;
        let role: Option<String> = row.try_get("", "standing_role")?;
        let project: Option<ProjectId> = row.try_get("", "found_project")?;
        let deleted_at: Option<Timestamp> = row.try_get("", "found_project_deleted_at")?;
        // Nobody's role counts whose account is suspended.
        let user = account.filter(|_| suspended_at.is_none());
        let role = user.zip(role).map(|(user, role)| MemberRole { organization, user, role });
        Ok(Self {
            of: M::from_query_result(row, "")?,
            role,
            has_a_project: project.is_some() && deleted_at.is_none(),
        })
    }
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

/// Takes those of the steps whose grants still stand where they start; says of which. No two are of one grant.
pub(super) async fn advance(
    connection: &impl ConnectionTrait,
    steps: &[&Step],
) -> Result<Vec<GrantId>, DbErr> {
    use grant::Column;
    use sea_orm::sea_query::ExprTrait as _;
    const STEP: &str = "step";
    const LOCKED: &str = "locked";
    let tuples = padded(steps.to_vec()).into_iter().map(|step| {
        ValueTuple::Many(vec![
            step.grant.into(),
            step.from_generation.into(),
            step.now.into(),
            step.expires_at.into(),
            step.retry_answer.clone().into(),
        ])
    });
    let of_the_grant = |column: Column| Expr::col((grant::Entity, column));
    // In the order of the values.
    let [id, from_generation, now, expires_at, retry_answer] =
        ["column1", "column2", "column3", "column4", "column5"].map(|it| Expr::col((STEP, it)));
    let ids = padded(steps.iter().map(|step| step.grant).collect());
    let these = Condition::all().add(Column::Id.is_in(ids));
    let mut update = Query::update();
    update
        .table(grant::Entity)
        .value(Column::Generation, from_generation.clone().add(1_i64))
        .value(Column::RefreshExpiresAt, expires_at)
        .value(Column::RotatedAt, now.clone())
        .value(Column::RetryAnswer, retry_answer)
        .from(TableRef::ValuesList(tuples.collect(), STEP.into_iden()))
        .and_where(of_the_grant(Column::Id).eq(id))
        .and_where(of_the_grant(Column::Generation).eq(from_generation))
        .and_where(of_the_grant(Column::EndedAt).is_null())
        .and_where(of_the_grant(Column::RefreshExpiresAt).gt(now))
        .returning_col(Column::Id);
    if connection.get_database_backend() != DbBackend::Sqlite {
        // With a name of its own it is carried out once; as a condition it may be for each step.
        let mut first = CommonTableExpression::new();
        first.table_name(LOCKED).column(Column::Id).query(locked(Column::Id, these));
        let them = Query::select().column(Column::Id).from(LOCKED).take();
        update.with_cte(first).and_where(of_the_grant(Column::Id).in_subquery(them));
    }
    let rows = connection.query_all(&update).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// These rows, locked in the order in which everybody locks them: of two who change several of the same none waits for
/// the other in a circle.
fn locked<C: ColumnTrait>(key: C, which: Condition) -> SelectStatement {
    let mut select = Query::select();
    select.column(key).from(key.entity_name()).cond_where(which);
    select.order_by(key, Order::Asc).lock_exclusive().take()
}

/// These rows, for a statement that changes them. SQLite has one writer at a time, and no locks.
fn in_order<C: ColumnTrait>(
    connection: &impl ConnectionTrait,
    key: C,
    which: Condition,
) -> Condition {
    match connection.get_database_backend() {
        DbBackend::Sqlite => which,
        // What was locked is as it was found until the end of the transaction.
        _ => Condition::all().add(key.in_subquery(locked(key, which))),
    }
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
    let which = Condition::all()
        .add(grant::Column::ProjectId.eq(project))
        .add(grant::Column::EndedAt.is_null());
    let updated = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(in_order(tx, grant::Column::Id, which))
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
    let any = Condition::any()
        .add(grant::Column::OrganizationId.eq(organization))
        .add(grant::Column::ClientId.in_subquery(its_clients));
    let which = Condition::all().add(any).add(grant::Column::EndedAt.is_null());
    let updated = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(in_order(tx, grant::Column::Id, which))
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
    use authorization_code::Column;
    let codes = Condition::all()
        .add(Column::UserId.eq(user))
        .add(Column::RedeemedAt.is_null())
        .add_option(organization.map(|it| Column::OrganizationId.eq(it)));
    let codes =
        authorization_code::Entity::delete_many().filter(in_order(tx, Column::Digest, codes));
    let which = Condition::all()
        .add(grant::Column::UserId.eq(user))
        .add(grant::Column::EndedAt.is_null())
        .add_option(organization.map(|it| grant::Column::OrganizationId.eq(it)));
    let update = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(in_order(tx, grant::Column::Id, which));
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
    let which = Condition::all()
        .add(grant::Column::ResourceServerId.eq(resource_server))
        .add(grant::Column::EndedAt.is_null());
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(in_order(tx, grant::Column::Id, which))
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
    let codes = in_order(tx, Column::Digest, condition);
    authorization_code::Entity::delete_many().filter(codes).exec(tx).await?;
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
    let which = Condition::all()
        .add(grant::Column::Id.is_in(padded(ids.to_vec())))
        .add(grant::Column::EndedAt.is_null());
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(in_order(tx, grant::Column::Id, which))
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
    let which = Condition::all()
        .add(grant::Column::UserId.eq(user))
        .add(grant::Column::ClientId.eq(client))
        .add(grant::Column::EndedAt.is_null());
    let rows = grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .col_expr(grant::Column::RetryAnswer, Expr::value(None::<Vec<u8>>))
        .filter(in_order(tx, grant::Column::Id, which))
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
    let which = Condition::all()
        .add(authorization_code::Column::UserId.eq(user))
        .add(authorization_code::Column::ClientId.eq(client))
        .add(authorization_code::Column::RedeemedAt.is_null());
    let updated = authorization_code::Entity::update_many()
        .col_expr(authorization_code::Column::RedeemedAt, Expr::value(now))
        .filter(in_order(tx, authorization_code::Column::Digest, which))
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

/// Forgets, of what the code's user has consented to before, all that reaches into what they have left out this time,
/// so that it is asked for again.
///
/// # Errors
/// When the database fails.
pub async fn forget_left_out(
    tx: &DatabaseTransaction,
    code: &Code,
    left_out: &ScopeSet,
) -> Result<(), DbErr> {
    let same = Condition::all()
        .add(consent::Column::UserId.eq(code.user))
        .add(consent::Column::ClientId.eq(code.client))
        .add(consent::Column::OrganizationId.eq(code.organization))
        .add(consent::Column::ResourceServerId.eq(code.resource_server));
    let rows = consent::Entity::find().filter(same.clone()).all(tx).await?;
    let reaches_into_it = |text: &str| {
        // What can't be read allows nothing, and may go.
        text.parse::<Scope>().map_or(true, |scope| {
            let is_left_out = left_out.iter().any(|it| it.meet(&scope).is_some());
            is_left_out && !code.scopes.covers(&scope)
        })
    };
    let stale: Vec<String> =
        rows.into_iter().map(|row| row.scope).filter(|text| reaches_into_it(text)).collect();
    if !stale.is_empty() {
        let stale = same.add(consent::Column::Scope.is_in(stale));
        consent::Entity::delete_many().filter(stale).exec(tx).await?;
    }
    Ok(())
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

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use entity::{
    ClientId, GrantId, OrganizationId, ResourceServerId, SecretId, Timestamp, client,
    client_audience, client_origin, client_secret, grant, organization,
};
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction,
    DbErr, EntityTrait as _, FromQueryResult, JoinType, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QueryResult, QuerySelect as _, Set,
};
use serde::Serialize;

use super::{Client, ClientAudience, ClientSecret, LeakedSecret, Status, web_origin};
use crate::platform::db::{begins_with, padded, search_text};
use crate::tenancy;

/// What people see of a client.
#[derive(Debug, Serialize)]
pub struct ClientSummary {
    pub id: ClientId,
    pub organization: OrganizationId,
    pub name: String,
    pub is_confidential: bool,
    pub requires_pkce: bool,
    pub grant_types: Vec<String>,
    pub redirect_uris: Vec<String>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// Every client of the organization, or of all, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: Option<OrganizationId>,
) -> Result<Vec<ClientSummary>, DbErr> {
    let mut query = client::Entity::find().order_by_asc(client::Column::Id);
    if let Some(organization) = organization {
        query = query.filter(client::Column::OrganizationId.eq(organization));
    }
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let rows = query.all(connection).await?;
    Ok(rows
        .into_iter()
        .map(|row| ClientSummary {
            id: row.id,
            organization: row.organization_id,
            name: row.name,
            is_confidential: row.is_confidential,
            requires_pkce: row.requires_pkce,
            grant_types: words(row.grant_types),
            redirect_uris: words(row.redirect_uris),
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
        .collect())
}

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    id: ClientId,
) -> Result<Option<Client>, DbErr> {
    let Some(mut row) = client::Entity::find_by_id(id).one(connection).await? else {
        return Ok(None);
    };
    // What was made beside the closing of its organization is as dead as the rest.
    if row.revoked_at.is_none() && tenancy::is_closed(connection, row.organization_id).await? {
        row.revoked_at = Some(row.created_at);
    }
    Ok(with_details(connection, vec![row]).await?.pop())
}

/// The clients as requests meet them: without what one was allowed for itself and somebody has ended, which the log
/// forgets sooner than we do. Three statements, however many are asked for; a damaged row is the error of its own client
/// alone.
pub(super) async fn find_for_requests(
    connection: &impl ConnectionTrait,
    ids: Vec<ClientId>,
) -> Result<HashMap<ClientId, Result<Client, DbErr>>, DbErr> {
    let ids = padded(ids);
    let organization = client::Entity::belongs_to(organization::Entity)
        .from(client::Column::OrganizationId)
        .to(organization::Column::Id);
    let rows = client::Entity::find()
        .column_as(organization::Column::ClosedAt, CLOSED_AT)
        .join(JoinType::InnerJoin, organization.into())
        .filter(client::Column::Id.is_in(ids.iter().copied()))
        .into_model::<ClientRow>()
        .all(connection)
        .await?;
    let grant = client_audience::Entity::belongs_to(grant::Entity)
        .from(client_audience::Column::OwnGrantId)
        .to(grant::Column::Id);
    let audiences = client_audience::Entity::find()
        .column_as(grant::Column::EndedAt, ENDED_AT)
        .join(JoinType::LeftJoin, grant.into())
        .filter(client_audience::Column::ClientId.is_in(ids.iter().copied()))
        .order_by_asc(client_audience::Column::ResourceServerId)
        .into_model::<AudienceRow>()
        .all(connection)
        .await?;
    let secrets = secrets_of(connection, ids).await?;
    let audiences = audiences.into_iter().map(|AudienceRow { mut row, ended_at }| {
        row.own_grant_id = row.own_grant_id.filter(|_| ended_at.is_none());
        row
    });
    let mut details = Details::new(audiences, secrets);
    let clients = rows.into_iter().map(|ClientRow { mut row, closed_at }| {
        // What was made beside the closing of its organization is as dead as the rest.
        row.revoked_at = row.revoked_at.or(closed_at.map(|_| row.created_at));
        (row.id, details.client(row))
    });
    Ok(clients.collect())
}

const CLOSED_AT: &str = "organization_closed_at";
const ENDED_AT: &str = "grant_ended_at";

struct ClientRow {
    row: client::Model,
    closed_at: Option<Timestamp>,
}

impl FromQueryResult for ClientRow {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        let closed_at = row.try_get(prefix, CLOSED_AT)?;
        Ok(Self { row: client::Model::from_query_result(row, prefix)?, closed_at })
    }
}

struct AudienceRow {
    row: client_audience::Model,
    /// When its own grant ended, if it has one and it did.
    ended_at: Option<Timestamp>,
}

impl FromQueryResult for AudienceRow {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        let ended_at = row.try_get(prefix, ENDED_AT)?;
        Ok(Self { row: client_audience::Model::from_query_result(row, prefix)?, ended_at })
    }
}

/// The organization's client, also where it was disabled or deleted.
pub(super) async fn find_of(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: ClientId,
) -> Result<Option<Client>, DbErr> {
    Ok(find(connection, id).await?.filter(|client| client.organization == organization))
}

/// What those of these clients are called that there are.
///
/// # Errors
/// When the database fails.
pub async fn names_of(
    connection: &impl ConnectionTrait,
    ids: Vec<ClientId>,
) -> Result<HashMap<ClientId, String>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let query = client::Entity::find()
        .select_only()
        .columns([client::Column::Id, client::Column::Name])
        .filter(client::Column::Id.is_in(padded(ids)));
    let names: Vec<(ClientId, String)> = query.into_tuple().all(connection).await?;
    Ok(names.into_iter().collect())
}

/// Whether the client is the organization's, also where it was disabled or deleted.
///
/// # Errors
/// When the database fails.
pub async fn belongs_to(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: ClientId,
) -> Result<bool, DbErr> {
    Ok(find_of(connection, organization, id).await?.is_some())
}

/// Which of an organization's clients to list.
pub(super) struct ListClients<'a> {
    pub organization: OrganizationId,
    /// None: whatever it is.
    pub status: Option<Status>,
    /// Whether those that were deleted are left out where no status is named.
    pub leaves_out_deleted: bool,
    /// How the name begins.
    pub name: Option<&'a str>,
    /// Goes on after an earlier page.
    pub before: Option<ClientId>,
    pub limit: u64,
}

/// Clients, newest first.
pub(super) async fn list_page(
    connection: &impl ConnectionTrait,
    which: ListClients<'_>,
) -> Result<Vec<Client>, DbErr> {
    let mut query = client::Entity::find()
        .filter(client::Column::OrganizationId.eq(which.organization))
        .order_by_desc(client::Column::Id)
        .limit(which.limit);
    let lives = client::Column::RevokedAt.is_null();
    query = match which.status {
        None if which.leaves_out_deleted => query.filter(lives),
        None => query,
        Some(Status::Deleted) => query.filter(client::Column::RevokedAt.is_not_null()),
        Some(Status::Disabled) => {
            query.filter(lives).filter(client::Column::DisabledAt.is_not_null())
        }
        Some(Status::Active) => query.filter(lives).filter(client::Column::DisabledAt.is_null()),
    };
    if let Some(name) = which.name {
        query = query.filter(begins_with(client::Column::SearchName, &search_text(name)));
    }
    if let Some(before) = which.before {
        query = query.filter(client::Column::Id.lt(before));
    }
    let rows = query.all(connection).await?;
    with_details(connection, rows).await
}

/// Joins each client with its resource servers and secrets.
async fn with_details(
    connection: &impl ConnectionTrait,
    rows: Vec<client::Model>,
) -> Result<Vec<Client>, DbErr> {
    let audiences = client_audience::Entity::find()
        .filter(client_audience::Column::ClientId.is_in(rows.iter().map(|row| row.id)))
        .order_by_asc(client_audience::Column::ResourceServerId)
        .all(connection)
        .await?;
    let secrets = secrets_of(connection, rows.iter().map(|row| row.id).collect()).await?;
    let mut details = Details::new(audiences.into_iter(), secrets);
    rows.into_iter().map(|row| details.client(row)).collect()
}

async fn secrets_of(
    connection: &impl ConnectionTrait,
    clients: Vec<ClientId>,
) -> Result<Vec<client_secret::Model>, DbErr> {
    client_secret::Entity::find()
        .filter(client_secret::Column::ClientId.is_in(clients))
        .order_by_asc(client_secret::Column::Id)
        .all(connection)
        .await
}

/// What else belongs to some clients, until it is given to them.
struct Details {
    audiences: HashMap<ClientId, Vec<client_audience::Model>>,
    secrets: HashMap<ClientId, Vec<client_secret::Model>>,
}

impl Details {
    fn new(
        audiences: impl Iterator<Item = client_audience::Model>,
        secrets: Vec<client_secret::Model>,
    ) -> Self {
        let mut details = Self { audiences: HashMap::new(), secrets: HashMap::new() };
        for row in audiences {
            details.audiences.entry(row.client_id).or_default().push(row);
        }
        for row in secrets {
            details.secrets.entry(row.client_id).or_default().push(row);
        }
        details
    }

    /// The client of this row, whole. Each is asked for once.
    fn client(&mut self, row: client::Model) -> Result<Client, DbErr> {
        let damaged = |what| DbErr::Type(format!("clients {}: a {what} is damaged", row.id));
        let audiences = self.audiences.remove(&row.id).unwrap_or_default();
        let audiences = audiences.into_iter().map(|row| {
            Ok(ClientAudience {
                resource_server: row.resource_server_id,
                allowed: row.allowed_scopes.parse().map_err(|_| damaged("scope"))?,
                default: row.default_scopes.parse().map_err(|_| damaged("scope"))?,
                own_grant: row.own_grant_id,
            })
        });
        let audiences = audiences.collect::<Result<_, DbErr>>()?;
        let secrets = self.secrets.remove(&row.id).unwrap_or_default();
        let secrets = secrets.into_iter().map(|row| {
            Ok(ClientSecret {
                id: row.id,
                digest: row.digest.try_into().map_err(|_| damaged("secret"))?,
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        });
        let secrets = secrets.collect::<Result<_, DbErr>>()?;
        client(row, audiences, secrets)
    }
}

fn client(
    row: client::Model,
    audiences: Vec<ClientAudience>,
    secrets: Vec<ClientSecret>,
) -> Result<Client, DbErr> {
    let damaged = |column: &str| DbErr::Type(format!("clients {}: {column} is damaged", row.id));
    let grant_types = row.grant_types.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let retry_seconds =
        u64::try_from(row.refresh_retry_seconds).map_err(|_| damaged("refresh_retry_seconds"))?;
    Ok(Client {
        grant_types: grant_types.map_err(|_| damaged("grant_types"))?,
        id: row.id,
        organization: row.organization_id,
        name: row.name,
        is_confidential: row.is_confidential,
        requires_pkce: row.requires_pkce,
        redirect_uris: row.redirect_uris.split_whitespace().map(str::to_owned).collect(),
        refresh_retry: Duration::from_secs(retry_seconds),
        audiences,
        is_first_party: row.is_first_party,
        logo_uri: row.logo_uri,
        policy_uri: row.policy_uri,
        tos_uri: row.tos_uri,
        secrets,
        created_at: row.created_at,
        disabled_at: row.disabled_at,
        revoked_at: row.revoked_at,
        version: row.version,
    })
}

fn row(client: &Client) -> client::ActiveModel {
    let grant_types: Vec<&str> =
        client.grant_types.iter().map(|grant_type| grant_type.as_str()).collect();
    client::ActiveModel {
        id: Set(client.id),
        organization_id: Set(client.organization),
        name: Set(client.name.clone()),
        search_name: Set(search_text(&client.name)),
        is_confidential: Set(client.is_confidential),
        requires_pkce: Set(client.requires_pkce),
        grant_types: Set(grant_types.join(" ")),
        redirect_uris: Set(client.redirect_uris.join(" ")),
        refresh_retry_seconds: Set(i32::try_from(client.refresh_retry.as_secs()).unwrap_or(60)),
        is_first_party: Set(client.is_first_party),
        logo_uri: Set(client.logo_uri.clone()),
        policy_uri: Set(client.policy_uri.clone()),
        tos_uri: Set(client.tos_uri.clone()),
        version: Set(client.version),
        created_at: Set(client.created_at),
        disabled_at: Set(client.disabled_at),
        revoked_at: Set(client.revoked_at),
    }
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    now: Timestamp,
    new: &Client,
) -> Result<(), DbErr> {
    row(new).insert(tx).await?;
    insert_audiences(tx, now, new).await?;
    insert_origins(tx, new).await?;
    insert_secrets(tx, new).await
}

/// Writes the client as it is now, but for its secrets. The transaction has its version.
pub(super) async fn update(
    tx: &DatabaseTransaction,
    now: Timestamp,
    changed: &Client,
) -> Result<(), DbErr> {
    row(changed).update(tx).await?;
    client_audience::Entity::delete_many()
        .filter(client_audience::Column::ClientId.eq(changed.id))
        .exec(tx)
        .await?;
    insert_audiences(tx, now, changed).await?;
    client_origin::Entity::delete_many()
        .filter(client_origin::Column::ClientId.eq(changed.id))
        .exec(tx)
        .await?;
    insert_origins(tx, changed).await
}

async fn insert_origins(tx: &DatabaseTransaction, client: &Client) -> Result<(), DbErr> {
    let origins: BTreeSet<String> =
        client.redirect_uris.iter().filter_map(|uri| web_origin(uri)).collect();
    let rows = origins.into_iter().map(|origin| client_origin::ActiveModel {
        origin: Set(origin),
        client_id: Set(client.id),
    });
    client_origin::Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}

async fn insert_audiences(
    tx: &DatabaseTransaction,
    now: Timestamp,
    client: &Client,
) -> Result<(), DbErr> {
    for audience in &client.audiences {
        if let Some(own_grant) = audience.own_grant {
            upsert_own_grant(tx, now, client, audience, own_grant).await?;
        }
        let row = client_audience::ActiveModel {
            client_id: Set(client.id),
            resource_server_id: Set(audience.resource_server),
            allowed_scopes: Set(audience.allowed.to_string()),
            default_scopes: Set(audience.default.to_string()),
            own_grant_id: Set(audience.own_grant),
        };
        row.insert(tx).await?;
    }
    Ok(())
}

/// The grant that the client's own tokens descend from: new, or with what it covers now.
async fn upsert_own_grant(
    tx: &DatabaseTransaction,
    now: Timestamp,
    client: &Client,
    audience: &ClientAudience,
    id: GrantId,
) -> Result<(), DbErr> {
    let row = grant::ActiveModel {
        id: Set(id),
        client_id: Set(client.id),
        user_id: Set(None),
        organization_id: Set(client.organization),
        project_id: Set(None),
        resource_server_id: Set(audience.resource_server),
        scopes: Set(audience.allowed.to_string()),
        created_at: Set(now),
        ended_at: Set(None),
        generation: Set(0),
        refresh_expires_at: Set(None),
        absolute_expires_at: Set(None),
        rotated_at: Set(None),
        retry_answer: Set(None),
    };
    let known =
        OnConflict::column(grant::Column::Id).update_column(grant::Column::Scopes).to_owned();
    grant::Entity::insert(row).on_conflict(known).exec_without_returning(tx).await?;
    Ok(())
}

/// Ends grants of a client's own. The log and the audit trail are for the caller to write.
pub(super) async fn end_own_grants(
    tx: &DatabaseTransaction,
    now: Timestamp,
    ids: impl Iterator<Item = GrantId>,
) -> Result<(), DbErr> {
    grant::Entity::update_many()
        .col_expr(grant::Column::EndedAt, Expr::value(now))
        .filter(grant::Column::Id.is_in(ids))
        .filter(grant::Column::EndedAt.is_null())
        .exec(tx)
        .await?;
    Ok(())
}

/// Takes the resource server from all clients; says from how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_audience(
    tx: &DatabaseTransaction,
    resource_server: ResourceServerId,
) -> Result<u64, DbErr> {
    let is_of_it = client_audience::Column::ResourceServerId.eq(resource_server);
    let clients = Query::select()
        .column(client_audience::Column::ClientId)
        .from(client_audience::Entity)
        .and_where(is_of_it.clone())
        .to_owned();
    client::Entity::update_many()
        .col_expr(client::Column::Version, Expr::col(client::Column::Version).add(1))
        .filter(client::Column::Id.in_subquery(clients))
        .exec(tx)
        .await?;
    let deleted = client_audience::Entity::delete_many().filter(is_of_it).exec(tx).await?;
    Ok(deleted.rows_affected)
}

async fn insert_secrets(tx: &DatabaseTransaction, client: &Client) -> Result<(), DbErr> {
    let rows = client.secrets.iter().map(|secret| client_secret::ActiveModel {
        id: Set(secret.id),
        client_id: Set(client.id),
        digest: Set(secret.digest.to_vec()),
        created_at: Set(secret.created_at),
        expires_at: Set(secret.expires_at),
    });
    client_secret::Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}

/// Makes the client's secrets the only ones. The transaction has its version.
pub(super) async fn replace_secrets(
    tx: &DatabaseTransaction,
    client: &Client,
) -> Result<(), DbErr> {
    client_secret::Entity::delete_many()
        .filter(client_secret::Column::ClientId.eq(client.id))
        .exec(tx)
        .await?;
    insert_secrets(tx, client).await
}

fn living(organization: OrganizationId, id: ClientId) -> Condition {
    Condition::all()
        .add(client::Column::Id.eq(id))
        .add(client::Column::OrganizationId.eq(organization))
        .add(client::Column::RevokedAt.is_null())
}

/// Whether this call gave the client its next version; then nobody else changes it until the end of the transaction.
pub(super) async fn next_version(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ClientId,
    expected: Option<i32>,
) -> Result<bool, DbErr> {
    let mut update = client::Entity::update_many()
        .col_expr(client::Column::Version, Expr::col(client::Column::Version).add(1))
        .filter(living(organization, id));
    if let Some(version) = expected {
        update = update.filter(client::Column::Version.eq(version));
    }
    Ok(update.exec(tx).await?.rows_affected == 1)
}

/// Whether this call disabled the client.
pub(super) async fn mark_disabled(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ClientId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = client::Entity::update_many()
        .col_expr(client::Column::DisabledAt, Expr::value(now))
        .col_expr(client::Column::Version, Expr::col(client::Column::Version).add(1))
        .filter(living(organization, id))
        .filter(client::Column::DisabledAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Whether this call enabled the client.
pub(super) async fn clear_disabled(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ClientId,
) -> Result<bool, DbErr> {
    let updated = client::Entity::update_many()
        .col_expr(client::Column::DisabledAt, Expr::value(None::<Timestamp>))
        .col_expr(client::Column::Version, Expr::col(client::Column::Version).add(1))
        .filter(living(organization, id))
        .filter(client::Column::DisabledAt.is_not_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// The organization of the client that this call revoked; none where there was nothing to revoke.
pub(super) async fn mark_revoked(
    tx: &DatabaseTransaction,
    id: ClientId,
    now: Timestamp,
) -> Result<Option<OrganizationId>, DbErr> {
    let rows = client::Entity::update_many()
        .col_expr(client::Column::RevokedAt, Expr::value(now))
        .col_expr(client::Column::Version, Expr::col(client::Column::Version).add(1))
        .filter(client::Column::Id.eq(id))
        .filter(client::Column::RevokedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.first().map(|row| row.organization_id))
}

/// Revokes every living client of the organization; says which. The log and the audit trail are for the caller to write.
///
/// # Errors
/// When the database fails.
pub async fn revoke_of_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: OrganizationId,
) -> Result<Vec<ClientId>, DbErr> {
    let rows = client::Entity::update_many()
        .col_expr(client::Column::RevokedAt, Expr::value(now))
        .filter(client::Column::OrganizationId.eq(organization))
        .filter(client::Column::RevokedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Whether some client that is active has a redirect URI on this origin.
///
/// # Errors
/// When the database fails.
pub async fn has_origin(connection: &impl ConnectionTrait, origin: &str) -> Result<bool, DbErr> {
    let ids: Vec<ClientId> = client_origin::Entity::find()
        .filter(client_origin::Column::Origin.eq(origin))
        .all(connection)
        .await?
        .into_iter()
        .map(|row| row.client_id)
        .collect();
    let living = client::Entity::find()
        .filter(client::Column::Id.is_in(ids))
        .filter(client::Column::RevokedAt.is_null())
        .filter(client::Column::DisabledAt.is_null())
        .count(connection)
        .await?;
    Ok(living > 0)
}

/// The secrets with these digests that are good, each with its client, where that is not deleted.
pub(super) async fn find_secrets(
    connection: &impl ConnectionTrait,
    digests: &[[u8; 32]],
    now: Timestamp,
) -> Result<Vec<LeakedSecret>, DbErr> {
    let digests = digests.iter().map(|digest| digest.to_vec());
    let secrets = client_secret::Entity::find()
        .filter(client_secret::Column::Digest.is_in(digests))
        .filter(
            Condition::any()
                .add(client_secret::Column::ExpiresAt.is_null())
                .add(client_secret::Column::ExpiresAt.gt(now)),
        )
        .all(connection)
        .await?;
    if secrets.is_empty() {
        return Ok(Vec::new());
    }
    let ids = secrets.iter().map(|secret| secret.client_id);
    let rows = client::Entity::find()
        .filter(client::Column::Id.is_in(ids))
        .filter(client::Column::RevokedAt.is_null())
        .all(connection)
        .await?;
    let of = |secret: &client_secret::Model| {
        rows.iter().find(|row| row.id == secret.client_id).map(|row| LeakedSecret {
            secret: secret.id,
            client: row.id,
            organization: row.organization_id,
            name: row.name.clone(),
        })
    };
    Ok(secrets.iter().filter_map(of).collect())
}

/// Whether this call deleted the secret of the client, which has a new version then.
pub(super) async fn delete_secret(
    tx: &DatabaseTransaction,
    client: ClientId,
    id: SecretId,
) -> Result<bool, DbErr> {
    // The client's own row is the lock, as for every other change of its secrets.
    client::Entity::update_many()
        .col_expr(client::Column::Version, Expr::col(client::Column::Version).add(1))
        .filter(client::Column::Id.eq(client))
        .exec(tx)
        .await?;
    let deleted = client_secret::Entity::delete_by_id(id).exec(tx).await?;
    Ok(deleted.rows_affected == 1)
}

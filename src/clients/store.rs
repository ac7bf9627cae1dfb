use std::collections::BTreeSet;
use std::time::Duration;

use entity::{
    ClientId, OrganizationId, SecretId, Timestamp, client, client_audience, client_origin,
    client_secret, grant,
};
use portcullis_verifier::ScopeSet;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, Set,
};
use serde::Serialize;

use crate::platform::db::search_text;
use crate::tenancy;

use super::{Client, ClientAudience, StoredSecret, web_origin};

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
    let Some(row) = client::Entity::find_by_id(id).one(connection).await? else { return Ok(None) };
    let damaged = |column: &str| DbErr::Type(format!("clients {id}: {column} is damaged"));
    let scopes = |text: &str| text.parse::<ScopeSet>().map_err(|_| damaged("a scope"));
    let audiences = client_audience::Entity::find()
        .filter(client_audience::Column::ClientId.eq(id))
        .order_by_asc(client_audience::Column::ResourceServerId)
        .all(connection)
        .await?
        .into_iter()
        .map(|audience| {
            Ok(ClientAudience {
                resource_server: audience.resource_server_id,
                allowed: scopes(&audience.allowed_scopes)?,
                default: scopes(&audience.default_scopes)?,
                own_grant: audience.own_grant_id,
            })
        })
        .collect::<Result<_, DbErr>>()?;
    let secrets = client_secret::Entity::find()
        .filter(client_secret::Column::ClientId.eq(id))
        .all(connection)
        .await?
        .into_iter()
        .map(|secret| {
            let digest = secret.digest.try_into().map_err(|_| damaged("a secret"))?;
            Ok(StoredSecret { digest, expires_at: secret.expires_at })
        })
        .collect::<Result<_, DbErr>>()?;
    let grant_types = row.grant_types.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let retry_seconds =
        u64::try_from(row.refresh_retry_seconds).map_err(|_| damaged("refresh_retry_seconds"))?;
    Ok(Some(Client {
        id,
        organization: row.organization_id,
        name: row.name,
        is_confidential: row.is_confidential,
        requires_pkce: row.requires_pkce,
        grant_types: grant_types.map_err(|_| damaged("grant_types"))?,
        redirect_uris: row.redirect_uris.split_whitespace().map(str::to_owned).collect(),
        refresh_retry: Duration::from_secs(retry_seconds),
        audiences,
        // What was made beside the closing of its organization is as dead as the rest.
        is_revoked: row.revoked_at.is_some()
            || tenancy::is_closed(connection, row.organization_id).await?,
        secrets,
    }))
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    now: Timestamp,
    new: &Client,
) -> Result<(), DbErr> {
    let grant_types: Vec<&str> =
        new.grant_types.iter().map(|grant_type| grant_type.as_str()).collect();
    let row = client::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        name: Set(new.name.clone()),
        search_name: Set(search_text(&new.name)),
        is_confidential: Set(new.is_confidential),
        requires_pkce: Set(new.requires_pkce),
        grant_types: Set(grant_types.join(" ")),
        redirect_uris: Set(new.redirect_uris.join(" ")),
        refresh_retry_seconds: Set(i32::try_from(new.refresh_retry.as_secs()).unwrap_or(60)),
        is_first_party: Set(false),
        logo_uri: Set(None),
        policy_uri: Set(None),
        tos_uri: Set(None),
        version: Set(1),
        created_at: Set(now),
        disabled_at: Set(None),
        revoked_at: Set(None),
    };
    row.insert(tx).await?;
    for audience in &new.audiences {
        insert_audience(tx, now, new, audience).await?;
    }
    let origins: BTreeSet<String> =
        new.redirect_uris.iter().filter_map(|uri| web_origin(uri)).collect();
    let rows = origins
        .into_iter()
        .map(|origin| client_origin::ActiveModel { origin: Set(origin), client_id: Set(new.id) });
    client_origin::Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}

async fn insert_audience(
    tx: &DatabaseTransaction,
    now: Timestamp,
    client: &Client,
    audience: &ClientAudience,
) -> Result<(), DbErr> {
    if let Some(own_grant) = audience.own_grant {
        let row = grant::ActiveModel {
            id: Set(own_grant),
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
        row.insert(tx).await?;
    }
    let row = client_audience::ActiveModel {
        client_id: Set(client.id),
        resource_server_id: Set(audience.resource_server),
        allowed_scopes: Set(audience.allowed.to_string()),
        default_scopes: Set(audience.default.to_string()),
        own_grant_id: Set(audience.own_grant),
    };
    row.insert(tx).await?;
    Ok(())
}

pub(super) async fn insert_secret(
    tx: &DatabaseTransaction,
    now: Timestamp,
    id: SecretId,
    client: ClientId,
    secret: &StoredSecret,
) -> Result<(), DbErr> {
    let row = client_secret::ActiveModel {
        id: Set(id),
        client_id: Set(client),
        digest: Set(secret.digest.to_vec()),
        created_at: Set(now),
        expires_at: Set(secret.expires_at),
    };
    row.insert(tx).await?;
    Ok(())
}

/// The organization of the client that this call revoked; none where there was nothing to revoke.
pub(super) async fn mark_revoked(
    tx: &DatabaseTransaction,
    id: ClientId,
    now: Timestamp,
) -> Result<Option<OrganizationId>, DbErr> {
    let rows = client::Entity::update_many()
        .col_expr(client::Column::RevokedAt, Expr::value(now))
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

/// Whether some client that lives has a redirect URI on this origin.
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
        .count(connection)
        .await?;
    Ok(living > 0)
}

use std::collections::HashMap;
use std::time::Duration;

use entity::{
    OrganizationId, ResourceServerId, Timestamp, catalog_scope, installation, resource_server,
};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction,
    DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::{Catalog, CatalogScope, ResourceServer};

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    id: ResourceServerId,
) -> Result<Option<ResourceServer>, DbErr> {
    one(connection, resource_server::Column::Id.eq(id)).await
}

/// # Errors
/// When the database fails.
pub async fn find_by_audience(
    connection: &impl ConnectionTrait,
    audience: &str,
) -> Result<Option<ResourceServer>, DbErr> {
    one(connection, resource_server::Column::Audience.eq(audience)).await
}

pub(super) async fn find_management(
    connection: &impl ConnectionTrait,
) -> Result<Option<ResourceServer>, DbErr> {
    one(connection, resource_server::Column::IsManagement.eq(true)).await
}

pub(super) async fn find_id_by_credential(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
) -> Result<Option<ResourceServerId>, DbErr> {
    resource_server::Entity::find()
        .select_only()
        .column(resource_server::Column::Id)
        .filter(resource_server::Column::CredentialDigest.eq(digest.to_vec()))
        .into_tuple()
        .one(connection)
        .await
}

async fn one(
    connection: &impl ConnectionTrait,
    condition: sea_orm::sea_query::Expr,
) -> Result<Option<ResourceServer>, DbErr> {
    let living = resource_server::Entity::find()
        .filter(condition)
        .filter(resource_server::Column::DeletedAt.is_null());
    let Some(row) = living.one(connection).await? else {
        return Ok(None);
    };
    let scopes = catalog_scope::Entity::find()
        .filter(catalog_scope::Column::ResourceServerId.eq(row.id))
        .order_by_asc(catalog_scope::Column::Position)
        .all(connection)
        .await?;
    resource_server(row, scopes).map(Some)
}

/// Every resource server of the installation, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_all(connection: &impl ConnectionTrait) -> Result<Vec<ResourceServer>, DbErr> {
    several(connection, Condition::all()).await
}

/// The resource servers that the organization may use: those that are shared, and its own; oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_offered(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
) -> Result<Vec<ResourceServer>, DbErr> {
    let is_offered = Condition::any()
        .add(resource_server::Column::IsShared.eq(true))
        .add(resource_server::Column::OrganizationId.eq(organization));
    several(connection, is_offered).await
}

async fn several(
    connection: &impl ConnectionTrait,
    which: Condition,
) -> Result<Vec<ResourceServer>, DbErr> {
    let rows = resource_server::Entity::find()
        .filter(which)
        .filter(resource_server::Column::DeletedAt.is_null())
        .order_by_asc(resource_server::Column::Id)
        .all(connection)
        .await?;
    let mut catalogs: HashMap<ResourceServerId, Vec<catalog_scope::Model>> = HashMap::new();
    let scopes = catalog_scope::Entity::find()
        .filter(catalog_scope::Column::ResourceServerId.is_in(rows.iter().map(|row| row.id)))
        .order_by_asc(catalog_scope::Column::Position)
        .all(connection)
        .await?;
    for scope in scopes {
        catalogs.entry(scope.resource_server_id).or_default().push(scope);
    }
    rows.into_iter()
        .map(|row| {
            let scopes = catalogs.remove(&row.id).unwrap_or_default();
            resource_server(row, scopes)
        })
        .collect()
}

fn resource_server(
    row: resource_server::Model,
    scopes: Vec<catalog_scope::Model>,
) -> Result<ResourceServer, DbErr> {
    let damaged =
        |column: &str| DbErr::Type(format!("resource_servers {}: {column} is damaged", row.id));
    let catalog = scopes
        .into_iter()
        .map(|entry| {
            let scope = entry.scope.parse().map_err(|_| damaged("the catalog"))?;
            Ok(CatalogScope { scope, sentence: entry.sentence, needs_admin: entry.needs_admin })
        })
        .collect::<Result<_, DbErr>>()?;
    let lifetime = row
        .access_token_seconds
        .map(u64::try_from)
        .transpose()
        .map_err(|_| damaged("the lifetime"))?;
    Ok(ResourceServer {
        id: row.id,
        organization: row.organization_id,
        algorithm: row.signing_algorithm.parse().map_err(|_| damaged("the algorithm"))?,
        access_token_lifetime: lifetime.map(Duration::from_secs),
        catalog: Catalog(catalog),
        is_management: row.is_management,
        is_shared: row.is_shared,
        created_at: row.created_at,
        version: row.version,
        audience: row.audience,
        name: row.name,
    })
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    new: &ResourceServer,
    credential_digest: Option<[u8; 32]>,
) -> Result<(), DbErr> {
    let row = resource_server::ActiveModel {
        id: Set(new.id),
        organization_id: Set(new.organization),
        audience: Set(new.audience.clone()),
        name: Set(new.name.clone()),
        signing_algorithm: Set(new.algorithm.to_string()),
        access_token_seconds: Set(new
            .access_token_lifetime
            .map(|lifetime| i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX))),
        credential_digest: Set(credential_digest.map(|digest| digest.to_vec())),
        older_credential_digest: Set(None),
        older_credential_expires_at: Set(None),
        is_management: Set(new.is_management),
        is_shared: Set(new.is_shared),
        version: Set(new.version),
        created_at: Set(new.created_at),
        deleted_at: Set(None),
    };
    row.insert(tx).await?;
    insert_catalog(tx, new.id, &new.catalog).await
}

async fn insert_catalog(
    tx: &DatabaseTransaction,
    id: ResourceServerId,
    catalog: &Catalog,
) -> Result<(), DbErr> {
    let rows = catalog.0.iter().zip(0..).map(|(entry, position)| catalog_scope::ActiveModel {
        resource_server_id: Set(id),
        scope: Set(entry.scope.to_string()),
        sentence: Set(entry.sentence.clone()),
        needs_admin: Set(entry.needs_admin),
        position: Set(position),
    });
    catalog_scope::Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}

/// Deletes every resource server of the organization; says which. The log and the audit trail are for the caller to
/// write.
///
/// # Errors
/// When the database fails.
pub async fn delete_of_organization(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: OrganizationId,
) -> Result<Vec<ResourceServerId>, DbErr> {
    let rows = resource_server::Entity::update_many()
        .col_expr(resource_server::Column::DeletedAt, Expr::value(now))
        .filter(resource_server::Column::OrganizationId.eq(organization))
        .filter(resource_server::Column::DeletedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

pub(super) async fn update_management(
    tx: &DatabaseTransaction,
    id: ResourceServerId,
    wanted: &ResourceServer,
) -> Result<(), DbErr> {
    resource_server::Entity::update_many()
        .col_expr(resource_server::Column::Audience, Expr::value(wanted.audience.clone()))
        .filter(resource_server::Column::Id.eq(id))
        .exec(tx)
        .await?;
    catalog_scope::Entity::delete_many()
        .filter(catalog_scope::Column::ResourceServerId.eq(id))
        .exec(tx)
        .await?;
    insert_catalog(tx, id, &wanted.catalog).await
}

/// Waits for, and holds until the end of the transaction, the lock that start-up work is done under.
pub(super) async fn lock(tx: &DatabaseTransaction) -> Result<(), DbErr> {
    installation::Entity::update_many()
        .col_expr(installation::Column::Id, Expr::value(1))
        .filter(installation::Column::Id.eq(1))
        .exec(tx)
        .await?;
    Ok(())
}

use std::collections::HashMap;
use std::time::Duration;

use entity::{
    OrganizationId, ResourceServerId, Timestamp, catalog_scope, installation, resource_server,
};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction,
    DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};

use super::{Catalog, CatalogScope, LeakedCredential, ResourceServer};
use crate::signing::Algorithm;

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
    // Nobody has such an audience, and PostgreSQL fails at a NUL in the place of finding nothing.
    if audience.contains('\0') {
        return Ok(None);
    }
    one(connection, resource_server::Column::Audience.eq(audience)).await
}

/// Which one it is alone, for a check that can't wait for more.
///
/// # Errors
/// When the database fails.
pub async fn find_id_by_audience(
    connection: &impl ConnectionTrait,
    audience: &str,
) -> Result<Option<ResourceServerId>, DbErr> {
    resource_server::Entity::find()
        .select_only()
        .column(resource_server::Column::Id)
        .filter(resource_server::Column::Audience.eq(audience))
        .filter(resource_server::Column::DeletedAt.is_null())
        .into_tuple()
        .one(connection)
        .await
}

pub(super) async fn find_management(
    connection: &impl ConnectionTrait,
) -> Result<Option<ResourceServer>, DbErr> {
    one(connection, resource_server::Column::IsManagement.eq(true)).await
}

pub(super) async fn find_id_by_credential(
    connection: &impl ConnectionTrait,
    digest: [u8; 32],
) -> Result<Option<(ResourceServerId, Option<Timestamp>)>, DbErr> {
    let is_it = Condition::any()
        .add(resource_server::Column::CredentialDigest.eq(digest.to_vec()))
        .add(resource_server::Column::OlderCredentialDigest.eq(digest.to_vec()));
    let row = resource_server::Entity::find()
        .filter(is_it)
        .filter(resource_server::Column::DeletedAt.is_null())
        .one(connection)
        .await?;
    Ok(row.map(|row| {
        let is_present = row.credential_digest.as_deref() == Some(&digest);
        // One that was rotated without a grace is not kept at all.
        (row.id, row.older_credential_expires_at.filter(|_| !is_present))
    }))
}

/// The one resource server that every organization may use, beside the management API, if there is just one.
pub(super) async fn find_only_shared(
    connection: &impl ConnectionTrait,
) -> Result<Option<ResourceServerId>, DbErr> {
    let found: Vec<ResourceServerId> = resource_server::Entity::find()
        .select_only()
        .column(resource_server::Column::Id)
        .filter(resource_server::Column::IsShared.eq(true))
        .filter(resource_server::Column::IsManagement.eq(false))
        .filter(resource_server::Column::DeletedAt.is_null())
        .limit(2)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(match found.as_slice() {
        [only] => Some(*only),
        _ => None,
    })
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
    several(connection, Condition::all(), None).await
}

/// The resource servers that the organization may use: those that are shared, and its own; oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_offered(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
) -> Result<Vec<ResourceServer>, DbErr> {
    several(connection, is_offered(organization), None).await
}

fn is_offered(organization: OrganizationId) -> Condition {
    Condition::any()
        .add(resource_server::Column::IsShared.eq(true))
        .add(resource_server::Column::OrganizationId.eq(organization))
}

/// A page of the resource servers that the organization may use, newest first.
pub(super) async fn list_page(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    before: Option<ResourceServerId>,
    limit: u64,
) -> Result<Vec<ResourceServer>, DbErr> {
    let mut which = Condition::all().add(is_offered(organization));
    if let Some(before) = before {
        which = which.add(resource_server::Column::Id.lt(before));
    }
    several(connection, which, Some(limit)).await
}

/// A scope and where it is offered.
pub(super) struct OfferedScope {
    pub resource_server: ResourceServerId,
    pub audience: String,
    pub position: i32,
    pub entry: CatalogScope,
}

/// The scopes that the organization may use, of one resource server or of all, in the order of the resource servers
/// and their catalogs.
pub(super) async fn list_scopes(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    only: Option<ResourceServerId>,
    after: Option<(ResourceServerId, i32)>,
    limit: u64,
) -> Result<Vec<OfferedScope>, DbErr> {
    let mut offered = resource_server::Entity::find()
        .select_only()
        .column(resource_server::Column::Id)
        .column(resource_server::Column::Audience)
        .filter(is_offered(organization))
        .filter(resource_server::Column::DeletedAt.is_null());
    if let Some(only) = only {
        offered = offered.filter(resource_server::Column::Id.eq(only));
    }
    let offered: Vec<(ResourceServerId, String)> = offered.into_tuple().all(connection).await?;
    let audiences: HashMap<ResourceServerId, String> = offered.into_iter().collect();
    let mut query = catalog_scope::Entity::find()
        .filter(catalog_scope::Column::ResourceServerId.is_in(audiences.keys().copied()))
        .order_by_asc(catalog_scope::Column::ResourceServerId)
        .order_by_asc(catalog_scope::Column::Position)
        .limit(limit);
    if let Some((id, position)) = after {
        let further_down = catalog_scope::Column::ResourceServerId
            .eq(id)
            .and(catalog_scope::Column::Position.gt(position));
        query = query.filter(
            Condition::any().add(catalog_scope::Column::ResourceServerId.gt(id)).add(further_down),
        );
    }
    let rows = query.all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let (id, position) = (row.resource_server_id, row.position);
            let audience = audiences.get(&id).cloned().unwrap_or_default();
            Ok(OfferedScope { resource_server: id, audience, position, entry: catalog_entry(row)? })
        })
        .collect()
}

fn catalog_entry(row: catalog_scope::Model) -> Result<CatalogScope, DbErr> {
    let damaged = |_| {
        DbErr::Type(format!("resource_servers {}: the catalog is damaged", row.resource_server_id))
    };
    Ok(CatalogScope {
        scope: row.scope.parse().map_err(damaged)?,
        sentence: row.sentence,
        needs_admin: row.needs_admin,
    })
}

async fn several(
    connection: &impl ConnectionTrait,
    which: Condition,
    newest: Option<u64>,
) -> Result<Vec<ResourceServer>, DbErr> {
    let query = resource_server::Entity::find()
        .filter(which)
        .filter(resource_server::Column::DeletedAt.is_null());
    let query = match newest {
        Some(limit) => query.order_by_desc(resource_server::Column::Id).limit(limit),
        None => query.order_by_asc(resource_server::Column::Id),
    };
    let rows = query.all(connection).await?;
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
    let catalog = scopes.into_iter().map(catalog_entry).collect::<Result<_, DbErr>>()?;
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
        unshared_at: row.unshared_at,
        status_list: row.status_list,
        older_credential_expires_at: row.older_credential_expires_at,
        created_at: row.created_at,
        version: row.version,
        audience: row.audience,
        name: row.name,
    })
}

fn seconds(lifetime: Duration) -> i32 {
    i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX)
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
        access_token_seconds: Set(new.access_token_lifetime.map(seconds)),
        credential_digest: Set(credential_digest.map(|digest| digest.to_vec())),
        older_credential_digest: Set(None),
        older_credential_expires_at: Set(None),
        is_management: Set(new.is_management),
        is_shared: Set(new.is_shared),
        unshared_at: Set(new.unshared_at),
        status_list: Set(new.status_list),
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

/// What to change of a row; what is none stays.
pub(super) struct Update {
    pub name: Option<String>,
    pub algorithm: Option<Algorithm>,
    pub access_token_lifetime: Option<Option<Duration>>,
    pub is_shared: Option<bool>,
    pub status_list: Option<bool>,
}

/// Rows that the organization (or, where none is named, the installation) may change: the management API is nobody's.
fn changeable(organization: Option<OrganizationId>, id: ResourceServerId) -> Condition {
    let mut condition = Condition::all()
        .add(resource_server::Column::Id.eq(id))
        .add(resource_server::Column::IsManagement.eq(false))
        .add(resource_server::Column::DeletedAt.is_null());
    if let Some(organization) = organization {
        condition = condition.add(resource_server::Column::OrganizationId.eq(organization));
    }
    condition
}

fn next_version() -> sea_orm::sea_query::Expr {
    Expr::col(resource_server::Column::Version).add(1)
}

/// Whether this call changed the resource server: it is the organization's, and of the expected version.
pub(super) async fn update(
    tx: &DatabaseTransaction,
    now: Timestamp,
    organization: OrganizationId,
    id: ResourceServerId,
    expected: Option<i32>,
    wanted: Update,
) -> Result<bool, DbErr> {
    let mut update = resource_server::Entity::update_many()
        .col_expr(resource_server::Column::Version, next_version())
        .filter(changeable(Some(organization), id));
    if let Some(name) = wanted.name {
        update = update.col_expr(resource_server::Column::Name, Expr::value(name));
    }
    if let Some(algorithm) = wanted.algorithm {
        let algorithm = Expr::value(algorithm.as_str());
        update = update.col_expr(resource_server::Column::SigningAlgorithm, algorithm);
    }
    if let Some(lifetime) = wanted.access_token_lifetime {
        let seconds = Expr::value(lifetime.map(seconds));
        update = update.col_expr(resource_server::Column::AccessTokenSeconds, seconds);
    }
    if let Some(is_shared) = wanted.is_shared {
        // Both see the row as it was.
        let was_shared = resource_server::Column::IsShared.eq(true);
        let before = Expr::col(resource_server::Column::UnsharedAt);
        let unshared_at = match is_shared {
            true => before,
            false => Expr::case(was_shared, Expr::value(now)).finally(before).into(),
        };
        update = update
            .col_expr(resource_server::Column::UnsharedAt, unshared_at)
            .col_expr(resource_server::Column::IsShared, Expr::value(is_shared));
    }
    if let Some(status_list) = wanted.status_list {
        update = update.col_expr(resource_server::Column::StatusList, Expr::value(status_list));
    }
    if let Some(version) = expected {
        update = update.filter(resource_server::Column::Version.eq(version));
    }
    Ok(update.exec(tx).await?.rows_affected == 1)
}

pub(super) async fn replace_catalog(
    tx: &DatabaseTransaction,
    id: ResourceServerId,
    catalog: &Catalog,
) -> Result<(), DbErr> {
    catalog_scope::Entity::delete_many()
        .filter(catalog_scope::Column::ResourceServerId.eq(id))
        .exec(tx)
        .await?;
    insert_catalog(tx, id, catalog).await
}

/// Whether this call replaced the credential. The present one becomes the older one until then, or nothing.
pub(super) async fn rotate_credential(
    tx: &DatabaseTransaction,
    organization: Option<OrganizationId>,
    id: ResourceServerId,
    digest: [u8; 32],
    older_until: Option<Timestamp>,
) -> Result<bool, DbErr> {
    let older = match older_until {
        Some(_) => Expr::col(resource_server::Column::CredentialDigest),
        None => Expr::value(None::<Vec<u8>>),
    };
    let updated = resource_server::Entity::update_many()
        .col_expr(resource_server::Column::OlderCredentialDigest, older)
        .col_expr(resource_server::Column::OlderCredentialExpiresAt, Expr::value(older_until))
        .col_expr(resource_server::Column::CredentialDigest, Expr::value(digest.to_vec()))
        .col_expr(resource_server::Column::Version, next_version())
        .filter(changeable(organization, id))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Whether this call deleted the resource server, its credentials included. What descends from it is for the caller
/// to end.
///
/// # Errors
/// When the database fails.
pub async fn mark_deleted(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ResourceServerId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let nothing = || Expr::value(None::<Vec<u8>>);
    let updated = resource_server::Entity::update_many()
        .col_expr(resource_server::Column::DeletedAt, Expr::value(now))
        .col_expr(resource_server::Column::CredentialDigest, nothing())
        .col_expr(resource_server::Column::OlderCredentialDigest, nothing())
        .filter(changeable(Some(organization), id))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Lets the organization use the audience of a resource server that it has deleted once more.
pub(super) async fn release_audience(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    audience: &str,
) -> Result<(), DbErr> {
    let row = resource_server::Entity::find()
        .filter(resource_server::Column::Audience.eq(audience))
        .filter(resource_server::Column::OrganizationId.eq(organization))
        .filter(resource_server::Column::DeletedAt.is_not_null())
        .one(tx)
        .await?;
    let Some(row) = row else { return Ok(()) };
    // No audience has a fragment, so nothing is ever called that.
    let released = format!("{audience}#{}", row.id);
    resource_server::Entity::update_many()
        .col_expr(resource_server::Column::Audience, Expr::value(released))
        .filter(resource_server::Column::Id.eq(row.id))
        .exec(tx)
        .await?;
    Ok(())
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
    replace_catalog(tx, id, &wanted.catalog).await
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

/// Takes the credential with this digest from whichever resource server it is of, present or older, if it is good.
pub(super) async fn remove_credential(
    tx: &DatabaseTransaction,
    digest: [u8; 32],
    now: Timestamp,
) -> Result<Option<LeakedCredential>, DbErr> {
    use resource_server::Column;
    let leaked = |rows: Vec<resource_server::Model>| {
        rows.into_iter().next().map(|row| LeakedCredential {
            resource_server: row.id,
            organization: row.organization_id,
            name: row.name,
        })
    };
    let present = resource_server::Entity::update_many()
        .col_expr(Column::CredentialDigest, Expr::value(None::<Vec<u8>>))
        .filter(Column::CredentialDigest.eq(digest.to_vec()))
        .filter(Column::DeletedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    if let Some(found) = leaked(present) {
        return Ok(Some(found));
    }
    let older = resource_server::Entity::update_many()
        .col_expr(Column::OlderCredentialDigest, Expr::value(None::<Vec<u8>>))
        .col_expr(Column::OlderCredentialExpiresAt, Expr::value(None::<Timestamp>))
        .filter(Column::OlderCredentialDigest.eq(digest.to_vec()))
        .filter(Column::OlderCredentialExpiresAt.gt(now))
        .filter(Column::DeletedAt.is_null())
        .exec_with_returning(tx)
        .await?;
    Ok(leaked(older))
}

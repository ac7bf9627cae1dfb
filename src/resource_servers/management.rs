//! The management API as a resource server: its catalog is fixed by what the code asks for.

use entity::{ResourceServerId, Timestamp};

use super::{Catalog, CatalogScope, ResourceServer, store};
use crate::platform::db::Db;
use crate::revocation::{self, Subject};
use crate::signing::Algorithm;

pub const READ_API_KEYS: &str = "read:api-keys";
pub const WRITE_API_KEYS: &str = "write:api-keys";

const CATALOG: &[(&str, &str)] = &[
    (READ_API_KEYS, "See the organization's API keys, without their secrets"),
    (WRITE_API_KEYS, "Create and revoke the organization's API keys"),
    ("admin", "Administer the organization"),
];

/// Makes the management API known, where it is not yet.
///
/// # Errors
/// When the database fails.
pub async fn ensure_management_api(db: &Db, now: Timestamp, issuer: &str) -> anyhow::Result<()> {
    if store::find_management(db.reader()).await?.is_some() {
        return Ok(());
    }
    let wanted = management_api(now, issuer)?;
    let tx = db.begin().await?;
    // Several processes may start at once: the first to take the lock does it.
    store::lock(&tx).await?;
    if store::find_management(&tx).await?.is_none() {
        store::insert(&tx, now, &wanted, None).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Brings the management API's audience and catalog up to date with the issuer and release that serve from now on.
///
/// # Errors
/// When the database fails.
pub async fn adopt_management_api(db: &Db, now: Timestamp, issuer: &str) -> anyhow::Result<()> {
    let wanted = management_api(now, issuer)?;
    let known = store::find_management(db.reader()).await?;
    let is_stale = |known: &ResourceServer| {
        known.audience != wanted.audience || known.catalog != wanted.catalog
    };
    let Some(known) = known.filter(is_stale) else { return Ok(()) };
    let tx = db.begin().await?;
    store::update_management(&tx, known.id, &wanted).await?;
    revocation::append_changed(&tx, now, &[Subject::ResourceServer(known.id)]).await?;
    tx.commit().await?;
    Ok(())
}

fn management_api(now: Timestamp, issuer: &str) -> anyhow::Result<ResourceServer> {
    let catalog = CATALOG
        .iter()
        .map(|(scope, sentence)| {
            Ok(CatalogScope { scope: scope.parse()?, sentence: (*sentence).to_owned() })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(ResourceServer {
        id: ResourceServerId::new(now),
        organization: None,
        audience: issuer.to_owned(),
        name: "Portcullis".to_owned(),
        algorithm: Algorithm::Es256,
        access_token_lifetime: None,
        catalog: Catalog(catalog),
        is_management: true,
    })
}

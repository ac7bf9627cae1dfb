//! The management API as a resource server: its catalog is fixed by what the code asks for.

use entity::{ResourceServerId, Timestamp};

use super::{Catalog, CatalogScope, ResourceServer, store};
use crate::platform::db::Db;
use crate::signing::Algorithm;

pub const READ_API_KEYS: &str = "read:api-keys";
pub const WRITE_API_KEYS: &str = "write:api-keys";

const CATALOG: &[(&str, &str)] = &[
    (READ_API_KEYS, "See the organization's API keys, without their secrets"),
    (WRITE_API_KEYS, "Create and revoke the organization's API keys"),
    ("admin", "Administer the organization"),
];

/// Makes the management API known, or brings its audience and catalog up to date with this release and issuer.
///
/// # Errors
/// When the database fails.
pub async fn ensure_management_api(db: &Db, now: Timestamp, issuer: &str) -> anyhow::Result<()> {
    let catalog = CATALOG
        .iter()
        .map(|(scope, sentence)| {
            Ok(CatalogScope { scope: scope.parse()?, sentence: (*sentence).to_owned() })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let wanted = ResourceServer {
        id: ResourceServerId::new(now),
        organization: None,
        audience: issuer.to_owned(),
        name: "Portcullis".to_owned(),
        algorithm: Algorithm::Es256,
        access_token_lifetime: None,
        catalog: Catalog(catalog),
        is_management: true,
    };
    let known = store::find_management(db.reader()).await?;
    if known
        .as_ref()
        .is_some_and(|known| known.audience == wanted.audience && known.catalog == wanted.catalog)
    {
        return Ok(());
    }
    let tx = db.begin().await?;
    // Several processes may start at once: the first to take the lock does it.
    store::lock(&tx).await?;
    match store::find_management(&tx).await? {
        Some(known) => store::update_management(&tx, known.id, &wanted).await?,
        None => store::insert(&tx, now, &wanted, None).await?,
    }
    tx.commit().await?;
    Ok(())
}

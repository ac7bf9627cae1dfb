//! The management API as a resource server: its catalog is fixed by what the code asks for.

use std::sync::LazyLock;

use entity::{ResourceServerId, Timestamp};
use portcullis_verifier::Scope;

use super::{Catalog, CatalogScope, ResourceServer, store};
use crate::platform::db::Db;
use crate::revocation::{self, About};
use crate::signing::Algorithm;

/// What the endpoints of the management API ask for.
pub mod scopes {
    pub const READ_ORGANIZATIONS: &str = "read:organizations";
    pub const WRITE_ORGANIZATIONS: &str = "write:organizations";
    pub const READ_PROJECTS: &str = "read:projects";
    pub const WRITE_PROJECTS: &str = "write:projects";
    pub const READ_MEMBERS: &str = "read:members";
    pub const WRITE_MEMBERS: &str = "write:members";
    pub const READ_ROLES: &str = "read:roles";
    pub const WRITE_ROLES: &str = "write:roles";
    pub const READ_USERS: &str = "read:users";
    pub const WRITE_USERS: &str = "write:users";
    pub const READ_RESOURCE_SERVERS: &str = "read:resource-servers";
    pub const WRITE_RESOURCE_SERVERS: &str = "write:resource-servers";
    pub const READ_CLIENTS: &str = "read:clients";
    pub const WRITE_CLIENTS: &str = "write:clients";
    pub const READ_GRANTS: &str = "read:grants";
    pub const WRITE_GRANTS: &str = "write:grants";
    pub const READ_API_KEYS: &str = "read:api-keys";
    pub const WRITE_API_KEYS: &str = "write:api-keys";
    pub const VERIFY_API_KEYS: &str = "verify:api-keys";
    pub const ADMIN_API_KEYS: &str = "admin:api-keys";
    pub const ADMIN_DECOYS: &str = "admin:decoys";
    pub const READ_SIGNING_KEYS: &str = "read:signing-keys";
    pub const WRITE_SIGNING_KEYS: &str = "write:signing-keys";
    pub const READ_AUDIT_EVENTS: &str = "read:audit-events";
    pub const READ_CONNECTED_APPS: &str = "read:connected-apps";
    pub const WRITE_CONNECTED_APPS: &str = "write:connected-apps";
}

/// Each scope with its sentence, and whether it needs an admin.
const CATALOG: &[(&str, &str, bool)] = &[
    (scopes::READ_API_KEYS, "See the organization's API keys, without their secrets", false),
    (scopes::WRITE_API_KEYS, "Create and revoke the organization's API keys", false),
    (scopes::VERIFY_API_KEYS, "Ask what the organization's API keys are good for", false),
    (scopes::ADMIN_API_KEYS, "Hand the organization's API keys over to others", true),
    (scopes::ADMIN_DECOYS, "See, make and end API keys that are decoys", true),
    (scopes::READ_ORGANIZATIONS, "See the organization", false),
    (scopes::WRITE_ORGANIZATIONS, "Rename the organization", true),
    (scopes::READ_PROJECTS, "See the organization's projects", false),
    (scopes::WRITE_PROJECTS, "Create, change and delete the organization's projects", true),
    (scopes::READ_MEMBERS, "See the organization's members and invitations", false),
    (scopes::WRITE_MEMBERS, "Invite and remove members, and give them roles", true),
    (scopes::READ_ROLES, "See the organization's roles", false),
    (scopes::WRITE_ROLES, "Create, change and delete the organization's roles", true),
    (scopes::READ_USERS, "See every account of the installation", true),
    (scopes::WRITE_USERS, "Suspend and erase accounts of the installation", true),
    (scopes::READ_RESOURCE_SERVERS, "See the APIs and their scopes", false),
    (scopes::WRITE_RESOURCE_SERVERS, "Register and change the organization's APIs", true),
    (scopes::READ_CLIENTS, "See the organization's applications", false),
    (scopes::WRITE_CLIENTS, "Register, change and delete the organization's applications", true),
    (scopes::READ_GRANTS, "See which applications the organization's members have allowed", true),
    (scopes::WRITE_GRANTS, "End what the organization's members have allowed", true),
    (scopes::READ_SIGNING_KEYS, "See the installation's signing keys", true),
    (scopes::WRITE_SIGNING_KEYS, "Rotate the installation's signing keys", true),
    (scopes::READ_AUDIT_EVENTS, "See who did what in the organization", true),
    (scopes::READ_CONNECTED_APPS, "See the applications that you have allowed", false),
    (scopes::WRITE_CONNECTED_APPS, "End the access of applications that you have allowed", false),
    ("admin", "Administer the organization", false),
];

/// What the management API offers.
#[must_use]
pub fn management_catalog() -> &'static Catalog {
    static PARSED: LazyLock<Catalog> = LazyLock::new(|| {
        let entry = |(scope, sentence, needs_admin): &(&str, &str, bool)| CatalogScope {
            scope: parsed(scope),
            sentence: (*sentence).to_owned(),
            needs_admin: *needs_admin,
        };
        Catalog(CATALOG.iter().map(entry).collect())
    });
    &PARSED
}

#[expect(clippy::expect_used, reason = "the literals above are scopes; every start parses them")]
fn parsed(scope: &str) -> Scope {
    scope.parse().expect("a scope")
}

/// Makes the management API known, where it is not yet.
///
/// # Errors
/// When the database fails.
pub async fn ensure_management_api(db: &Db, now: Timestamp, issuer: &str) -> anyhow::Result<()> {
    if store::find_management(db.reader()).await?.is_some() {
        return Ok(());
    }
    let wanted = management_api(now, issuer);
    let tx = db.begin().await?;
    // Several processes may start at once: the first to take the lock does it.
    store::lock(&tx).await?;
    if store::find_management(&tx).await?.is_none() {
        store::insert(&tx, &wanted, None).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Brings the management API's audience and catalog up to date with the issuer and release that serve from now on.
///
/// # Errors
/// When the database fails.
pub async fn adopt_management_api(db: &Db, now: Timestamp, issuer: &str) -> anyhow::Result<()> {
    let wanted = management_api(now, issuer);
    let known = store::find_management(db.reader()).await?;
    let is_stale = |known: &ResourceServer| {
        known.audience != wanted.audience || known.catalog != wanted.catalog
    };
    let Some(known) = known.filter(is_stale) else { return Ok(()) };
    let tx = db.begin().await?;
    store::update_management(&tx, known.id, &wanted).await?;
    revocation::append_changed(&tx, now, &[About::resource_server(known.id)]).await?;
    tx.commit().await?;
    Ok(())
}

fn management_api(now: Timestamp, issuer: &str) -> ResourceServer {
    ResourceServer {
        id: ResourceServerId::new(now),
        organization: None,
        audience: issuer.to_owned(),
        name: "Portcullis".to_owned(),
        algorithm: Algorithm::Es256,
        access_token_lifetime: None,
        catalog: management_catalog().clone(),
        is_management: true,
        is_shared: true,
        unshared_at: None,
        status_list: false,
        older_credential_expires_at: None,
        created_at: now,
        version: 1,
    }
}

use std::sync::Arc;

use portcullis_verifier::ScopeSet;
use sea_orm::DbErr;

use super::{Client, ClientAudience};
use crate::platform::db::Db;
use crate::resource_servers::{ResourceServer, ResourceServers};

/// What a client asks for, found to be within what it may.
pub struct Requested<'a> {
    pub resource_server: Arc<ResourceServer>,
    pub audience: &'a ClientAudience,
    pub scopes: ScopeSet,
}

/// Why a client may not have what it asks for.
pub enum RequestRefused {
    /// The `resource` is none that this client may ask for (RFC 8707 §2).
    Target,
    /// The `scope` is malformed, unknown to the resource server, or not allowed to this client.
    Scope,
    Failed(DbErr),
}

impl From<DbErr> for RequestRefused {
    fn from(error: DbErr) -> Self {
        Self::Failed(error)
    }
}

/// Resolves `resource` and `scope` of a request. Without `resource` it is the first of the client's resource servers
/// that offers all the scopes; without `scope` it is the client's default for it.
///
/// # Errors
/// See `RequestRefused`.
pub async fn requested<'a>(
    client: &'a Client,
    resource_servers: &ResourceServers,
    db: &Db,
    resource: Option<&str>,
    scope: Option<&str>,
) -> Result<Requested<'a>, RequestRefused> {
    let scopes: Option<ScopeSet> = scope
        .map(str::parse)
        .transpose()
        .map_err(|_| RequestRefused::Scope)?
        .filter(|scopes: &ScopeSet| !scopes.is_empty());
    let mut is_target_known = false;
    for audience in &client.audiences {
        let Some(resource_server) = resource_servers.find(db, audience.resource_server).await?
        else {
            continue;
        };
        if !resource_server.is_offered_to(client.organization) {
            continue;
        }
        if resource.is_some_and(|resource| resource != resource_server.audience) {
            continue;
        }
        is_target_known = true;
        let catalog = &resource_server.catalog;
        // What fell out of the catalog since does not spoil a default.
        let scopes = scopes.clone().unwrap_or_else(|| catalog.relevant(&audience.default));
        let is_offered = scopes.iter().all(|scope| catalog.offers(scope));
        if !scopes.is_empty() && is_offered && audience.allowed.covers_all(&scopes) {
            return Ok(Requested { resource_server, audience, scopes });
        }
    }
    Err(if is_target_known { RequestRefused::Scope } else { RequestRefused::Target })
}

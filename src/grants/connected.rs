use std::collections::{BTreeMap, BTreeSet};

use entity::{ClientId, OrganizationId, ResourceServerId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use sea_orm::{ConnectionTrait, DbErr};

use super::store::{self, Allowed};

/// An application and all that one person has allowed it.
#[derive(Debug, Clone)]
pub struct ConnectedApp {
    pub client: ClientId,
    pub organizations: BTreeSet<OrganizationId>,
    /// What it may do at each API.
    pub access: BTreeMap<ResourceServerId, ScopeSet>,
    pub first_allowed_at: Timestamp,
    /// When it last got an access token; none where there is but a consent.
    pub last_used_at: Option<Timestamp>,
}

/// The applications with which the person has living grants or remembered consents, in whatever organization; the
/// newest first.
///
/// # Errors
/// When the database fails.
pub async fn connected_apps(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<Vec<ConnectedApp>, DbErr> {
    let mut apps: BTreeMap<ClientId, ConnectedApp> = BTreeMap::new();
    let granted = store::list_allowed(connection, user).await?;
    let agreed = store::list_agreed(connection, user).await?;
    for allowed in granted.into_iter().chain(agreed) {
        let app = apps.entry(allowed.client).or_insert_with(|| ConnectedApp {
            client: allowed.client,
            organizations: BTreeSet::new(),
            access: BTreeMap::new(),
            first_allowed_at: allowed.first,
            last_used_at: None,
        });
        app.add(allowed);
    }
    Ok(apps.into_values().rev().collect())
}

impl ConnectedApp {
    fn add(&mut self, allowed: Allowed) {
        self.organizations.insert(allowed.organization);
        self.first_allowed_at = self.first_allowed_at.min(allowed.first);
        self.last_used_at = self.last_used_at.max(allowed.last);
        let scopes = self.access.entry(allowed.resource_server).or_default();
        allowed.scopes.iter().for_each(|scope| scopes.insert(scope.clone()));
    }
}

use portcullis_verifier::ScopeSet;

use crate::api_keys::{AllowedNetworks, Known};
use crate::resource_servers::ResourceServer;
use crate::status_lists::Place;
use crate::tokens::{Authority, Descent};

/// What a key that was found good entitles to at an API; `scopes` may be fewer than it has there. The token dies with
/// the key, and with that one of its secrets.
#[must_use]
pub fn authority<'a>(
    known: &Known,
    api: &'a ResourceServer,
    scopes: ScopeSet,
    place: Option<Place>,
) -> Authority<'a> {
    let key = &known.key;
    let allowed_networks = match &key.allowed_networks {
        AllowedNetworks::Anywhere => None,
        AllowedNetworks::Only(networks) => Some(networks.clone()),
    };
    Authority {
        descent: Descent::ApiKey {
            key: key.id,
            secret: known.secret,
            owner: key.owner,
            allowed_networks,
            ends: known.ends(),
        },
        organization: key.organization,
        project: key.project,
        resource_server: api,
        scopes,
        place,
    }
}

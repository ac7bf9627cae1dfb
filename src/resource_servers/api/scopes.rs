//! `/v1/scopes`: everything that an organization may ask for or put on a key.

use std::fmt;
use std::str::FromStr;

use axum::extract::State;
use entity::ResourceServerId;
use portcullis_verifier::Scope;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadResourceServers};
use crate::app::App;
use crate::http::{Limit, PageOf, Problem, Query};
use crate::resource_servers::store;

/// A scope that your organization may use.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Scope)]
pub struct Representation {
    #[schema(value_type = String)]
    pub scope: Scope,
    /// What the consent page says of it.
    pub sentence: String,
    /// Whether only somebody who administers the resource may grant it.
    pub needs_admin: bool,
    /// Who offers it.
    pub resource_server: ResourceServerId,
    pub audience: String,
}

/// The place after which a page begins.
struct Place {
    resource_server: ResourceServerId,
    position: i32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.resource_server, self.position)
    }
}

impl FromStr for Place {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = text.split_once('.').and_then(|(id, position)| {
            Some(Self { resource_server: id.parse().ok()?, position: position.parse().ok()? })
        });
        place.ok_or("is no cursor of this list")
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>, min_length = 1, pattern = "^api_[0-7][0-9a-hjkmnp-tv-z]{25}\\.[0-9]{1,4}$")]
    cursor: Option<Place>,
    /// Those that this one offers.
    resource_server: Option<ResourceServerId>,
}

/// List scopes
///
/// Everything that the resource servers offer that your organization may use, in the order of the resource servers'
/// making and of their catalogs.
#[utoipa::path(
    get, path = "/v1/scopes", tag = "Resource servers", params(ListQuery),
    responses((status = 200, description = "A page of scopes", body = PageOf<Representation>)),
    security(("bearer" = ["read:resource-servers"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadResourceServers>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let (organization, only) = (caller.organization, query.resource_server);
    let after = query.cursor.map(|place| (place.resource_server, place.position));
    let rows = query.limit.rows();
    let scopes = store::list_scopes(app.db.reader(), organization, only, after, rows).await?;
    let place = |row: &store::OfferedScope| Place {
        resource_server: row.resource_server,
        position: row.position,
    };
    let show = |row: store::OfferedScope| Representation {
        scope: row.entry.scope,
        sentence: row.entry.sentence,
        needs_admin: row.entry.needs_admin,
        resource_server: row.resource_server,
        audience: row.audience,
    };
    Ok(axum::Json(PageOf::new(scopes, query.limit, place, show)))
}

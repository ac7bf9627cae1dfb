//! `/v1/me/connected-apps`: what the person who asks has allowed applications, in whatever organization.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use entity::{ClientId, OrganizationId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadConnectedApps, WriteConnectedApps};
use crate::app::App;
use crate::grants::{ConnectedApp, connected_apps, disconnect};
use crate::http::{Limit, PageOf, PathId, Problem, Query};
use crate::tenancy;

/// An application that the caller has allowed something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectedApp)]
pub struct Representation {
    client: ClientId,
    name: String,
    /// Where it may act.
    organizations: Vec<Place>,
    /// All that it was allowed anywhere.
    scopes: BTreeSet<String>,
    first_allowed_at: Timestamp,
    /// When it last got an access token.
    #[schema(required)]
    last_used_at: Option<Timestamp>,
}

/// An organization by its name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectedAppOrganization)]
struct Place {
    id: OrganizationId,
    name: String,
}

impl Representation {
    async fn new(app: &App, connected: ConnectedApp) -> Result<Self, Problem> {
        let client = app.clients.find(connected.client).await?;
        let mut organizations = Vec::new();
        for id in connected.organizations {
            let found = tenancy::find_organization(app.db.reader(), id).await?;
            organizations.extend(found.map(|it| Place { id, name: it.name }));
        }
        let scopes = connected.access.values().flat_map(|scopes| scopes.iter());
        Ok(Self {
            client: connected.client,
            name: client.map(|client| client.name.clone()).unwrap_or_default(),
            organizations,
            scopes: scopes.map(ToString::to_string).collect(),
            first_allowed_at: connected.first_allowed_at,
            last_used_at: connected.last_used_at,
        })
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
    cursor: Option<ClientId>,
}

/// The person behind the credential.
fn person<P>(caller: &Caller<P>) -> Result<UserId, Problem> {
    let detail = "This credential acts for no person, and it is people who connect apps.";
    caller.user.ok_or_else(|| Problem::forbidden(detail))
}

/// List your connected apps
///
/// One item for each application that you have allowed something, in whichever of your organizations. Newest
/// application first.
#[utoipa::path(
    get, path = "/v1/me/connected-apps", tag = "Me", params(ListQuery),
    responses((status = 200, description = "A page of applications", body = PageOf<Representation>)),
    security(("bearer" = ["read:connected-apps"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadConnectedApps>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let connected = connected_apps(app.db.reader(), person(&caller)?).await?;
    let is_further = |it: &ConnectedApp| query.cursor.is_none_or(|before| it.client < before);
    let rows = usize::try_from(query.limit.rows()).unwrap_or(usize::MAX);
    let mut shown = Vec::new();
    for connected in connected.into_iter().filter(is_further).take(rows) {
        shown.push(Representation::new(&app, connected).await?);
    }
    Ok(axum::Json(PageOf::new(shown, query.limit, |it| it.client, |it| it)))
}

/// End an app's access
///
/// In all of your organizations: its tokens are dead at once, and it has to ask you again.
#[utoipa::path(
    delete, path = "/v1/me/connected-apps/{client}", tag = "Me", params(("client" = ClientId, Path)),
    responses((status = 204, description = "It has no access any more")),
    security(("bearer" = ["write:connected-apps"]), ("session" = []))
)]
pub async fn end(
    State(app): State<App>,
    caller: Caller<WriteConnectedApps>,
    PathId(client): PathId<ClientId>,
) -> Result<StatusCode, Problem> {
    let person = person(&caller)?;
    let tx = app.db.begin().await?;
    disconnect(&tx, app.clock.now(), &caller.by, person, client).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

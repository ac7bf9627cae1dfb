//! The page on which people see which applications they have allowed what, and end it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{ClientId, Timestamp};

use super::{ConnectedApp, connected_apps, disconnect};
use crate::app::App;
use crate::console::{Asked, Day, Frame, Person, Section, page};
use crate::http::{Form, PageError};
use crate::platform::Refused;
use crate::tenancy;

/// How many applications are shown, the newest.
const APPS: usize = 100;

/// An application as a person reads it.
struct Shown {
    client: ClientId,
    name: String,
    organizations: Vec<String>,
    access: Vec<ShownAccess>,
    allowed_at: Timestamp,
    last_used_at: Option<Timestamp>,
}

/// What it may do at one API.
struct ShownAccess {
    api_name: String,
    sentences: Vec<String>,
    /// Those that reach far.
    powerful: Vec<String>,
}

#[derive(Template)]
#[template(path = "grants/connected_apps.html")]
struct ConnectedAppsPage {
    frame: Frame,
    notice: Option<&'static str>,
    apps: Vec<Shown>,
    has_more: bool,
}

/// `GET /connected-apps?done=`
pub async fn connected(
    State(app): State<App>,
    person: Person,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let connected = connected_apps(app.db.reader(), person.session.user).await?;
    let has_more = connected.len() > APPS;
    let mut apps = Vec::new();
    for connected in connected.into_iter().take(APPS) {
        apps.push(shown(&app, connected).await?);
    }
    let notice = "The app has no access any more. If it wants to come back, it has to ask you.";
    let template = ConnectedAppsPage {
        frame: person.frame(Section::ConnectedApps),
        notice: (asked.first("done") == "ended").then_some(notice),
        apps,
        has_more,
    };
    Ok(page(template, StatusCode::OK))
}

/// `GET /connected-apps/end`, for whoever was sent to log in before an app was ended.
pub async fn to_connected(person: Person) -> Redirect {
    Redirect::to(&format!("{}/connected-apps", person.base))
}

/// `POST /connected-apps/end`. What has ended before stays so; the list tells the truth either way.
pub async fn end(
    State(app): State<App>,
    person: Person,
    Form(form): Form,
) -> Result<Response, PageError> {
    let client = form?.only("client")?.parse().map_err(|_| PageError::not_found())?;
    let tx = app.db.begin().await?;
    match disconnect(&tx, person.now, &person.by(), person.session.user, client).await {
        Ok(()) => {
            tx.commit().await?;
            app.revocations.catch_up().await;
            let to = format!("{}/connected-apps?done=ended", person.base);
            Ok(Redirect::to(&to).into_response())
        }
        Err(Refused::NotFound) => Ok(to_connected(person).await.into_response()),
        Err(refused) => Err(refused.into()),
    }
}

/// Adds the names and sentences.
async fn shown(app: &App, connected: ConnectedApp) -> Result<Shown, PageError> {
    let client = app.clients.find(connected.client).await?;
    let mut organizations = Vec::new();
    for id in connected.organizations {
        let found = tenancy::find_organization(app.db.reader(), id).await?;
        organizations.extend(found.map(|organization| organization.name));
    }
    let mut access = Vec::new();
    for (resource_server, scopes) in connected.access {
        let Some(api) = app.resource_servers.find(&app.db, resource_server).await? else {
            continue;
        };
        let (powerful, usual): (Vec<_>, Vec<_>) =
            scopes.iter().partition(|scope| api.catalog.is_powerful(scope));
        let sentences =
            |scopes: Vec<_>| scopes.into_iter().map(|scope| api.catalog.sentence(scope)).collect();
        access.push(ShownAccess {
            api_name: api.name.clone(),
            sentences: sentences(usual),
            powerful: sentences(powerful),
        });
    }
    Ok(Shown {
        client: connected.client,
        name: client.map(|client| client.name.clone()).unwrap_or_default(),
        organizations,
        access,
        allowed_at: connected.first_allowed_at,
        last_used_at: connected.last_used_at,
    })
}

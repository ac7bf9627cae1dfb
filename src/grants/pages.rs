//! The page on which people see which applications they have allowed what, and end it.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use entity::ClientId;

use super::{ConnectedApp, connected_apps, disconnect};
use crate::app::App;
use crate::audit::Actor;
use crate::http::{Form, Page, PageError, Source};
use crate::identity::pages::{current_session, login_url};
use crate::platform::Refused;
use crate::tenancy;

/// An application as a person reads it.
struct Shown {
    client: ClientId,
    name: String,
    organizations: Vec<String>,
    access: Vec<ShownAccess>,
    allowed_on: String,
    last_used_on: Option<String>,
}

/// What it may do at one API.
struct ShownAccess {
    api_name: String,
    sentences: Vec<String>,
}

#[derive(Template)]
#[template(path = "grants/connected_apps.html")]
struct ConnectedAppsPage<'a> {
    base: &'a str,
    email: &'a str,
    apps: Vec<Shown>,
}

fn to_login(app: &App) -> Response {
    let base = &app.config.base_path;
    Redirect::to(&login_url(base, &format!("{base}/connected-apps"))).into_response()
}

/// `GET /connected-apps`
pub async fn connected(State(app): State<App>, cookies: CookieJar) -> Result<Response, PageError> {
    let Some(session) = current_session(&app, &cookies).await? else { return Ok(to_login(&app)) };
    let mut apps = Vec::new();
    for connected in connected_apps(app.db.reader(), session.user).await? {
        apps.push(shown(&app, connected).await?);
    }
    let page = ConnectedAppsPage { base: &app.config.base_path, email: &session.email, apps };
    Ok(Page::new(page).into_response())
}

/// `POST /connected-apps/end`. What has ended before stays so; the list tells the truth either way.
pub async fn end(
    State(app): State<App>,
    Source(source): Source,
    cookies: CookieJar,
    Form(form): Form,
) -> Result<Response, PageError> {
    let form = form?;
    let Some(session) = current_session(&app, &cookies).await? else { return Ok(to_login(&app)) };
    let client = form.only("client")?.parse().map_err(|_| PageError::not_found())?;
    let by = source.by(Actor::User(session.user));
    let tx = app.db.begin().await?;
    match disconnect(&tx, app.clock.now(), &by, session.user, client).await {
        Ok(()) => {
            tx.commit().await?;
            app.revocations.catch_up().await;
        }
        Err(Refused::NotFound) => {}
        Err(refused) => return Err(refused.into()),
    }
    Ok(Redirect::to(&format!("{}/connected-apps", app.config.base_path)).into_response())
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
        let found = app.resource_servers.find(&app.db, resource_server).await?;
        access.extend(found.map(|api| ShownAccess {
            api_name: api.name.clone(),
            sentences: scopes.iter().map(|scope| api.catalog.sentence(scope)).collect(),
        }));
    }
    Ok(Shown {
        client: connected.client,
        name: client.map(|client| client.name.clone()).unwrap_or_default(),
        organizations,
        access,
        allowed_on: day(connected.first_allowed_at),
        last_used_on: connected.last_used_at.map(day),
    })
}

/// The day in UTC: the first ten characters of RFC 3339.
fn day(at: entity::Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

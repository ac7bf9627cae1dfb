use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{ResourceServerId, Timestamp};

use super::super::{ResourceServer, ResourceServerChanges, edit as change};
use super::fields::{Fields, Wanted, in_the_form};
use super::list::whose;
use super::{address, found, own};
use crate::access::{ReadResourceServers, WriteResourceServers};
use crate::app::App;
use crate::console::{
    Asked, FormState, Frame, Moment, Named, Remaining, Section, Visitor, grouped, page,
};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::signing::{self, Algorithm};

/// How many scopes are shown at once.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "resource_servers/pages/one.html")]
struct ResourceServerPage {
    frame: Frame,
    list: String,
    here: String,
    notice: Option<&'static str>,
    api: ResourceServer,
    whose: &'static str,
    /// Whether it is the organization's own, and the visitor may change it.
    may_write: bool,
    now: Timestamp,
    older_ends_at: Option<Timestamp>,
    offers: String,
    /// How many of its scopes stand before those that are shown, and how many after.
    before: usize,
    after: usize,
}

/// `GET /o/{organization}/resource-servers/{id}?from=&done=`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadResourceServers>,
    Named(id): Named<ResourceServerId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let mut api = found(&app, &visitor, id).await?;
    let (now, organization) = (visitor.person.now, visitor.membership.organization);
    let is_own = api.organization == Some(organization) && !api.is_management;
    let all = api.catalog.0.len();
    let before = asked.first("from").parse().unwrap_or(0).min(all);
    api.catalog.0.drain(..before);
    api.catalog.0.truncate(ROWS);
    let template = ResourceServerPage {
        frame: visitor.frame(Section::ResourceServers),
        list: visitor.path("/resource-servers"),
        here: address(&visitor, id),
        notice: match asked.first("done") {
            "created" => Some(
                "The resource server is registered. Keys and applications can be given its scopes now.",
            ),
            "changed" => Some("Saved."),
            "rotated" => {
                Some("The new credential works. Put it into the API before the older one ends.")
            }
            _ => None,
        },
        whose: whose(&api, organization),
        may_write: is_own && visitor.caller.may::<WriteResourceServers>(),
        now,
        older_ends_at: api.older_credential_expires_at.filter(|end| is_own && *end > now),
        offers: grouped(all as u64),
        before,
        after: all - before - api.catalog.0.len(),
        api,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "resource_servers/pages/edit.html")]
struct EditResourceServerPage {
    frame: Frame,
    list: String,
    here: String,
    name: String,
    form: FormState,
    values: Fields,
    version: i32,
    is_operator: bool,
}

fn edit_page(
    visitor: &Visitor<WriteResourceServers>,
    form: FormState,
    api: &ResourceServer,
    values: Fields,
    version: i32,
) -> Response {
    let status = form.status();
    let template = EditResourceServerPage {
        frame: visitor.frame(Section::ResourceServers),
        list: visitor.path("/resource-servers"),
        here: address(visitor, api.id),
        name: api.name.clone(),
        form,
        values,
        version,
        is_operator: visitor.is_operator,
    };
    page(template, status)
}

/// `GET /o/{organization}/resource-servers/{id}/edit`
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Named(id): Named<ResourceServerId>,
) -> Result<Response, PageError> {
    let api = own(&app, &visitor, id).await?;
    let form = FormState::new(&visitor.person);
    Ok(edit_page(&visitor, form, &api, Fields::of(&api), api.version))
}

/// `POST /o/{organization}/resource-servers/{id}/edit`
pub async fn post_edit(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Named(id): Named<ResourceServerId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let api = own(&app, &visitor, id).await?;
    match save(&app, &visitor, &api, &sent).await {
        Ok(()) => {
            let to = format!("{}?done=changed", address(&visitor, id));
            Ok(Redirect::to(&to).into_response())
        }
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
            Ok(edit_page(&visitor, form, &api, Fields::sent(&sent), version(&sent)))
        }
        Err(refused) => Err(refused.into()),
    }
}

fn version(sent: &Parameters) -> i32 {
    sent.first("version").parse().unwrap_or_default()
}

async fn save(
    app: &App,
    visitor: &Visitor<WriteResourceServers>,
    api: &ResourceServer,
    sent: &Parameters,
) -> Result<(), Refused> {
    let wanted = Wanted::read(sent).map_err(Refused::Invalid)?;
    let places = wanted.places();
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    if wanted.algorithm != api.algorithm {
        signing::ensure_active(&app.db, now, by, &app.signing_seal, wanted.algorithm).await?;
        // No token may be signed with the new algorithm before its key is known.
        app.revocations.catch_up().await;
    }
    let changes = ResourceServerChanges {
        name: Some(sent.first("name")),
        algorithm: Some(wanted.algorithm),
        access_token_seconds: Some(wanted.access_token_seconds),
        catalog: wanted.catalog,
        is_shared: Some(wanted.is_shared).filter(|it| *it != api.is_shared),
        status_list: Some(wanted.status_list),
    };
    let organization = visitor.membership.organization;
    let tx = app.db.begin().await?;
    let changed = change(&tx, now, by, organization, api.id, Some(version(sent)), changes).await;
    changed.map_err(|refused| match refused {
        Refused::Invalid(problems) => Refused::Invalid(in_the_form(problems, &places)),
        refused => refused,
    })?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

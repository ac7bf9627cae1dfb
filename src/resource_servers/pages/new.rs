use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{NewResourceServer, ResourceServer, create as register, may_be_shared};
use super::address;
use super::fields::{Fields, Wanted, in_the_form};
use crate::access::WriteResourceServers;
use crate::app::App;
use crate::console::{FormState, Frame, Once, SecretPage, Section, Sent, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::revocation::{self, About};
use crate::signing::{self, Algorithm};

#[derive(Template)]
#[template(path = "resource_servers/pages/new.html")]
struct NewResourceServerPage {
    frame: Frame,
    list: String,
    form: FormState,
    values: Fields,
    is_operator: bool,
}

fn new_page(visitor: &Visitor<WriteResourceServers>, form: FormState, values: Fields) -> Response {
    let status = form.status();
    let template = NewResourceServerPage {
        frame: visitor.frame(Section::ResourceServers),
        list: visitor.path("/resource-servers"),
        form,
        values,
        is_operator: visitor.is_operator,
    };
    page(template, status)
}

/// `GET /o/{organization}/resource-servers/new`
pub async fn new(visitor: Visitor<WriteResourceServers>) -> Response {
    let values = Fields::new(visitor.is_operator);
    new_page(&visitor, FormState::new(&visitor.person), values)
}

/// What sending the form made.
enum Made {
    First(ResourceServer, SecretString),
    Before(String),
}

/// `POST /o/{organization}/resource-servers/new`
pub async fn create(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    match make(&app, &visitor, &sent).await {
        Ok(Made::First(api, credential)) => {
            let template = SecretPage {
                base: &visitor.person.base,
                title: "The credential",
                owner: &api.name,
                advice: "Store it where the API reads its settings. With it the API asks about tokens and keys, and hears of revocations.",
                secret: credential.expose_secret(),
                next: &address(&visitor, api.id),
                done: "created",
            };
            Ok(page(template, StatusCode::OK))
        }
        Ok(Made::Before(id)) => {
            let to = visitor.path(&format!("/resource-servers/{id}"));
            Ok(Redirect::to(&to).into_response())
        }
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            Ok(new_page(&visitor, form, Fields { is_too_long: false, ..Fields::sent(&sent) }))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn make(
    app: &App,
    visitor: &Visitor<WriteResourceServers>,
    sent: &Parameters,
) -> Result<Made, Refused> {
    let wanted = Wanted::read(sent).map_err(Refused::Invalid)?;
    let places = wanted.places();
    let (now, organization) = (visitor.person.now, visitor.membership.organization);
    let (caller, algorithm) = (&visitor.caller, wanted.algorithm);
    let is_shared = may_be_shared(app.db.reader(), organization, Some(wanted.is_shared)).await?;
    visitor.person.confirm(app, sent).await?;
    signing::ensure_active(&app.db, now, &caller.by, &app.signing_seal, algorithm).await?;
    // Tokens for it can be asked for as soon as this is answered.
    app.revocations.catch_up().await;
    let once = match Once::begin(&app.db, now, &caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(id) => return Ok(Made::Before(id)),
    };
    let new = NewResourceServer {
        organization,
        audience: sent.first("audience").trim(),
        name: sent.first("name"),
        algorithm,
        catalog: wanted.catalog.unwrap_or_default(),
        access_token_seconds: wanted.access_token_seconds,
        is_shared,
        status_list: wanted.status_list,
    };
    let made = register(once.tx(), now, &caller.by, &app.config.brand, new).await;
    let (api, credential) = made.map_err(|refused| match refused {
        Refused::Invalid(problems) => Refused::Invalid(in_the_form(problems, &places)),
        refused => refused,
    })?;
    // Where there was one API that everybody may use, there may be two now.
    revocation::append_changed(once.tx(), now, &[About::resource_server(api.id)]).await?;
    once.made(api.id).await?;
    app.revocations.catch_up().await;
    Ok(Made::First(api, credential))
}

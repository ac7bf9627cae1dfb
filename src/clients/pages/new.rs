use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ClientId;
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{Client, NewClient, register};
use super::address;
use super::fields::{Fields, Wanted, in_the_form};
use crate::access::WriteClients;
use crate::app::App;
use crate::console::{FormState, Frame, Once, SecretPage, Section, Sent, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::resource_servers::{self, ResourceServer};

#[derive(Template)]
#[template(path = "clients/pages/new.html")]
struct NewApplicationPage {
    frame: Frame,
    list: String,
    form: FormState,
    values: Fields,
    is_operator: bool,
}

fn new_page(visitor: &Visitor<WriteClients>, form: FormState, values: Fields) -> Response {
    let status = form.status();
    let template = NewApplicationPage {
        frame: visitor.frame(Section::Applications),
        list: visitor.path("/applications"),
        form,
        values,
        is_operator: visitor.is_operator,
    };
    page(template, status)
}

/// `GET /o/{organization}/applications/new`
pub async fn new(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
) -> Result<Response, PageError> {
    let organization = visitor.membership.organization;
    let offered = resource_servers::list_offered(app.db.reader(), organization).await?;
    Ok(new_page(&visitor, FormState::new(&visitor.person), Fields::new(&offered)))
}

/// What sending the form made.
enum Made {
    Confidential(Box<Client>, SecretString),
    Public(ClientId),
    Before(String),
}

/// `POST /o/{organization}/applications/new`
pub async fn create(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let organization = visitor.membership.organization;
    let offered = resource_servers::list_offered(app.db.reader(), organization).await?;
    match make(&app, &visitor, &sent, &offered).await {
        Ok(Made::Confidential(client, secret)) => {
            let template = SecretPage {
                base: &visitor.person.base,
                title: "The client secret",
                owner: &client.name,
                advice: "Store it where the application reads its settings, and nowhere that goes into a repository.",
                secret: secret.expose_secret(),
                next: &address(&visitor, client.id),
                done: "created",
            };
            Ok(page(template, StatusCode::OK))
        }
        Ok(Made::Public(id)) => {
            let to = format!("{}?done=created", address(&visitor, id));
            Ok(Redirect::to(&to).into_response())
        }
        Ok(Made::Before(id)) => {
            let to = visitor.path(&format!("/applications/{id}"));
            Ok(Redirect::to(&to).into_response())
        }
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            Ok(new_page(&visitor, form, Fields::sent(&sent, &offered)))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn make(
    app: &App,
    visitor: &Visitor<WriteClients>,
    sent: &Parameters,
    offered: &[ResourceServer],
) -> Result<Made, Refused> {
    let wanted = Wanted::read(sent, offered).map_err(Refused::Invalid)?;
    let api_names = wanted.api_names(offered);
    visitor.person.confirm(app, sent).await?;
    let (now, caller) = (visitor.person.now, &visitor.caller);
    let once = match Once::begin(&app.db, now, &caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(id) => return Ok(Made::Before(id)),
    };
    let usual = NewClient::new(visitor.membership.organization, sent.first("name"), &caller.scopes);
    let new = NewClient {
        is_confidential: sent.first("kind") != "public",
        requires_pkce: wanted.requires_pkce,
        grant_types: wanted.grant_types,
        redirect_uris: wanted.redirect_uris,
        audiences: wanted.audiences,
        refresh_retry_seconds: wanted.refresh_retry_seconds.unwrap_or(usual.refresh_retry_seconds),
        is_first_party: wanted.is_first_party,
        logo_uri: wanted.logo_uri,
        policy_uri: wanted.policy_uri,
        tos_uri: wanted.tos_uri,
        ..usual
    };
    let registered = register(once.tx(), now, &caller.by, &app.config.brand, new).await;
    let (client, secret) = registered.map_err(|refused| match refused {
        Refused::Invalid(problems) => Refused::Invalid(in_the_form(problems, &api_names)),
        refused => refused,
    })?;
    once.made(client.id).await?;
    Ok(match secret {
        Some(secret) => Made::Confidential(Box::new(client), secret),
        None => Made::Public(client.id),
    })
}

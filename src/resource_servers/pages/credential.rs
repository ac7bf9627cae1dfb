use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ResourceServerId;
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{ResourceServer, rotate_credential};
use super::{address, own};
use crate::access::WriteResourceServers;
use crate::app::App;
use crate::console::{
    FormState, Frame, GRACES, Named, Once, SecretPage, Section, Sent, Visitor, page,
};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

#[derive(Template)]
#[template(path = "resource_servers/pages/credential.html")]
struct CredentialPage {
    frame: Frame,
    list: String,
    here: String,
    name: String,
    form: FormState,
    grace: u64,
}

fn credential_page(
    visitor: &Visitor<WriteResourceServers>,
    form: FormState,
    api: &ResourceServer,
    grace: &str,
) -> Response {
    let status = form.status();
    let template = CredentialPage {
        frame: visitor.frame(Section::ResourceServers),
        list: visitor.path("/resource-servers"),
        here: address(visitor, api.id),
        name: api.name.clone(),
        form,
        grace: grace.parse().unwrap_or(86_400),
    };
    page(template, status)
}

/// `GET /o/{organization}/resource-servers/{id}/credential`
pub async fn credential(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Named(id): Named<ResourceServerId>,
) -> Result<Response, PageError> {
    let api = own(&app, &visitor, id).await?;
    Ok(credential_page(&visitor, FormState::new(&visitor.person), &api, ""))
}

/// `POST /o/{organization}/resource-servers/{id}/credential`
pub async fn rotate(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Named(id): Named<ResourceServerId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let api = own(&app, &visitor, id).await?;
    let next = address(&visitor, id);
    match make(&app, &visitor, id, &sent).await {
        Ok(Some(credential)) => {
            let template = SecretPage {
                base: &visitor.person.base,
                title: "The new credential",
                owner: &api.name,
                advice: "Put it into the API. The credential before works beside it for as long as you have chosen.",
                secret: credential.expose_secret(),
                next: &next,
                done: "rotated",
            };
            Ok(page(template, StatusCode::OK))
        }
        Ok(None) => Ok(Redirect::to(&next).into_response()),
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            Ok(credential_page(&visitor, form, &api, sent.first("grace_seconds")))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// The new credential; none where the form was sent before.
async fn make(
    app: &App,
    visitor: &Visitor<WriteResourceServers>,
    id: ResourceServerId,
    sent: &Parameters,
) -> Result<Option<SecretString>, Refused> {
    let Ok(grace) = sent.first("grace_seconds").parse() else {
        return Err(Refused::field("grace_seconds", "must be one of those offered"));
    };
    visitor.person.confirm(app, sent).await?;
    let (now, caller) = (visitor.person.now, &visitor.caller);
    let once = match Once::begin(&app.db, now, &caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(_) => return Ok(None),
    };
    let (brand, owner) = (&app.config.brand, Some(visitor.membership.organization));
    let (_, credential) =
        rotate_credential(once.tx(), now, &caller.by, brand, owner, id, Some(grace)).await?;
    once.made(id).await?;
    app.revocations.catch_up().await;
    Ok(Some(credential))
}

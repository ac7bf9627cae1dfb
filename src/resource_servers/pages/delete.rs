use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ResourceServerId;

use super::super::ResourceServer;
use super::{address, own};
use crate::access::WriteResourceServers;
use crate::app::App;
use crate::console::{FormState, Frame, Named, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::organizations::delete_resource_server;
use crate::platform::Refused;

#[derive(Template)]
#[template(path = "resource_servers/pages/delete.html")]
struct DeleteResourceServerPage {
    frame: Frame,
    list: String,
    here: String,
    name: String,
    form: FormState,
}

fn delete_page(
    visitor: &Visitor<WriteResourceServers>,
    form: FormState,
    api: &ResourceServer,
) -> Response {
    let status = form.status();
    let template = DeleteResourceServerPage {
        frame: visitor.frame(Section::ResourceServers),
        list: visitor.path("/resource-servers"),
        here: address(visitor, api.id),
        name: api.name.clone(),
        form,
    };
    page(template, status)
}

/// `GET /o/{organization}/resource-servers/{id}/delete`
pub async fn delete(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Named(id): Named<ResourceServerId>,
) -> Result<Response, PageError> {
    let api = own(&app, &visitor, id).await?;
    Ok(delete_page(&visitor, FormState::new(&visitor.person), &api))
}

/// `POST /o/{organization}/resource-servers/{id}/delete`
pub async fn post_delete(
    State(app): State<App>,
    visitor: Visitor<WriteResourceServers>,
    Named(id): Named<ResourceServerId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let api = own(&app, &visitor, id).await?;
    match end(&app, &visitor, &api, &sent).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/resource-servers?done=deleted")).into_response()),
        Err(Refused::Invalid(problems)) => {
            Ok(delete_page(&visitor, FormState::refused(&visitor.person, problems), &api))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn end(
    app: &App,
    visitor: &Visitor<WriteResourceServers>,
    api: &ResourceServer,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != api.name {
        let message = "must be the name of the resource server, letter by letter";
        return Err(Refused::field("name", message));
    }
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let tx = app.db.begin().await?;
    delete_resource_server(&tx, now, by, visitor.membership.organization, api.id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

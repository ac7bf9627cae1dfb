use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ClientId;

use super::super::{Client, revoke};
use super::{Head, living};
use crate::access::WriteClients;
use crate::app::App;
use crate::console::{FormState, Frame, Named, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

#[derive(Template)]
#[template(path = "clients/pages/delete.html")]
struct DeleteApplicationPage {
    frame: Frame,
    head: Head,
    form: FormState,
}

fn delete_page(visitor: &Visitor<WriteClients>, form: FormState, client: &Client) -> Response {
    let status = form.status();
    let template = DeleteApplicationPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(visitor, client, ""),
        form,
    };
    page(template, status)
}

/// `GET /o/{organization}/applications/{id}/delete`
pub async fn delete(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
) -> Result<Response, PageError> {
    let client = living(&app, &visitor, id).await?;
    Ok(delete_page(&visitor, FormState::new(&visitor.person), &client))
}

/// `POST /o/{organization}/applications/{id}/delete`
pub async fn post_delete(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let client = living(&app, &visitor, id).await?;
    match end(&app, &visitor, &client, &sent).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/applications?done=deleted")).into_response()),
        Err(Refused::Invalid(problems)) => {
            Ok(delete_page(&visitor, FormState::refused(&visitor.person, problems), &client))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn end(
    app: &App,
    visitor: &Visitor<WriteClients>,
    client: &Client,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != client.name {
        let message = "must be the name of the application, letter by letter";
        return Err(Refused::field("name", message));
    }
    if revoke(&app.db, visitor.person.now, &visitor.caller.by, client.id).await? {
        app.revocations.catch_up().await;
    }
    Ok(())
}

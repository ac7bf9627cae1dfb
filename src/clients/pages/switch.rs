use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ClientId;

use super::super::switch;
use super::{Head, address, living};
use crate::access::WriteClients;
use crate::app::App;
use crate::console::{Frame, Named, Section, Visitor, page};
use crate::http::PageError;

#[derive(Template)]
#[template(path = "clients/pages/switch.html")]
struct SwitchPage {
    frame: Frame,
    head: Head,
    /// Whether it is to be switched off.
    is_end: bool,
}

async fn switch_page(
    app: &App,
    visitor: &Visitor<WriteClients>,
    id: ClientId,
    is_end: bool,
) -> Result<Response, PageError> {
    let client = living(app, visitor, id).await?;
    let template = SwitchPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(visitor, &client, ""),
        is_end,
    };
    Ok(page(template, StatusCode::OK))
}

/// `GET /o/{organization}/applications/{id}/disable`
pub async fn disable(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
) -> Result<Response, PageError> {
    switch_page(&app, &visitor, id, true).await
}

/// `GET /o/{organization}/applications/{id}/enable`
pub async fn enable(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
) -> Result<Response, PageError> {
    switch_page(&app, &visitor, id, false).await
}

/// `POST /o/{organization}/applications/{id}/disable`
pub async fn post_disable(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
) -> Result<Response, PageError> {
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let tx = app.db.begin().await?;
    switch::disable(&tx, now, by, visitor.membership.organization, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    let to = format!("{}?done=disabled", address(&visitor, id));
    Ok(Redirect::to(&to).into_response())
}

/// `POST /o/{organization}/applications/{id}/enable`
pub async fn post_enable(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
) -> Result<Response, PageError> {
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let tx = app.db.begin().await?;
    switch::enable(&tx, now, by, visitor.membership.organization, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    let to = format!("{}?done=enabled", address(&visitor, id));
    Ok(Redirect::to(&to).into_response())
}

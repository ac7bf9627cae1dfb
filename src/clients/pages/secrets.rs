use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{ClientId, SecretId, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{Client, ClientSecret, NewSecret, add_secret, remove_secret};
use super::{Head, address, living};
use crate::access::{Permission, ReadClients, WriteClients};
use crate::app::App;
use crate::console::{
    Asked, FormState, Frame, GRACES, Moment, Named, Once, Remaining, SecretPage, Section, Sent,
    Visitor, page,
};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

#[derive(Template)]
#[template(path = "clients/pages/secrets.html")]
struct SecretsPage {
    frame: Frame,
    head: Head,
    notice: Option<&'static str>,
    form: FormState,
    now: Timestamp,
    /// Those that work, newest first.
    secrets: Vec<ClientSecret>,
    grace: u64,
}

fn secrets_page<P: Permission>(
    visitor: &Visitor<P>,
    form: FormState,
    client: &Client,
    notice: Option<&'static str>,
    grace: &str,
) -> Response {
    let (now, status) = (visitor.person.now, form.status());
    let good = client.secrets.iter().rev().filter(|secret| secret.is_good(now));
    let template = SecretsPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(visitor, client, "secrets"),
        notice,
        form,
        now,
        secrets: good.cloned().collect(),
        grace: grace.parse().unwrap_or(86_400),
    };
    page(template, status)
}

/// The application, if it has secrets at all.
async fn confidential<P>(
    app: &App,
    visitor: &Visitor<P>,
    id: ClientId,
) -> Result<Client, PageError> {
    let client = living(app, visitor, id).await?;
    if client.is_confidential { Ok(client) } else { Err(PageError::not_found()) }
}

/// `GET /o/{organization}/applications/{id}/secrets?done=`
pub async fn secrets(
    State(app): State<App>,
    visitor: Visitor<ReadClients>,
    Named(id): Named<ClientId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let client = confidential(&app, &visitor, id).await?;
    let notice = match asked.first("done") {
        "added" => {
            Some("The new secret works. Put it into the application before the older one ends.")
        }
        "removed" => Some("The secret is removed, and works no longer."),
        _ => None,
    };
    let form = FormState::new(&visitor.person);
    Ok(secrets_page(&visitor, form, &client, notice, ""))
}

/// `POST /o/{organization}/applications/{id}/secrets`
pub async fn add(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let client = confidential(&app, &visitor, id).await?;
    let next = format!("{}/secrets", address(&visitor, id));
    match make(&app, &visitor, id, &sent).await {
        Ok(Some(secret)) => {
            let template = SecretPage {
                base: &visitor.person.base,
                title: "The new client secret",
                owner: &client.name,
                advice: "Put it into the application. The secret before works beside it for as long as you have chosen.",
                secret: secret.expose_secret(),
                next: &next,
                done: "added",
            };
            Ok(page(template, StatusCode::OK))
        }
        Ok(None) => Ok(Redirect::to(&next).into_response()),
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            let grace = sent.first("grace_seconds");
            Ok(secrets_page(&visitor, form, &client, None, grace))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// The new secret; none where the form was sent before.
async fn make(
    app: &App,
    visitor: &Visitor<WriteClients>,
    id: ClientId,
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
    let new = NewSecret { grace_seconds: Some(grace), reach: &caller.scopes };
    let (brand, organization) = (&app.config.brand, visitor.membership.organization);
    let (_, secret) = add_secret(once.tx(), now, &caller.by, brand, organization, id, new).await?;
    once.made(id).await?;
    app.revocations.catch_up().await;
    Ok(Some(secret))
}

#[derive(Template)]
#[template(path = "clients/pages/secret_remove.html")]
struct RemoveSecretPage {
    frame: Frame,
    head: Head,
    secret: ClientSecret,
}

/// `GET /o/{organization}/applications/{id}/remove-secret?secret=`
pub async fn remove(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let client = confidential(&app, &visitor, id).await?;
    let named = asked.first("secret").parse::<SecretId>().ok();
    let now = visitor.person.now;
    let found = client.secrets.iter().find(|it| Some(it.id) == named && it.is_good(now));
    // Whoever had to log in in between comes without its name.
    let Some(secret) = found.cloned() else {
        let to = format!("{}/secrets", address(&visitor, id));
        return Ok(Redirect::to(&to).into_response());
    };
    let template = RemoveSecretPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(&visitor, &client, "secrets"),
        secret,
    };
    Ok(page(template, StatusCode::OK))
}

/// `POST /o/{organization}/applications/{id}/remove-secret`
pub async fn post_remove(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let secret = sent.first("secret").parse().map_err(|_| PageError::not_found())?;
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let tx = app.db.begin().await?;
    remove_secret(&tx, now, by, visitor.membership.organization, id, secret).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    let to = format!("{}/secrets?done=removed", address(&visitor, id));
    Ok(Redirect::to(&to).into_response())
}

//! Revoking a key.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use entity::ApiKeyId;

use super::{found, found_active, path_of, to};
use crate::access::WriteApiKeys;
use crate::api_keys::{self, ApiKey, Status};
use crate::app::App;
use crate::console::{FormState, Frame, Moment, Named, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

#[derive(Template)]
#[template(path = "api_keys/pages/revoke.html")]
struct RevokePage<'a> {
    frame: Frame,
    here: String,
    form: FormState,
    key: &'a ApiKey,
    name: &'a str,
    reason: &'a str,
}

fn form_page(
    visitor: &Visitor<WriteApiKeys>,
    form: FormState,
    key: &ApiKey,
    sent: &Parameters,
) -> Response {
    let status = form.status();
    let template = RevokePage {
        frame: visitor.frame(Section::ApiKeys),
        here: path_of(visitor, key.id, ""),
        form,
        key,
        name: sent.first("name"),
        reason: sent.first("reason"),
    };
    page(template, status)
}

/// `GET /o/{organization}/api-keys/{id}/revoke`
pub async fn revoke(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Named(id): Named<ApiKeyId>,
) -> Result<Response, PageError> {
    let key = found_active(&app, &visitor, id).await?;
    Ok(form_page(&visitor, FormState::new(&visitor.person), &key, &Parameters::default()))
}

/// `POST /o/{organization}/api-keys/{id}/revoke`. What is revoked already stays so.
pub async fn post_revoke(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Named(id): Named<ApiKeyId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let key = found(&app, &visitor, id).await?;
    if key.status(visitor.person.now) == Status::Revoked {
        return Ok(to(&path_of(&visitor, id, "?done=revoked")));
    }
    match end(&app, &visitor, &key, &sent).await {
        Ok(()) => Ok(to(&path_of(&visitor, id, "?done=revoked"))),
        Err(refused) => {
            Ok(form_page(&visitor, FormState::returned(&visitor.person, refused)?, &key, &sent))
        }
    }
}

async fn end(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    key: &ApiKey,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != key.name {
        return Err(Refused::field("name", "must be the name of the key, letter by letter"));
    }
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let (organization, reason) = (Some(key.organization), Some(sent.first("reason")));
    if !api_keys::revoke(&app.db, now, by, organization, key.id, reason).await? {
        return Err(Refused::NotFound);
    }
    app.revocations.catch_up().await;
    Ok(())
}

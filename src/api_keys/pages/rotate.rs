//! Giving a key a new secret.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use entity::ApiKeyId;
use secrecy::SecretString;

use super::secret::secret_page;
use super::{Choice, found_active, path_of, to};
use crate::access::WriteApiKeys;
use crate::api_keys::{self, ApiKey, NewSecret};
use crate::app::App;
use crate::console::{FormState, Frame, GRACES, Moment, Named, Once, Section, Sent, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::resource_servers;

/// A day.
const USUAL: &str = "86400";

#[derive(Template)]
#[template(path = "api_keys/pages/rotate.html")]
struct RotatePage<'a> {
    frame: Frame,
    here: String,
    form: FormState,
    key: &'a ApiKey,
    is_rotating: bool,
    graces: Vec<Choice>,
}

fn form_page(
    visitor: &Visitor<WriteApiKeys>,
    form: FormState,
    key: &ApiKey,
    grace: &str,
) -> Response {
    let status = form.status();
    let now = visitor.person.now;
    let template = RotatePage {
        frame: visitor.frame(Section::ApiKeys),
        here: path_of(visitor, key.id, ""),
        form,
        key,
        is_rotating: key.rotating_until.is_some_and(|end| end > now),
        graces: GRACES
            .map(|(seconds, label)| Choice::new(seconds.to_string(), label, grace))
            .into(),
    };
    page(template, status)
}

/// `GET /o/{organization}/api-keys/{id}/rotate`
pub async fn rotate(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Named(id): Named<ApiKeyId>,
) -> Result<Response, PageError> {
    let key = found_active(&app, &visitor, id).await?;
    Ok(form_page(&visitor, FormState::new(&visitor.person), &key, USUAL))
}

/// `POST /o/{organization}/api-keys/{id}/rotate`
pub async fn post_rotate(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Named(id): Named<ApiKeyId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let key = found_active(&app, &visitor, id).await?;
    match renew(&app, &visitor, id, &sent).await {
        Ok(Some((key, secret))) => {
            let apis = resource_servers::list_offered(app.db.reader(), key.organization).await?;
            Ok(secret_page(&app, &visitor, &apis, &key, &secret, false))
        }
        Ok(None) => Ok(to(&path_of(&visitor, id, "?done=rotated"))),
        Err(refused) => {
            let form = FormState::returned(&visitor.person, refused)?;
            Ok(form_page(&visitor, form, &key, sent.first("grace_seconds")))
        }
    }
}

/// The key with its new secret; none where the form was sent before.
async fn renew(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    id: ApiKeyId,
    sent: &Parameters,
) -> Result<Option<(ApiKey, SecretString)>, Refused> {
    let grace = sent.first("grace_seconds").parse();
    let grace =
        grace.map_err(|_| Refused::field("grace_seconds", "must be chosen from the list"))?;
    visitor.person.confirm(app, sent).await?;
    let now = visitor.person.now;
    let once = match Once::begin(&app.db, now, &visitor.caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(_) => return Ok(None),
    };
    let new = NewSecret { grace_seconds: Some(grace), reach: &visitor.caller.scopes };
    let (by, brands) = (&visitor.caller.by, app.config.brands());
    let organization = visitor.membership.organization;
    let renewed = api_keys::rotate(once.tx(), now, by, &brands, organization, id, new).await?;
    once.made(id).await?;
    app.revocations.catch_up().await;
    Ok(Some(renewed))
}

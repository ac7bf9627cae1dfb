//! Editing a key. What that would take away from whoever uses the key is shown first, and has to be accepted.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ApiKeyId, Timestamp};

use super::choices::{Group, groups};
use super::typed::{Read, Typed};
use super::{Choice, found_active, limit_hint, path_of, to};
use crate::access::WriteApiKeys;
use crate::api_keys::{self, AllowedNetworks, ApiKey, ApiKeyChanges, Edited, Extent};
use crate::app::App;
use crate::console::{FormState, Frame, Moment, Named, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::{FieldError, Refused};
use crate::resource_servers::{self, ResourceServer};

#[derive(Template)]
#[template(path = "api_keys/pages/edit.html")]
struct EditPage<'a> {
    frame: Frame,
    here: String,
    base: &'a str,
    form: FormState,
    key: &'a ApiKey,
    version: &'a str,
    typed: &'a Typed,
    groups: Vec<Group>,
    expiries: Vec<Choice>,
    own_address: Option<&'a str>,
    asks_any_address: bool,
    limit_hint: String,
    /// What saving would do, where somebody should think it over.
    consequences: Option<Consequences>,
}

/// What an edit does to whoever uses the key.
#[derive(Default)]
struct Consequences {
    lost_scopes: Vec<(String, Timestamp)>,
    lost_networks: Vec<String>,
    /// Networks that hold every address.
    wide: Vec<String>,
}

impl Consequences {
    fn of(edited: &Edited, allowed_ips: Option<&[String]>) -> Self {
        let network = |lost: &api_keys::LostNetwork| match lost.extent {
            Extent::All => lost.network.to_string(),
            Extent::Part => format!("a part of {}", lost.network),
        };
        let scope = |lost: &api_keys::ScopeUse| (lost.scope.to_string(), lost.last_used_at);
        Self {
            lost_scopes: edited.lost_scopes.iter().map(scope).collect(),
            lost_networks: edited.lost_networks.iter().map(network).collect(),
            wide: AllowedNetworks::warnings(allowed_ips),
        }
    }

    /// The same as one text: what was shown is what is accepted, and nothing more. When something was used last may
    /// change while somebody reads.
    fn text(&self) -> String {
        let scopes = self.lost_scopes.iter().map(|(scope, _)| scope);
        let all = scopes.chain(&self.lost_networks).chain(&self.wide);
        all.map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn form_page(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    apis: &[ResourceServer],
    key: &ApiKey,
    (form, typed, version): (FormState, &Typed, &str),
    consequences: Option<Consequences>,
) -> Response {
    let status = match &consequences {
        // Nothing is wrong, and nothing is done.
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => form.status(),
    };
    let keep = match key.expires_at {
        // A list holds text alone, in no zone but UTC.
        Some(end) => match end.to_string().get(..16) {
            Some(minute) => format!("As it is: {} UTC", minute.replace('T', " ")),
            None => format!("As it is: {end}"),
        },
        None => "As it is: never".to_owned(),
    };
    let template = EditPage {
        frame: visitor.frame(Section::ApiKeys),
        here: path_of(visitor, key.id, ""),
        base: &visitor.person.base,
        form,
        key,
        version,
        groups: groups(apis, &visitor.caller.scopes, &typed.scopes),
        expiries: typed.expiries(Some(keep)),
        own_address: visitor.person.source.address.as_deref(),
        asks_any_address: false,
        limit_hint: limit_hint(&app.config.api_keys),
        consequences,
        typed,
    };
    page(template, status)
}

/// `GET /o/{organization}/api-keys/{id}/edit`
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Named(id): Named<ApiKeyId>,
) -> Result<Response, PageError> {
    let key = found_active(&app, &visitor, id).await?;
    let apis = resource_servers::list_offered(app.db.reader(), key.organization).await?;
    let typed = Typed::of_key(&key, &apis);
    let (form, version) = (FormState::new(&visitor.person), key.version.to_string());
    Ok(form_page(&app, &visitor, &apis, &key, (form, &typed, &version), None))
}

/// `POST /o/{organization}/api-keys/{id}/edit`
pub async fn post_edit(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Named(id): Named<ApiKeyId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let key = found_active(&app, &visitor, id).await?;
    let apis = resource_servers::list_offered(app.db.reader(), key.organization).await?;
    let typed = Typed::of(&sent);
    let (form, consequences) = match change(&app, &visitor, &apis, &key, &typed, &sent).await {
        Ok(None) => return Ok(to(&path_of(&visitor, id, "?done=changed"))),
        Ok(Some(consequences)) => (FormState::new(&visitor.person), Some(consequences)),
        Err(refused) => (FormState::returned(&visitor.person, typed.placed(refused))?, None),
    };
    // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
    let form = (form, &typed, sent.first("version"));
    Ok(form_page(&app, &visitor, &apis, &key, form, consequences))
}

/// Changes the key, or tells what has to be accepted first.
async fn change(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    apis: &[ResourceServer],
    key: &ApiKey,
    typed: &Typed,
    sent: &Parameters,
) -> Result<Option<Consequences>, Refused> {
    let mut errors: Vec<FieldError> = Vec::new();
    let own_address = visitor.person.source.address.as_deref();
    let wanted = typed.read(visitor.person.now, key.expires_at, own_address, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let (now, by, reach) = (visitor.person.now, &visitor.caller.by, &visitor.caller.scopes);
    let expected = Some(sent.first("version").parse().unwrap_or_default());
    let changes = || changes(typed, &wanted, reach, apis);
    let (organization, id) = (key.organization, key.id);
    let trial =
        api_keys::try_edit(app.db.reader(), now, organization, id, expected, changes()).await?;
    let consequences = Consequences::of(&trial, wanted.allowed_ips.as_deref());
    if consequences.text() != sent.first("accepted") {
        return Ok(Some(consequences));
    }
    let tx = app.db.begin().await?;
    api_keys::edit(&tx, now, by, organization, id, expected, changes()).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(None)
}

fn changes<'a>(
    typed: &'a Typed,
    wanted: &'a Read,
    reach: &'a portcullis_verifier::ScopeSet,
    offered: &'a [ResourceServer],
) -> ApiKeyChanges<'a> {
    ApiKeyChanges {
        name: Some(&typed.name),
        description: Some(&typed.description),
        labels: Some(wanted.labels.clone()),
        scopes: Some(&wanted.scopes),
        allowed_ips: Some(wanted.allowed_ips.as_deref()),
        requests_per_minute: Some(wanted.requests_per_minute),
        expires_at: Some(wanted.expires_at),
        reach,
        offered,
    }
}

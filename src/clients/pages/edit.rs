use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ClientId;
use portcullis_verifier::ScopeSet;

use super::super::{Client, ClientChanges, NewAudience, edit as change};
use super::fields::{Fields, Wanted, in_the_form};
use super::{Head, living};
use crate::access::WriteClients;
use crate::app::App;
use crate::console::{FormState, Frame, Named, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::resource_servers::{self, ResourceServer};

#[derive(Template)]
#[template(path = "clients/pages/edit.html")]
struct EditApplicationPage {
    frame: Frame,
    head: Head,
    form: FormState,
    values: Fields,
    version: i32,
    is_operator: bool,
}

/// `GET /o/{organization}/applications/{id}/edit`
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
) -> Result<Response, PageError> {
    let client = living(&app, &visitor, id).await?;
    let organization = visitor.membership.organization;
    let offered = resource_servers::list_offered(app.db.reader(), organization).await?;
    let form = FormState::new(&visitor.person);
    let values = Fields::of(&client, &offered);
    Ok(edit_page(&visitor, form, &client, values, client.version))
}

fn edit_page(
    visitor: &Visitor<WriteClients>,
    form: FormState,
    client: &Client,
    values: Fields,
    version: i32,
) -> Response {
    let status = form.status();
    let template = EditApplicationPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(visitor, client, "edit"),
        form,
        values,
        version,
        is_operator: visitor.is_operator,
    };
    page(template, status)
}

/// `POST /o/{organization}/applications/{id}/edit`
pub async fn post_edit(
    State(app): State<App>,
    visitor: Visitor<WriteClients>,
    Named(id): Named<ClientId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let client = living(&app, &visitor, id).await?;
    let organization = visitor.membership.organization;
    let offered = resource_servers::list_offered(app.db.reader(), organization).await?;
    match save(&app, &visitor, &client, &sent, &offered).await {
        Ok(()) => {
            let to = format!("{}?done=changed", super::address(&visitor, id));
            Ok(Redirect::to(&to).into_response())
        }
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            let values =
                Fields { is_public: !client.is_confidential, ..Fields::sent(&sent, &offered) };
            // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
            Ok(edit_page(&visitor, form, &client, values, version(&sent)))
        }
        Err(refused) => Err(refused.into()),
    }
}

fn version(sent: &Parameters) -> i32 {
    sent.first("version").parse().unwrap_or_default()
}

async fn save(
    app: &App,
    visitor: &Visitor<WriteClients>,
    before: &Client,
    sent: &Parameters,
    offered: &[ResourceServer],
) -> Result<(), Refused> {
    let wanted = Wanted::read(sent, offered).map_err(Refused::Invalid)?;
    let api_names = wanted.api_names(offered);
    let has_other_scopes = !is_as_before(&wanted.audiences, before, offered);
    let audiences = has_other_scopes.then(|| keeping_defaults(wanted.audiences, before));
    let changes = ClientChanges {
        name: Some(sent.first("name")),
        requires_pkce: Some(wanted.requires_pkce),
        grant_types: Some(wanted.grant_types),
        redirect_uris: Some(wanted.redirect_uris),
        audiences,
        refresh_retry_seconds: wanted.refresh_retry_seconds,
        is_first_party: Some(wanted.is_first_party),
        logo_uri: Some(wanted.logo_uri),
        policy_uri: Some(wanted.policy_uri),
        tos_uri: Some(wanted.tos_uri),
        reach: &visitor.caller.scopes,
    };
    let (now, by, id) = (visitor.person.now, &visitor.caller.by, before.id);
    let organization = visitor.membership.organization;
    let tx = app.db.begin().await?;
    let changed = change(&tx, now, by, organization, id, Some(version(sent)), changes).await;
    changed.map_err(|refused| match refused {
        Refused::Invalid(problems) => Refused::Invalid(in_the_form(problems, &api_names)),
        refused => refused,
    })?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

/// Whether the form says of scopes what is so anyway. APIs that the organization may no longer use can't be seen in it,
/// and stay.
fn is_as_before(wanted: &[NewAudience], before: &Client, offered: &[ResourceServer]) -> bool {
    let is_offered = |id| offered.iter().any(|api| api.id == id);
    let had = before.audiences.iter().filter(|it| is_offered(it.resource_server)).count();
    let is_same = |it: &NewAudience| {
        before.audience(it.resource_server).is_some_and(|had| had.allowed == it.allowed)
    };
    wanted.len() == had && wanted.iter().all(is_same)
}

/// What a request without `scope` gets can't be seen in the form either: where it was not all, it is what is left of it.
fn keeping_defaults(wanted: Vec<NewAudience>, before: &Client) -> Vec<NewAudience> {
    let kept = |mut it: NewAudience| {
        let had = before.audience(it.resource_server).filter(|had| had.default != had.allowed);
        if let Some(had) = had {
            let left = had.default.iter().filter(|scope| it.allowed.covers(scope));
            it.default = left.cloned().collect::<ScopeSet>();
        }
        it
    };
    wanted.into_iter().map(kept).collect()
}

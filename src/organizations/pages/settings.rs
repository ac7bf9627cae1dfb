//! `/o/{organization}/settings`: what the organization is called, what holds for all of its API keys, and its end.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::super::close_organization;
use crate::access::{
    Caller, Denied, FoundOrganizations, Permission, ReadOrganizations, WriteOrganizations,
};
use crate::app::App;
use crate::console::{Asked, Day, FormState, Frame, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::tenancy::{self, LeakPolicy, Organization, OrganizationChanges};

/// What to do with a leaked key, to choose from.
const POLICIES: [(LeakPolicy, &str, &str); 3] = [
    (LeakPolicy::Notify, "Tell its owner", "The key goes on working until they revoke it."),
    (
        LeakPolicy::Narrow,
        "Leave it nothing but reading",
        "Its owner is told. What only reads goes on, what changes things stops.",
    ),
    (LeakPolicy::Revoke, "Revoke it", "Its owner is told. Whatever uses it stops at once."),
];

/// Who can close the organization.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// The visitor.
    Visitor,
    /// Nobody: it runs the installation.
    Nobody,
    /// People of the organization that runs the installation.
    Others,
}

#[derive(Template)]
#[template(path = "organizations/pages/settings.html")]
struct SettingsPage<'a> {
    frame: Frame,
    here: String,
    notice: Option<&'static str>,
    form: FormState,
    organization: &'a Organization,
    name: &'a str,
    requests: String,
    policy: &'a str,
    policies: [(LeakPolicy, &'static str, &'static str); 3],
    version: i32,
    may_write: bool,
    closing: Closing,
}

async fn found<P>(app: &App, visitor: &Visitor<P>) -> Result<Organization, PageError> {
    let id = visitor.membership.organization;
    tenancy::find_organization(app.db.reader(), id).await?.ok_or_else(PageError::not_found)
}

/// `GET /o/{organization}/settings`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadOrganizations>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let organization = found(&app, &visitor).await?;
    let notice = (asked.first("done") == "changed").then_some("Saved.");
    let form = FormState::new(&visitor.person);
    settings_page(&app, &visitor, &organization, form, None, notice).await
}

/// The page about the organization, with what stands in its form.
async fn settings_page<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    organization: &Organization,
    form: FormState,
    filled_in: Option<&Parameters>,
    notice: Option<&'static str>,
) -> Result<Response, PageError> {
    let status = form.status();
    let requests = organization.requests_per_minute.map(|it| it.to_string()).unwrap_or_default();
    let template = SettingsPage {
        frame: visitor.frame(Section::Organization),
        here: visitor.path("/settings"),
        notice,
        form,
        organization,
        name: filled_in.map_or(&organization.name, |sent| sent.first("name")),
        requests: filled_in
            .map_or(requests, |sent| sent.first("api_key_requests_per_minute").to_owned()),
        policy: filled_in
            .map_or(organization.leak_policy.as_str(), |sent| sent.first("leak_policy")),
        policies: POLICIES,
        // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
        version: match filled_in {
            Some(sent) => sent.first("version").parse().unwrap_or_default(),
            None => organization.version,
        },
        may_write: visitor.caller.may::<WriteOrganizations>(),
        closing: match visitor.is_operator {
            true => Closing::Nobody,
            false if founder(app, visitor).await?.is_some() => Closing::Visitor,
            false => Closing::Others,
        },
    };
    Ok(page(template, status))
}

/// `POST /o/{organization}/settings`
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteOrganizations>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let organization = found(&app, &visitor).await?;
    let form = match change(&app, &visitor, &organization, &sent).await {
        Ok(()) => {
            return Ok(Redirect::to(&visitor.path("/settings?done=changed")).into_response());
        }
        Err(refused) => FormState::returned(&visitor.person, refused)?,
    };
    settings_page(&app, &visitor, &organization, form, Some(&sent), None).await
}

async fn change(
    app: &App,
    visitor: &Visitor<WriteOrganizations>,
    present: &Organization,
    sent: &Parameters,
) -> Result<(), Refused> {
    let requests = match sent.first("api_key_requests_per_minute").trim() {
        "" => None,
        // What is no number is as far from one that may be chosen as 0 is.
        text => Some(text.parse().unwrap_or(0)),
    };
    let policy: LeakPolicy = match sent.first("leak_policy").parse() {
        Ok(policy) => policy,
        Err(_) => return Err(Refused::field("leak_policy", "must be chosen")),
    };
    let name = sent.first("name");
    // What stays as it is leaves no trace in the audit trail.
    let changes = OrganizationChanges {
        name: Some(name).filter(|name| *name != present.name),
        requests_per_minute: Some(requests).filter(|it| *it != present.requests_per_minute),
        leak_policy: Some(policy).filter(|policy| *policy != present.leak_policy),
    };
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let expected = Some(sent.first("version").parse().unwrap_or_default());
    let tx = app.db.begin().await?;
    tenancy::edit_organization(&tx, now, by, present.id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

/// The visitor in the organization that runs the installation, if they may close others there.
async fn founder<P>(
    app: &App,
    visitor: &Visitor<P>,
) -> Result<Option<Caller<FoundOrganizations>>, PageError> {
    let operator = tenancy::find_operator(app.db.reader()).await?;
    let person = &visitor.person;
    let there = person.memberships.iter().find(|it| Some(it.organization) == operator);
    let Some(there) = there else { return Ok(None) };
    match Caller::of_session(there, person.session.user, true, person.by()) {
        Ok(caller) => Ok(Some(caller)),
        Err(Denied::Failed(cause)) => Err(cause.into()),
        Err(Denied::Scope(_) | Denied::Project | Denied::Installation) => Ok(None),
    }
}

#[derive(Template)]
#[template(path = "organizations/pages/settings_close.html")]
struct ClosePage {
    frame: Frame,
    settings: String,
    form: FormState,
    organization: String,
}

fn close_page(visitor: &Visitor<ReadOrganizations>, form: FormState) -> Response {
    let status = form.status();
    let template = ClosePage {
        frame: visitor.frame(Section::Organization),
        settings: visitor.path("/settings"),
        form,
        organization: visitor.membership.organization_name.clone(),
    };
    page(template, status)
}

async fn founder_or_refusal(
    app: &App,
    visitor: &Visitor<ReadOrganizations>,
) -> Result<Caller<FoundOrganizations>, PageError> {
    founder(app, visitor).await?.ok_or_else(|| {
        let why = "Only people of the organization that runs the installation close others.";
        PageError::new(StatusCode::FORBIDDEN, "Your role does not allow this", why)
    })
}

/// `GET /o/{organization}/settings/close`
pub async fn close(
    State(app): State<App>,
    visitor: Visitor<ReadOrganizations>,
) -> Result<Response, PageError> {
    founder_or_refusal(&app, &visitor).await?;
    Ok(close_page(&visitor, FormState::new(&visitor.person)))
}

/// `POST /o/{organization}/settings/close`
pub async fn post_close(
    State(app): State<App>,
    visitor: Visitor<ReadOrganizations>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let founder = founder_or_refusal(&app, &visitor).await?;
    match end(&app, &visitor, &founder, &sent).await {
        Ok(()) => Ok(Redirect::to(&format!("{}/", visitor.person.base)).into_response()),
        Err(refused) => Ok(close_page(&visitor, FormState::returned(&visitor.person, refused)?)),
    }
}

async fn end(
    app: &App,
    visitor: &Visitor<ReadOrganizations>,
    founder: &Caller<FoundOrganizations>,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != visitor.membership.organization_name.trim() {
        let message = "must be the name of the organization, letter by letter";
        return Err(Refused::field("name", message));
    }
    visitor.person.confirm(app, sent).await?;
    let tx = app.db.begin().await?;
    let id = visitor.membership.organization;
    close_organization(&tx, visitor.person.now, &founder.by, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

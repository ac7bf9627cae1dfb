//! Asking the person: who wants what, in which organization or project. Of several scopes they may untick some; what is
//! granted is what was asked for, less what they unticked, within their role.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum_extra::extract::CookieJar;
use entity::{GrantId, OrganizationId, ProjectId};
use portcullis_verifier::{Scope, ScopeSet};
use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use super::checks::{self, AuthorizationRequest, Prompt};
use crate::app::App;
use crate::audit::{self, Actor, Event};
use crate::clients;
use crate::console::chosen;
use crate::grants::{self, CODE_LIFETIME, Code};
use crate::http::{Form, Page, PageError, Parameters, Source};
use crate::identity::Session;
use crate::identity::pages::{current_session, login_url};
use crate::tenancy::{self, Membership};

/// How many of an organization's projects there are to choose from, the newest.
const PROJECTS: u64 = 100;
/// How many scopes can be unticked one by one: no form holds more than a hundred fields.
const MOST_TICKS: usize = 80;

/// What is to be done about consent.
pub(super) enum Decision {
    /// Nothing more.
    Allowed(Allowance),
    /// The person must be asked; in which of these organizations, too.
    Ask(Vec<Membership>),
    /// There is nothing that this person could allow.
    Impossible(&'static str),
}

/// What a person, or their company, allows an application.
pub(super) struct Allowance {
    place: Place,
    basis: Basis,
    /// What they left ticked; none where they were asked about all of it at once, or not asked.
    ticked: Option<ScopeSet>,
}

/// Where an application may act.
#[derive(Clone, Copy)]
pub(super) struct Place {
    organization: OrganizationId,
    /// None: in all of it.
    project: Option<ProjectId>,
}

/// Why an application may act for a person.
#[derive(Clone, Copy)]
pub(super) enum Basis {
    /// The person said so.
    Consent,
    /// It is the company's own.
    FirstParty,
}

/// Decides whether the person must be asked. A public client proves nothing of itself, so that an earlier consent
/// may have been for somebody else who uses its id: it is asked for every time (RFC 6749 §10.2).
pub(super) async fn decide(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
) -> Result<Decision, PageError> {
    let able = able(app, request, session).await?;
    if able.is_empty() {
        return Ok(Decision::Impossible(NONE_OF_THESE));
    }
    if request.client.client.is_confidential
        && request.prompt != Prompt::Consent
        && let Some(place) = agreed_before(app, request, session, &able).await?
    {
        return Ok(Decision::Allowed(Allowance { place, basis: Basis::Consent, ticked: None }));
    }
    match able.as_slice() {
        [only] if request.needs_no_consent() => {
            let place = Place { organization: only.organization, project: None };
            let basis = Basis::FirstParty;
            Ok(Decision::Allowed(Allowance { place, basis, ticked: None }))
        }
        _ => Ok(Decision::Ask(able)),
    }
}

/// The person's organizations in which they could allow some of it.
async fn able(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
) -> Result<Vec<Membership>, PageError> {
    let memberships = tenancy::list_memberships(app.db.reader(), session.user).await?;
    let is_able = |membership: &Membership| {
        request.resource_server.is_offered_to(membership.organization)
            && !request.allowed_by(membership).is_empty()
    };
    Ok(memberships.into_iter().filter(is_able).collect())
}

/// Where the person has agreed to all of this before, the latest; a project that was deleted since is nowhere.
async fn agreed_before(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    able: &[Membership],
) -> Result<Option<Place>, PageError> {
    let (client, api) = (request.client.client.id, request.resource_server.id);
    let consents = grants::list_consents(app.db.reader(), session.user, client, api).await?;
    for consent in consents {
        let covers = able.iter().any(|membership| {
            membership.organization == consent.organization
                && consent.scopes.covers_all(&request.allowed_by(membership))
        });
        let place = Place { organization: consent.organization, project: consent.project };
        if covers && exists(app, place).await? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

async fn exists(app: &App, place: Place) -> Result<bool, sea_orm::DbErr> {
    let Some(project) = place.project else { return Ok(true) };
    let found = tenancy::find_project(app.db.reader(), place.organization, project).await?;
    Ok(found.is_some())
}

const NONE_OF_THESE: &str = "the user's role allows none of these scopes";

/// Why there is no code.
pub(super) enum NotAllowed {
    /// What the person left ticked is nothing that their role allows there.
    NothingLeft,
    Refused(OAuthError),
}

impl<E: Into<OAuthError>> From<E> for NotAllowed {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// Writes down what the person has allowed and makes the code: it is what is asked, as far as they left it ticked,
/// within their role. What they were not asked about is not remembered as if they had been.
pub(super) async fn allow(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    source: audit::Source,
    allowance: Allowance,
) -> Result<SecretString, NotAllowed> {
    let Allowance { place, basis, ticked } = allowance;
    let denied = || OAuthError::new(ErrorCode::AccessDenied, NONE_OF_THESE);
    let membership = tenancy::find_membership(app.db.reader(), place.organization, session.user)
        .await?
        .filter(|membership| request.resource_server.is_offered_to(membership.organization))
        .ok_or_else(denied)?;
    let allowed = request.allowed_by(&membership);
    if allowed.is_empty() || !exists(app, place).await? {
        return Err(denied().into());
    }
    let scopes = ticked.map_or_else(|| allowed.clone(), |ticked| allowed.intersection(&ticked));
    if scopes.is_empty() {
        return Err(NotAllowed::NothingLeft);
    }
    let left_out: ScopeSet =
        allowed.iter().filter(|scope| !scopes.covers(scope)).cloned().collect();
    let now = app.clock.now();
    let client = request.client.client.id;
    let code = Code {
        grant: GrantId::new(now),
        client,
        user: session.user,
        organization: place.organization,
        project: place.project,
        resource_server: request.resource_server.id,
        scopes,
        redirect_uri: request.client.redirect_uri.clone(),
        code_challenge: request.code_challenge.clone(),
        expires_at: now + CODE_LIFETIME,
        is_redeemed: false,
    };
    let tx = app.db.begin().await?;
    let action = match basis {
        Basis::Consent => {
            grants::forget_left_out(&tx, &code, &left_out).await?;
            grants::remember_consent(&tx, now, &code).await?;
            "consent.given"
        }
        Basis::FirstParty => "consent.skipped",
    };
    let text = grants::issue_code(&tx, now, &code).await?;
    let by = source.by(Actor::User(session.user));
    let event =
        Event::new(action, client).in_organization(place.organization).with(serde_json::json!({
            "scopes": code.scopes.to_string(), "grant": code.grant, "project": code.project,
        }));
    audit::record(&tx, now, &by, event).await?;
    tx.commit().await?;
    Ok(text)
}

#[derive(Template)]
#[template(path = "oauth/authorize/consent.html")]
struct ConsentPage<'a> {
    base: &'a str,
    problem: Option<&'static str>,
    /// Whether the person agrees by answering, or only says where.
    asks_for_consent: bool,
    /// Whether whoever asks is a program on some computer that proves nothing of itself.
    is_command_line: bool,
    client: &'a clients::Client,
    email: &'a str,
    somebody_else: String,
    api_name: &'a str,
    /// Whether single scopes can be unticked.
    has_ticks: bool,
    usual: Vec<ShownScope>,
    powerful: Vec<ShownScope>,
    choices: Vec<Choice<'a>>,
    has_projects: bool,
    /// The organization, or one and its project, that was chosen before.
    chosen: &'a str,
    request: String,
    destination: String,
}

/// Something that the application may do.
struct ShownScope {
    scope: String,
    sentence: String,
    is_ticked: bool,
}

/// An organization to choose, or one of its projects.
struct Choice<'a> {
    membership: &'a Membership,
    projects: Vec<tenancy::Project>,
    /// What the person's role there leaves of what is asked for, where that is less.
    only: Option<Vec<String>>,
}

impl ConsentPage<'_> {
    fn is_chosen(&self, organization: &OrganizationId, project: Option<&ProjectId>) -> bool {
        match project {
            Some(project) => self.chosen == format!("{organization} {project}"),
            None => self.chosen == organization.to_string(),
        }
    }
}

/// What a page that comes back keeps of the answer.
#[derive(Default)]
pub(super) struct Earlier<'a> {
    problem: Option<&'static str>,
    ticked: Option<ScopeSet>,
    chosen: &'a str,
}

/// The page that asks.
pub(super) async fn page(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    parameters: &Parameters,
    memberships: &[Membership],
    earlier: Earlier<'_>,
) -> Result<Response, PageError> {
    let mut allowed: Vec<ScopeSet> = memberships.iter().map(|it| request.allowed_by(it)).collect();
    allowed.dedup();
    // Where it is the same in all organizations the page shows just what the roles there leave of it.
    let shown = match allowed.as_slice() {
        [everywhere] => everywhere,
        _ => &request.scopes,
    };
    let catalog = &request.resource_server.catalog;
    let mut choices = Vec::new();
    for membership in memberships {
        let (db, organization) = (app.db.reader(), membership.organization);
        let here = request.allowed_by(membership);
        let sentences = || here.iter().map(|scope| catalog.sentence(scope)).collect();
        choices.push(Choice {
            membership,
            projects: tenancy::list_projects(db, organization, None, None, PROJECTS).await?,
            only: (here != *shown).then(sentences),
        });
    }
    let shown_scope = |scope: &Scope| ShownScope {
        scope: scope.to_string(),
        sentence: catalog.sentence(scope),
        is_ticked: earlier.ticked.as_ref().is_none_or(|ticked| ticked.covers(scope)),
    };
    let (powerful, usual): (Vec<&Scope>, Vec<&Scope>) =
        shown.iter().partition(|scope| catalog.is_powerful(scope));
    let (client, base) = (&request.client.client, &app.config.base_path);
    let query = parameters.to_query();
    let page = Page::new(ConsentPage {
        base,
        problem: earlier.problem,
        asks_for_consent: !request.needs_no_consent(),
        is_command_line: !client.is_confidential && is_on_this_computer(request),
        client,
        email: &session.email,
        somebody_else: login_url(base, &format!("{base}/oauth/authorize?{query}")),
        api_name: &request.resource_server.name,
        has_ticks: (2..=MOST_TICKS).contains(&shown.len()),
        usual: usual.into_iter().map(shown_scope).collect(),
        powerful: powerful.into_iter().map(shown_scope).collect(),
        has_projects: choices.iter().any(|choice| !choice.projects.is_empty()),
        choices,
        chosen: earlier.chosen,
        request: query,
        destination: destination(&request.client.redirect_uri),
    });
    let status = match earlier.problem {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let page = page.with_status(status).with_form_target(&request.client.redirect_uri);
    Ok(match &client.logo_uri {
        Some(logo) => page.with_image(logo).into_response(),
        None => page.into_response(),
    })
}

fn is_on_this_computer(request: &AuthorizationRequest<'_>) -> bool {
    let uri = url::Url::parse(&request.client.redirect_uri);
    uri.is_ok_and(|uri| clients::is_loopback(&uri))
}

/// Where the answer goes, as people read it: the host, or this computer, or an app.
fn destination(redirect_uri: &str) -> String {
    match url::Url::parse(redirect_uri) {
        Ok(uri) if clients::is_loopback(&uri) => "this computer".to_owned(),
        Ok(uri) => match uri.host_str() {
            Some(host) => host.to_owned(),
            None => format!("the app {}", uri.scheme()),
        },
        Err(_) => redirect_uri.to_owned(),
    }
}

/// `POST /oauth/authorize/consent`: what the person decided. The request is checked all over again.
pub async fn post(
    State(app): State<App>,
    Source(source): Source,
    cookies: CookieJar,
    Form(form): Form,
) -> Result<Response, PageError> {
    let form = form?;
    let (asked, chosen) = (form.only("request")?, form.only("organization")?);
    let decision = form.only("decision")?;
    let parameters = Parameters::parse(asked.as_bytes())?;
    let client = checks::client_and_redirect_uri(&app, &parameters).await?;
    let request = match checks::request(&app, &client, &parameters).await {
        Ok(request) => request,
        Err(error) => return Ok(client.refuse(&app, error)),
    };
    let Some(session) = current_session(&app, &cookies).await? else {
        return Ok(super::to_login(&app, &client, &parameters));
    };
    match decision {
        "allow" => {}
        "deny" => {
            return Ok(
                client.refuse(&app, OAuthError::new(ErrorCode::AccessDenied, "the user said no"))
            );
        }
        _ => return Err(PageError::bad_request("Please choose to allow or to deny.")),
    }
    let place = place(&app, &session, chosen).await?;
    let basis = match request.needs_no_consent() {
        true => Basis::FirstParty,
        false => Basis::Consent,
    };
    let ticked = ticked(&form, &request)?;
    let allowance = Allowance { place, basis, ticked: ticked.clone() };
    match allow(&app, &request, &session, source, allowance).await {
        Ok(code) => Ok(client.answer(&app, &code)),
        Err(NotAllowed::Refused(error)) => Ok(client.refuse(&app, error)),
        Err(NotAllowed::NothingLeft) => {
            let problem = match ticked.as_ref().is_none_or(ScopeSet::is_empty) {
                true => "Tick at least one thing that it may do, or deny.",
                false => {
                    "Your role in that organization allows nothing of what is ticked. Tick more, or deny."
                }
            };
            let earlier = Earlier { problem: Some(problem), ticked, chosen };
            let memberships = able(&app, &request, &session).await?;
            page(&app, &request, &session, &parameters, &memberships, earlier).await
        }
    }
}

/// What was left ticked, as far as it was asked for; none where the page let nothing be unticked. Whatever a form may
/// say, this only takes away.
fn ticked(
    form: &Parameters,
    request: &AuthorizationRequest<'_>,
) -> Result<Option<ScopeSet>, PageError> {
    if form.get("ticks")?.is_none() {
        return Ok(None);
    }
    let scopes = chosen(form, "scope");
    let scopes = scopes.iter().filter_map(|text| text.parse::<Scope>().ok());
    Ok(Some(scopes.filter(|scope| request.scopes.covers(scope)).collect()))
}

/// What was chosen: an organization, or one and its project. A project that is gone is never taken for all of the
/// organization.
async fn place(app: &App, session: &Session, chosen: &str) -> Result<Place, PageError> {
    let (organization, project) = match chosen.split_once(' ') {
        Some((organization, project)) => (organization, Some(project)),
        None => (chosen, None),
    };
    let organization = organization
        .parse()
        .map_err(|_| PageError::bad_request("Please choose an organization."))?;
    let Some(project) = project else { return Ok(Place { organization, project: None }) };
    let gone = || {
        PageError::bad_request(
            "The project is not there any more. Go back to the application, and choose once more.",
        )
    };
    let project = Some(project.parse().map_err(|_| gone())?);
    let place = Place { organization, project };
    let member = tenancy::find_membership(app.db.reader(), organization, session.user).await?;
    match member.is_some() && exists(app, place).await? {
        true => Ok(place),
        false => Err(gone()),
    }
}

//! Asking the person: who wants what, in which organization or project.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum_extra::extract::CookieJar;
use entity::{GrantId, OrganizationId, ProjectId};
use portcullis_verifier::ScopeSet;
use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use super::checks::{self, AuthorizationRequest, Prompt};
use crate::app::App;
use crate::audit::{self, Actor, Event};
use crate::clients;
use crate::grants::{self, CODE_LIFETIME, Code};
use crate::http::{Form, Page, PageError, Parameters, Source};
use crate::identity::Session;
use crate::identity::pages::current_session;
use crate::tenancy::{self, Membership};

/// How many of an organization's projects there are to choose from, the newest.
const PROJECTS: u64 = 100;

/// What is to be done about consent.
pub(super) enum Decision {
    /// Nothing more.
    Allowed(Place, Basis),
    /// The person must be asked; in which of these organizations, too.
    Ask(Vec<Membership>),
    /// There is nothing that this person could allow.
    Impossible(&'static str),
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
    let memberships = tenancy::list_memberships(app.db.reader(), session.user).await?;
    let able: Vec<Membership> = memberships
        .into_iter()
        .filter(|membership| request.resource_server.is_offered_to(membership.organization))
        .filter(|membership| !request.allowed_by(membership).is_empty())
        .collect();
    if able.is_empty() {
        return Ok(Decision::Impossible("the user's role allows none of these scopes"));
    }
    if request.client.client.is_confidential
        && request.prompt != Prompt::Consent
        && let Some(place) = agreed_before(app, request, session, &able).await?
    {
        return Ok(Decision::Allowed(place, Basis::Consent));
    }
    match able.as_slice() {
        [only] if request.needs_no_consent() => {
            let place = Place { organization: only.organization, project: None };
            Ok(Decision::Allowed(place, Basis::FirstParty))
        }
        _ => Ok(Decision::Ask(able)),
    }
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

/// Writes down what the person has allowed and makes the code: it is what is asked, within their role. What they were
/// not asked about is not remembered as if they had been.
pub(super) async fn allow(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    source: audit::Source,
    place: Place,
    basis: Basis,
) -> Result<SecretString, OAuthError> {
    let denied =
        || OAuthError::new(ErrorCode::AccessDenied, "the user's role allows none of these scopes");
    let membership = tenancy::find_membership(app.db.reader(), place.organization, session.user)
        .await?
        .filter(|membership| request.resource_server.is_offered_to(membership.organization))
        .ok_or_else(denied)?;
    let scopes = request.allowed_by(&membership);
    if scopes.is_empty() || !exists(app, place).await? {
        return Err(denied());
    }
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
    /// Whether the person agrees by answering, or only says where.
    asks_for_consent: bool,
    client: &'a clients::Client,
    email: &'a str,
    api_name: &'a str,
    sentences: Vec<String>,
    choices: Vec<Choice<'a>>,
    has_projects: bool,
    request: String,
    destination: String,
}

/// An organization to choose, or one of its projects.
struct Choice<'a> {
    membership: &'a Membership,
    projects: Vec<tenancy::Project>,
    /// What the person's role there leaves of what is asked for, where that is less.
    only: Option<Vec<String>>,
}

/// The page that asks.
pub(super) async fn page(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    parameters: &Parameters,
    memberships: &[Membership],
) -> Result<Response, PageError> {
    let mut allowed: Vec<ScopeSet> = memberships.iter().map(|it| request.allowed_by(it)).collect();
    allowed.dedup();
    // Where it is the same in all organizations the page shows just what the roles there leave of it.
    let shown = match allowed.as_slice() {
        [everywhere] => everywhere,
        _ => &request.scopes,
    };
    let catalog = &request.resource_server.catalog;
    let sentences =
        |scopes: &ScopeSet| scopes.iter().map(|scope| catalog.sentence(scope)).collect();
    let mut choices = Vec::new();
    for membership in memberships {
        let (db, organization) = (app.db.reader(), membership.organization);
        let here = request.allowed_by(membership);
        choices.push(Choice {
            membership,
            projects: tenancy::list_projects(db, organization, None, None, PROJECTS).await?,
            only: (here != *shown).then(|| sentences(&here)),
        });
    }
    let client = &request.client.client;
    let page = Page::new(ConsentPage {
        base: &app.config.base_path,
        asks_for_consent: !request.needs_no_consent(),
        client,
        email: &session.email,
        api_name: &request.resource_server.name,
        sentences: sentences(shown),
        has_projects: choices.iter().any(|choice| !choice.projects.is_empty()),
        choices,
        request: parameters.to_query(),
        destination: destination(&request.client.redirect_uri),
    });
    let page = page.with_form_target(&request.client.redirect_uri);
    Ok(match &client.logo_uri {
        Some(logo) => page.with_image(logo).into_response(),
        None => page.into_response(),
    })
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
    match allow(&app, &request, &session, source, place, basis).await {
        Ok(code) => Ok(client.answer(&app, &code)),
        Err(error) => Ok(client.refuse(&app, error)),
    }
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

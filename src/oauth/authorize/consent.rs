//! Asking the person: who wants what, in which organization.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum_extra::extract::CookieJar;
use entity::{GrantId, OrganizationId, ProjectId};
use secrecy::SecretString;

use super::super::{ErrorCode, OAuthError};
use super::checks::{self, AuthorizationRequest, Prompt};
use crate::app::App;
use crate::audit::{self, Actor, Event};
use crate::grants::{self, CODE_LIFETIME, Code};
use crate::http::{Form, Page, PageError, Parameters, Source};
use crate::identity::Session;
use crate::identity::pages::current_session;
use crate::tenancy::{self, Membership};

/// What is to be done about consent.
pub(super) enum Decision {
    /// Agreed before, in this organization and project.
    Agreed(OrganizationId, Option<ProjectId>),
    /// The person must be asked; in which of these organizations, too.
    Ask(Vec<Membership>),
    /// There is nothing that this person could allow.
    Impossible(&'static str),
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
    if request.client.client.is_confidential && request.prompt != Prompt::Consent {
        let (client, api) = (request.client.client.id, request.resource_server.id);
        let consents = grants::list_consents(app.db.reader(), session.user, client, api).await?;
        let covering = consents.into_iter().find(|consent| {
            able.iter().any(|membership| {
                membership.organization == consent.organization
                    && consent.scopes.covers_all(&request.allowed_by(membership))
            })
        });
        if let Some(consent) = covering {
            return Ok(Decision::Agreed(consent.organization, consent.project));
        }
    }
    Ok(Decision::Ask(able))
}

/// Writes the consent down and makes the code: what the person allows is what is asked, within their role.
pub(super) async fn allow(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    source: audit::Source,
    organization: OrganizationId,
    project: Option<ProjectId>,
) -> Result<SecretString, OAuthError> {
    let denied =
        || OAuthError::new(ErrorCode::AccessDenied, "the user's role allows none of these scopes");
    let membership = tenancy::find_membership(app.db.reader(), organization, session.user)
        .await?
        .filter(|membership| request.resource_server.is_offered_to(membership.organization))
        .ok_or_else(denied)?;
    let scopes = request.allowed_by(&membership);
    if scopes.is_empty() {
        return Err(denied());
    }
    let now = app.clock.now();
    let (client, api) = (request.client.client.id, request.resource_server.id);
    let code = Code {
        grant: GrantId::new(now),
        client,
        user: session.user,
        organization,
        project,
        resource_server: api,
        scopes,
        redirect_uri: request.client.redirect_uri.clone(),
        code_challenge: request.code_challenge.clone(),
        expires_at: now + CODE_LIFETIME,
        is_redeemed: false,
    };
    let tx = app.db.begin().await?;
    grants::remember_consent(&tx, now, &code).await?;
    let text = grants::issue_code(&tx, now, &code).await?;
    let by = source.by(Actor::User(session.user));
    let event = Event::new("consent.given", client)
        .in_organization(organization)
        .with(serde_json::json!({ "scopes": code.scopes.to_string(), "grant": code.grant }));
    audit::record(&tx, now, &by, event).await?;
    tx.commit().await?;
    Ok(text)
}

#[derive(Template)]
#[template(path = "oauth/authorize/consent.html")]
struct ConsentPage<'a> {
    base: &'a str,
    client_name: &'a str,
    email: &'a str,
    api_name: &'a str,
    sentences: Vec<String>,
    organizations: &'a [Membership],
    request: String,
    destination: String,
}

/// The page that asks.
pub(super) fn page(
    app: &App,
    request: &AuthorizationRequest<'_>,
    session: &Session,
    parameters: &Parameters,
    organizations: &[Membership],
) -> Response {
    // With one organization the page shows just what the role there leaves of it.
    let shown = match organizations {
        [only] => request.allowed_by(only),
        _ => request.scopes.clone(),
    };
    let page = ConsentPage {
        base: &app.config.base_path,
        client_name: &request.client.client.name,
        email: &session.email,
        api_name: &request.resource_server.name,
        sentences: shown
            .iter()
            .map(|scope| request.resource_server.catalog.sentence(scope))
            .collect(),
        organizations,
        request: parameters.to_query(),
        destination: destination(&request.client.redirect_uri),
    };
    Page::new(page).with_form_target(&request.client.redirect_uri).into_response()
}

/// Where the answer goes, as people read it: the host, or this computer, or an app.
fn destination(redirect_uri: &str) -> String {
    match url::Url::parse(redirect_uri) {
        Ok(uri) if crate::clients::is_loopback(&uri) => "this computer".to_owned(),
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
    let (asked, organization) = (form.only("request")?, form.only("organization")?);
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
    let organization = organization
        .parse()
        .map_err(|_| PageError::bad_request("Please choose an organization."))?;
    match allow(&app, &request, &session, source, organization, None).await {
        Ok(code) => Ok(client.answer(&app, &code)),
        Err(error) => Ok(client.refuse(&app, error)),
    }
}

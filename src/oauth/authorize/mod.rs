//! `GET/POST /oauth/authorize`: a person allows an application to act for them (RFC 6749 §4.1).
//!
//! Nothing is redirected to until client and redirect URI are known good; every answer to the application carries
//! `iss` (RFC 9207). The request travels in the URL from page to page and is checked anew at each step, so there is
//! no half-finished state to keep, expire or steal.

mod checks;
mod consent;
mod response;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;

pub use consent::post as consent;

use super::{ErrorCode, OAuthError};
use crate::app::App;
use crate::http::{Form, PageError, Parameters, Source};
use crate::identity::pages::{current_session, login_url};
use checks::Prompt;
use consent::{Decision, Earlier, NotAllowed};
use response::KnownClient;

/// A request that is carried on in a URL must fit into one.
const MAX_QUERY: usize = 16 * 1024;

/// `GET /oauth/authorize`, RFC 6749 §4.1.1
pub async fn get(
    State(app): State<App>,
    Source(source): Source,
    cookies: CookieJar,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let parameters = parse(query.unwrap_or_default().as_bytes())?;
    // 1. Who asks, and where may the answer go? Until this is known, refusals stay on a page of ours.
    let client = checks::client_and_redirect_uri(&app, &parameters).await?;
    // 2. Is the request one that can be granted?
    let request = match checks::request(&app, &client, &parameters).await {
        Ok(request) => request,
        Err(error) => return Ok(client.refuse(&app, error)),
    };
    // 3. Who is the person?
    let session = current_session(&app, &cookies).await?;
    let session = match session {
        Some(session) if request.prompt != Prompt::Login => session,
        None if request.prompt == Prompt::None => {
            let error = OAuthError::new(ErrorCode::LoginRequired, "nobody is logged in");
            return Ok(client.refuse(&app, error));
        }
        _ => return Ok(to_login(&app, &client, &parameters)),
    };
    // 4. Have they agreed, or must they be asked?
    match consent::decide(&app, &request, &session).await? {
        // 5. The answer.
        Decision::Allowed(allowance) => {
            match consent::allow(&app, &request, &session, source, allowance).await {
                Ok(code) => Ok(request.client.answer(&app, &code)),
                Err(NotAllowed::Refused(error)) => Ok(request.client.refuse(&app, error)),
                // Nothing was unticked.
                Err(NotAllowed::NothingLeft) => Err(anyhow::anyhow!("nothing is allowed").into()),
            }
        }
        Decision::Ask(_) if request.prompt == Prompt::None => {
            let error = OAuthError::new(ErrorCode::ConsentRequired, "the user has to agree first");
            Ok(request.client.refuse(&app, error))
        }
        Decision::Ask(memberships) => {
            let first = Earlier::default();
            consent::page(&app, &request, &session, &parameters, &memberships, first).await
        }
        Decision::Impossible(description) => {
            Ok(request.client.refuse(&app, OAuthError::new(ErrorCode::AccessDenied, description)))
        }
    }
}

/// `POST /oauth/authorize`, RFC 6749 §3.1: the same by another method. The browser comes again with GET, for a post
/// from the application's site carries no cookies of ours.
pub async fn post(State(app): State<App>, Form(parameters): Form) -> Result<Response, PageError> {
    let query = parameters?.to_query();
    parse(query.as_bytes())?;
    Ok(Redirect::to(&format!("{}/oauth/authorize?{query}", app.config.base_path)).into_response())
}

fn parse(query: &[u8]) -> Result<Parameters, PageError> {
    if query.len() > MAX_QUERY {
        let status = axum::http::StatusCode::URI_TOO_LONG;
        return Err(PageError::new(
            status,
            "This request can't be used",
            "It is longer than 16 KiB.",
        ));
    }
    Ok(Parameters::parse(query)?)
}

/// Sends the browser to the login page, to come back with the same request. A `prompt=login` is fulfilled by that
/// and must not ask again; the login page then lets nobody pass who is logged in. The redirect URI is spelled out, for the login form may lead there in the end.
fn to_login(app: &App, client: &KnownClient, parameters: &Parameters) -> Response {
    let base = &app.config.base_path;
    let request = parameters
        .without_word("prompt", "login")
        .with_default("redirect_uri", &client.redirect_uri)
        .to_query();
    let login = login_url(base, &format!("{base}/oauth/authorize?{request}"));
    let is_asked_for = parameters.first("prompt").split(' ').any(|word| word == "login");
    let again = if is_asked_for { "&again=yes" } else { "" };
    Redirect::to(&format!("{login}{again}")).into_response()
}

//! Login and logout.

use std::time::Duration;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use url::Url;

use super::super::{Login, LoginAttempt, end_session, log_in};
use super::{current_session, logs_out, session_cookie};
use crate::app::App;
use crate::http::{ClientAddress, Form, Page, PageError, Parameters, Source, session_token};

/// A path of ours to go on to; anything else, and above all another site, becomes the front page.
fn safe_next(app: &App, next: &str) -> String {
    let home = format!("{}/", app.config.base_path);
    let is_ours = || {
        let issuer = Url::parse(&app.config.issuer).ok()?;
        let joined = issuer.join(next).ok()?;
        // The path as the browser will see it: without `..`, which may lead out of ours.
        let is_below = next.starts_with(&home) && joined.path().starts_with(&home);
        (joined.origin() == issuer.origin() && is_below).then_some(())
    };
    let is_odd = next.contains(|letter: char| letter == '\\' || letter.is_control());
    match is_odd || next.starts_with("//") {
        false if is_ours().is_some() => next.to_owned(),
        _ => home,
    }
}

#[derive(Template)]
#[template(path = "identity/pages/login.html")]
struct LoginPage<'a> {
    base: &'a str,
    next: &'a str,
    email: &'a str,
    notice: Option<&'static str>,
    /// Who is logged in already, and may go on as they are.
    current: Option<&'a str>,
    problem: Option<&'static str>,
}

/// Renders the login page. Its form may end at the application that waits behind it: browsers hold the policy against
/// the redirects that follow a form too. The target is checked when it is redirected to, not here.
fn login_page(page: LoginPage<'_>, status: StatusCode) -> Response {
    let next = page.next;
    let page = Page::new(page).with_status(status);
    let query = next.split_once('?').map(|(_, query)| query).unwrap_or_default();
    match Parameters::parse(query.as_bytes()) {
        Ok(parameters) => page.with_form_target(parameters.first("redirect_uri")).into_response(),
        Err(_) => page.into_response(),
    }
}

/// `GET /login?next=&again=&done=`. Somebody who is logged in may go on, but where an application wants them to log in
/// `again`.
pub async fn login(
    State(app): State<App>,
    cookies: CookieJar,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let next = safe_next(&app, parameters.only("next")?);
    let current = match parameters.only("again")? {
        "" => current_session(&app, &cookies).await?,
        _ => None,
    };
    let page = LoginPage {
        base: &app.config.base_path,
        next: &next,
        email: "",
        notice: match parameters.only("done")? {
            "logged_out" if current.is_none() => Some("You are logged out."),
            _ => None,
        },
        current: current.as_ref().map(|session| session.email.as_str()),
        problem: None,
    };
    Ok(login_page(page, StatusCode::OK))
}

/// `POST /login`
pub async fn post_login(
    State(app): State<App>,
    Source(source): Source,
    ClientAddress(address): ClientAddress,
    cookies: CookieJar,
    Form(form): Form,
) -> Result<Response, PageError> {
    let form = form?;
    let next = safe_next(&app, form.only("next")?);
    let (email, password) = (form.only("email")?, form.only("password")?);
    let lifetime = Duration::from_secs(app.config.login.session_seconds);
    let attempt = LoginAttempt { email, password: password.into(), address, lifetime };
    let (now, from) = (app.clock.now(), source.clone());
    match log_in(&app.db, &app.passwords, &app.limits, now, from, attempt).await? {
        Login::Done(session) => {
            // A session that this browser had before, perhaps planted there, ends with the login.
            if let Some(before) = session_token(&app, &cookies) {
                end_session(&app.db, now, source, &before).await?;
            }
            let cookie = session_cookie(&app, session.expose().to_owned(), lifetime);
            Ok((cookies.add(cookie), Redirect::to(&next)).into_response())
        }
        Login::Refused => {
            let base = &app.config.base_path;
            let problem = Some("The e-mail address or the password is wrong.");
            let page = LoginPage { base, next: &next, email, notice: None, current: None, problem };
            Ok(login_page(page, StatusCode::UNAUTHORIZED))
        }
        Login::Throttled(wait) => {
            let seconds = wait.as_secs() + 1;
            Err(PageError::come_back(StatusCode::TOO_MANY_REQUESTS, seconds))
        }
    }
}

/// `POST /logout`
pub async fn logout(
    State(app): State<App>,
    Source(source): Source,
    cookies: CookieJar,
) -> Result<Response, PageError> {
    let cookies = logs_out(&app, source, cookies).await?;
    let to = format!("{}/login?done=logged_out", app.config.base_path);
    Ok((cookies, Redirect::to(&to)).into_response())
}

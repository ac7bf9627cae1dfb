//! Pages for people who come and go: setup, login and logout.

use std::time::Duration;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use entity::UserId;
use url::{Url, form_urlencoded};

use super::{Login, LoginAttempt, Session, SetUp, SetUpRefused, end_session, find_session, log_in};
use super::{link_is_valid, set_up};
use crate::app::App;
use crate::audit::{self, Actor};
use crate::http::{
    ClientAddress, Form, Page, PageError, Parameters, Source, session_cookie_name, session_token,
};
use crate::platform::{FieldError, Refused};

/// Who is logged in in this browser.
///
/// # Errors
/// When the database fails.
pub async fn current_session(app: &App, cookies: &CookieJar) -> Result<Option<Session>, PageError> {
    let Some(token) = session_token(app, cookies) else { return Ok(None) };
    Ok(find_session(&app.db, app.clock.now(), &token).await?)
}

/// The login page, from which the browser goes on to `next`, a path of ours.
#[must_use]
pub fn login_url(base: &str, next: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    format!("{base}/login?{query}")
}

fn session_cookie(app: &App, value: String, lifetime: Duration) -> Cookie<'static> {
    Cookie::build((session_cookie_name(app), value))
        .path("/")
        .http_only(true)
        .secure(app.config.is_https)
        // Lax: sent when an application's site leads here, not with what it posts.
        .same_site(SameSite::Lax)
        .max_age(lifetime.try_into().unwrap_or_default())
        .build()
}

/// Logs the browser in as somebody who has just proved who they are, other than by a password.
///
/// # Errors
/// When the database fails.
pub async fn logs_in(
    app: &App,
    source: audit::Source,
    cookies: CookieJar,
    user: UserId,
) -> Result<CookieJar, PageError> {
    let (now, lifetime) = (app.clock.now(), Duration::from_secs(app.config.login.session_seconds));
    let session = super::login::begin(&app.db, now, source, lifetime, user).await?;
    Ok(cookies.add(session_cookie(app, session.expose().to_owned(), lifetime)))
}

/// Logs the browser out, if somebody was logged in.
///
/// # Errors
/// When the database fails.
pub async fn logs_out(
    app: &App,
    source: audit::Source,
    cookies: CookieJar,
) -> Result<CookieJar, PageError> {
    if let Some(token) = session_token(app, &cookies) {
        end_session(&app.db, app.clock.now(), source, &token).await?;
    }
    Ok(cookies.add(session_cookie(app, String::new(), Duration::ZERO)))
}

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
#[template(path = "identity/login.html")]
struct LoginPage<'a> {
    base: &'a str,
    next: &'a str,
    email: &'a str,
    problem: Option<&'a str>,
}

/// Renders the login page. Its form may end at the application that waits behind it: browsers hold the policy against
/// the redirects that follow a form too. The target is checked when it is redirected to, not here.
fn login_page(
    app: &App,
    next: &str,
    email: &str,
    problem: Option<&str>,
    status: StatusCode,
) -> Response {
    let page = LoginPage { base: &app.config.base_path, next, email, problem };
    let page = Page::new(page).with_status(status);
    let query = next.split_once('?').map(|(_, query)| query).unwrap_or_default();
    match Parameters::parse(query.as_bytes()) {
        Ok(parameters) => page.with_form_target(parameters.first("redirect_uri")).into_response(),
        Err(_) => page.into_response(),
    }
}

/// `GET /login?next=`
pub async fn login(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let next = safe_next(&app, parameters.only("next")?);
    Ok(login_page(&app, &next, "", None, StatusCode::OK))
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
            let problem = "The e-mail address or the password is wrong.";
            Ok(login_page(&app, &next, email, Some(problem), StatusCode::UNAUTHORIZED))
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
    Ok((cookies, Redirect::to(&format!("{}/login", app.config.base_path))).into_response())
}

#[derive(Template)]
#[template(path = "identity/setup.html")]
struct SetupPage<'a> {
    base: &'a str,
    token: &'a str,
    email: &'a str,
    name: &'a str,
    organization: &'a str,
    problems: Vec<FieldError>,
}

impl SetupPage<'_> {
    /// What is wrong with a field, if anything is.
    fn problem(&self, field: &str) -> Option<&str> {
        self.problems
            .iter()
            .find(|problem| problem.field == field)
            .map(|problem| problem.message.as_str())
    }
}

fn bad_link() -> PageError {
    let message = "It was used, or it is older than an hour. Start the server again: it prints a new one for as long \
                   as there is no owner.";
    PageError::new(StatusCode::FORBIDDEN, "This setup link is not good any more", message)
}

/// `GET /setup?token=`
pub async fn setup(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let token = parameters.only("token")?;
    if !link_is_valid(&app.db, app.clock.now(), &token.into()).await? {
        return Err(bad_link());
    }
    let base = &app.config.base_path;
    let page =
        SetupPage { base, token, email: "", name: "", organization: "", problems: Vec::new() };
    Ok(Page::new(page).into_response())
}

/// `POST /setup`
pub async fn post_setup(
    State(app): State<App>,
    Source(source): Source,
    cookies: CookieJar,
    Form(form): Form,
) -> Result<Response, PageError> {
    let form = form?;
    let (token, email, name) = (form.only("token")?, form.only("email")?, form.only("name")?);
    let (organization, password) = (form.only("organization")?, form.only("password")?);
    let wanted =
        SetUp { email, name, organization, password: &password.into(), link: Some(&token.into()) };
    let now = app.clock.now();
    let user =
        match set_up(&app.db, &app.passwords, now, &source.clone().by(Actor::Anonymous), wanted)
            .await
        {
            Ok((user, _)) => user,
            Err(SetUpRefused::Done | SetUpRefused::BadLink) => return Err(bad_link()),

            Err(SetUpRefused::Refused(Refused::Invalid(problems))) => {
                let base = &app.config.base_path;
                let page = SetupPage { base, token, email, name, organization, problems };
                return Ok(Page::new(page)
                    .with_status(StatusCode::UNPROCESSABLE_ENTITY)
                    .into_response());
            }
            Err(SetUpRefused::Refused(refused)) => return Err(refused.into()),
        };
    let cookies = logs_in(&app, source, cookies, user.id).await?;
    Ok((cookies, Redirect::to(&format!("{}/", app.config.base_path))).into_response())
}

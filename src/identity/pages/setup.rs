//! The page behind the link of a new installation.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::super::{SetUp, SetUpRefused, link_is_valid, set_up};
use super::logs_in;
use crate::app::App;
use crate::audit::Actor;
use crate::http::{Form, Page, PageError, Parameters, Source};
use crate::platform::{FieldError, Refused};

#[derive(Template)]
#[template(path = "identity/pages/setup.html")]
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

//! The page behind an invitation's link: join with the account that one has, or make one.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use secrecy::SecretString;
use url::form_urlencoded;

use super::super::{Joiner, NotAccepted, OpenInvitation, accept, find_open};
use crate::app::App;
use crate::audit;
use crate::http::{Form, Page, PageError, Parameters, Source};
use crate::identity::pages::{current_session, login_url, logs_in, logs_out};
use crate::identity::{self, CheckedUser, NewUser, Session};
use crate::platform::{FieldError, Refused};

/// Who opens the link.
enum Visitor {
    /// The person who is invited, logged in.
    Invited(Session),
    /// Another person, logged in.
    SomebodyElse(Session),
    /// Nobody is logged in, and the invited address has an account.
    LoggedOut,
    /// Nobody is logged in, and the invited address has no account.
    Newcomer,
}

async fn visitor(
    app: &App,
    cookies: &CookieJar,
    open: &OpenInvitation,
) -> Result<Visitor, PageError> {
    let invited = &open.invitation.email;
    match current_session(app, cookies).await? {
        Some(session) if session.email == *invited => Ok(Visitor::Invited(session)),
        Some(session) => Ok(Visitor::SomebodyElse(session)),
        None => match identity::find_user_by_email(app.db.reader(), invited).await? {
            Some(_) => Ok(Visitor::LoggedOut),
            None => Ok(Visitor::Newcomer),
        },
    }
}

#[derive(Template)]
#[template(path = "invitations/pages/join.html")]
struct InvitationPage<'a> {
    base: &'a str,
    token: &'a str,
    organization: &'a str,
    role: &'a str,
    inviter: Option<&'a str>,
    email: &'a str,
    visitor: &'a Visitor,
    name: &'a str,
    problems: Vec<FieldError>,
}

impl InvitationPage<'_> {
    /// What is wrong with a field, if anything is.
    fn problem(&self, field: &str) -> Option<&str> {
        self.problems
            .iter()
            .find(|problem| problem.field == field)
            .map(|problem| problem.message.as_str())
    }
}

/// The one answer to every link that can't be accepted, whatever the reason.
fn bad_link() -> PageError {
    let message = "It was used or taken back, or it is older than 7 days. Ask whoever invited you for a new one.";
    PageError::new(StatusCode::FORBIDDEN, "This invitation is not good any more", message)
}

fn path(base: &str, token: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{base}/invitation?{}", query.append_pair("token", token).finish())
}

/// To the login page, and from there back to the invitation.
fn to_login(app: &App, token: &str) -> Response {
    let base = &app.config.base_path;
    Redirect::to(&login_url(base, &path(base, token))).into_response()
}

fn page(app: &App, token: &str, open: &OpenInvitation, visitor: &Visitor) -> Response {
    filled_in(app, token, open, visitor, "", Vec::new())
}

fn filled_in(
    app: &App,
    token: &str,
    open: &OpenInvitation,
    visitor: &Visitor,
    name: &str,
    problems: Vec<FieldError>,
) -> Response {
    let status = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let page = InvitationPage {
        base: &app.config.base_path,
        token,
        organization: &open.organization_name,
        role: &open.role_name,
        inviter: open.inviter_name.as_deref(),
        email: &open.invitation.email,
        visitor,
        name,
        problems,
    };
    Page::new(page).with_status(status).into_response()
}

async fn opened(app: &App, token: &SecretString) -> Result<OpenInvitation, PageError> {
    find_open(app.db.reader(), app.clock.now(), token).await?.ok_or_else(bad_link)
}

/// `GET /invitation?token=`
pub async fn invitation(
    State(app): State<App>,
    cookies: CookieJar,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let token = parameters.only("token")?;
    let open = opened(&app, &token.into()).await?;
    let visitor = visitor(&app, &cookies, &open).await?;
    Ok(match visitor {
        Visitor::LoggedOut => to_login(&app, token),
        _ => page(&app, token, &open, &visitor),
    })
}

/// `POST /invitation`: join, make an account and join, or log out to come back as another.
pub async fn post_invitation(
    State(app): State<App>,
    Source(source): Source,
    cookies: CookieJar,
    Form(form): Form,
) -> Result<Response, PageError> {
    let form = form?;
    let (token, decision) = (form.only("token")?, form.only("decision")?);
    let (name, password) = (form.only("name")?, SecretString::from(form.only("password")?));
    let open = opened(&app, &token.into()).await?;
    let base = &app.config.base_path;
    if decision == "log_out" {
        let cookies = logs_out(&app, source, cookies).await?;
        return Ok((cookies, Redirect::to(&path(base, token))).into_response());
    }
    let visitor = visitor(&app, &cookies, &open).await?;
    let joiner = match &visitor {
        Visitor::Invited(session) => Joiner::User(session.user),
        Visitor::SomebodyElse(_) => return Ok(page(&app, token, &open, &visitor)),
        Visitor::LoggedOut => return Ok(to_login(&app, token)),
        Visitor::Newcomer => {
            let new = NewUser { email: &open.invitation.email, name, password: &password };
            match CheckedUser::new(&app.passwords, new).await {
                Ok(checked) => Joiner::Newcomer(checked),
                Err(Refused::Invalid(problems)) => {
                    return Ok(filled_in(&app, token, &open, &visitor, name, problems));
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    };
    joins(&app, cookies, source, token, joiner).await
}

async fn joins(
    app: &App,
    cookies: CookieJar,
    source: audit::Source,
    token: &str,
    joiner: Joiner,
) -> Result<Response, PageError> {
    let is_new = matches!(joiner, Joiner::Newcomer(_));
    let tx = app.db.begin().await?;
    let user = match accept(&tx, app.clock.now(), source.clone(), &token.into(), joiner).await {
        Ok(user) => user,
        Err(NotAccepted::BadLink) => return Err(bad_link()),
        // Somebody has just made an account with this address: it is by that one that they join.
        Err(NotAccepted::Refused(Refused::Invalid(_))) => return Ok(to_login(app, token)),
        Err(NotAccepted::Refused(refused)) => return Err(refused.into()),
    };
    tx.commit().await?;
    app.revocations.catch_up().await;
    let home = Redirect::to(&format!("{}/", app.config.base_path));
    match is_new {
        true => Ok((logs_in(app, source, cookies, user).await?, home).into_response()),
        false => Ok(home.into_response()),
    }
}

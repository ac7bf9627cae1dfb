//! Pages for people: setup, login, logout, and their own account.

pub mod account;
mod login;
mod setup;

use std::time::Duration;

use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use entity::UserId;
use url::form_urlencoded;

use super::{Session, end_session, find_session};
use crate::app::App;
use crate::audit;
use crate::http::{PageError, session_cookie_name, session_token};

pub use login::{login, logout, post_login};
pub use setup::{post_setup, setup};

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
    let tx = app.db.begin().await?;
    let session = super::login::begin(&tx, now, source, lifetime, user).await?;
    tx.commit().await?;
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

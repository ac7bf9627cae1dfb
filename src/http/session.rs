//! The cookie that says who is logged in in a browser.

use axum_extra::extract::CookieJar;

use crate::app::App;
use crate::identity::SessionToken;

/// `__Host-` binds the cookie to this very host, but needs https; on loopback http there is none to be had.
#[must_use]
pub fn session_cookie_name(app: &App) -> &'static str {
    if app.config.is_https { "__Host-portcullis" } else { "portcullis" }
}

/// What the browser sent for a session.
#[must_use]
pub fn session_token(app: &App, cookies: &CookieJar) -> Option<SessionToken> {
    cookies.get(session_cookie_name(app)).map(|cookie| SessionToken::from_cookie(cookie.value()))
}

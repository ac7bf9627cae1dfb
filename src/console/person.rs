//! Who is at the browser.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use entity::Timestamp;

use crate::app::App;
use crate::audit::{self, Actor, By};
use crate::http::{ClientAddress, PageError, Parameters, Source};
use crate::identity::pages::{current_session, login_url};
use crate::identity::{self, Confirmation, PasswordAttempt, Session};
use crate::platform::Refused;
use crate::tenancy::{self, Membership};

/// Somebody who is logged in; everybody else is sent to log in and comes back to the same address. For that, whatever
/// is posted to an address can also be asked for with GET.
pub struct Person {
    /// The path of the issuer, without a slash at its end.
    pub base: String,
    pub session: Session,
    /// The organizations that they belong to.
    pub memberships: Vec<Membership>,
    /// The moment of the request.
    pub now: Timestamp,
    pub source: audit::Source,
    pub address: Option<IpAddr>,
    /// Whether the password was entered in this request.
    has_confirmed: AtomicBool,
}

impl FromRequestParts<App> for Person {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let Ok(ClientAddress(address)) = ClientAddress::from_request_parts(parts, app).await;
        let Ok(Source(source)) = Source::from_request_parts(parts, app).await;
        let cookies = CookieJar::from_headers(&parts.headers);
        let base = app.config.base_path.clone();
        let found = current_session(app, &cookies).await.map_err(PageError::into_response)?;
        let Some(session) = found else {
            let asked = parts.uri.path_and_query().map_or("/", |it| it.as_str());
            // Nesting under the issuer's path takes it away.
            let next = match asked.starts_with(&format!("{base}/")) {
                true => asked.to_owned(),
                false => format!("{base}{asked}"),
            };
            return Err(Redirect::to(&login_url(&base, &next)).into_response());
        };
        let memberships = tenancy::list_memberships(app.db.reader(), session.user).await;
        let memberships = memberships.map_err(|error| PageError::from(error).into_response())?;
        let (now, has_confirmed) = (app.clock.now(), AtomicBool::new(false));
        Ok(Self { base, session, memberships, now, source, address, has_confirmed })
    }
}

impl Person {
    /// Them, as the audit trail names them.
    #[must_use]
    pub fn by(&self) -> By {
        self.source.clone().by(Actor::User(self.session.user))
    }

    /// Whether a form must ask for the password before secrets are made, or members and roles changed.
    #[must_use]
    pub fn asks_password(&self) -> bool {
        let has_confirmed = self.has_confirmed.load(Ordering::Relaxed);
        !has_confirmed && !identity::is_confirmed(&self.session, self.now)
    }

    /// Lets somebody on who has entered their password within the last quarter of an hour, or has done so in this form.
    ///
    /// # Errors
    /// With what is wrong with the field `password`.
    pub async fn confirm(&self, app: &App, form: &Parameters) -> Result<(), Refused> {
        if !self.asks_password() {
            return Ok(());
        }
        let Some(password) = form.get("password").ok().flatten() else {
            let message = "must be entered again, because the last time is a while ago";
            return Err(Refused::field("password", message));
        };
        let (session, source) = (&self.session, self.source.clone());
        let (passwords, limits) = (&app.passwords, &app.limits);
        let attempt = PasswordAttempt { password: password.into(), address: self.address };
        let confirmation = identity::confirm_password(
            &app.db, passwords, limits, self.now, source, session, attempt,
        );
        match confirmation.await? {
            Confirmation::Confirmed => {
                self.has_confirmed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Confirmation::Wrong => Err(Refused::field("password", "is wrong")),
            Confirmation::Throttled(wait) => {
                let seconds = wait.as_secs() + 1;
                let message =
                    format!("was entered too often; please wait {seconds} seconds, then try again");
                Err(Refused::field("password", message))
            }
        }
    }
}

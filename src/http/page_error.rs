//! Refusals for people: a page that says what happened and what to do.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Page;
use super::parameters::{BadParameters, Doubled};
use crate::app::App;
use crate::platform::Refused;
use crate::platform::db::is_busy;

/// An error page on its way out.
#[derive(Debug)]
pub struct PageError {
    status: StatusCode,
    title: &'static str,
    message: String,
    retry_after: Option<u64>,
    cause: Option<anyhow::Error>,
}

#[derive(Template)]
#[template(path = "http/error.html")]
struct ErrorPage<'a> {
    base: &'a str,
    title: &'a str,
    message: &'a str,
    /// Whether there is no such page, so that others are named.
    is_missing: bool,
}

/// What an error page says, on its way to `render_page_errors`.
#[derive(Clone)]
struct Words {
    title: &'static str,
    message: String,
}

impl PageError {
    pub fn new(status: StatusCode, title: &'static str, message: impl Into<String>) -> Self {
        Self { status, title, message: message.into(), retry_after: None, cause: None }
    }

    /// 400, with what is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "This request can't be used", message)
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is no such page",
            "The address may be mistyped, or what it led to is gone, or is not for the account that you are logged in \
             with.",
        )
    }

    /// 429 or 503, with the seconds to wait.
    #[must_use]
    pub fn come_back(status: StatusCode, seconds: u64) -> Self {
        let unit = if seconds == 1 { "second" } else { "seconds" };
        let message = format!("Please wait {seconds} {unit}, then try again.");
        let title = match status {
            StatusCode::TOO_MANY_REQUESTS => "Too many attempts",
            _ => "Too busy at this moment",
        };
        Self { retry_after: Some(seconds), ..Self::new(status, title, message) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for PageError {
    fn from(cause: E) -> Self {
        let cause = cause.into();
        if is_busy(&cause) {
            return Self::come_back(StatusCode::SERVICE_UNAVAILABLE, 2);
        }
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something failed on our side",
            "It is in our log. Please try again in a moment.",
        );
        error.cause = Some(cause);
        error
    }
}

impl From<Refused> for PageError {
    fn from(refused: Refused) -> Self {
        let title = "This can't be done";
        match refused {
            Refused::Invalid(errors) => {
                let sentences = errors.iter().map(|it| format!("{} {}.", it.field, it.message));
                let message = sentences.collect::<Vec<_>>().join(" ");
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, title, message)
            }
            Refused::NotFound => Self::not_found(),
            Refused::Forbidden(why) => Self::new(StatusCode::FORBIDDEN, title, why),
            Refused::Conflict(why) => Self::new(StatusCode::CONFLICT, title, why),
            Refused::Stale => Self::new(
                StatusCode::CONFLICT,
                title,
                "Somebody else has just changed it. Go back, reload the page, and look again.",
            ),
            Refused::Failed(cause) => cause.into(),
        }
    }
}

impl From<BadParameters> for PageError {
    fn from(bad: BadParameters) -> Self {
        Self::new(
            bad.status(),
            "This request can't be used",
            format!("It can't be read: {}.", bad.description()),
        )
    }
}

impl From<Doubled> for PageError {
    fn from(Doubled(name): Doubled) -> Self {
        Self::bad_request(format!("The parameter {name} was sent more than once."))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.cause {
            tracing::error!(error = format!("{cause:#}"), "a page failed");
        }
        let mut response = (self.status, self.message.clone()).into_response();
        response.extensions_mut().insert(Words { title: self.title, message: self.message });
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Gives error pages their looks: only here is it known under which path our style sheet is.
pub(super) fn render_page_errors(app: &App, mut response: Response) -> Response {
    let Some(Words { title, message }) = response.extensions_mut().remove::<Words>() else {
        return response;
    };
    let is_missing = response.status() == StatusCode::NOT_FOUND;
    let page = ErrorPage { base: &app.config.base_path, title, message: &message, is_missing };
    let mut rendered = Page::new(page).with_status(response.status()).into_response();
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = response.headers_mut().remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    rendered
}

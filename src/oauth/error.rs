//! Refusals to applications (RFC 6749 §5.2): one value a code, what the outside is told apart from what the log is.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::{BadParameters, Doubled, bearer_challenge, write_rate_limit};
use crate::platform::db::is_busy;
use crate::rate_limit::Standing;

/// A registered error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidScope,
    /// RFC 8707 §2.
    InvalidTarget,
    AccessDenied,
    UnsupportedResponseType,
    /// OpenID Connect Core §3.1.2.6, for `prompt=none`.
    LoginRequired,
    ConsentRequired,
    RequestNotSupported,
    RequestUriNotSupported,
    ServerError,
    TemporarilyUnavailable,
}

impl ErrorCode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// A refusal on its way out.
#[derive(Debug)]
pub struct OAuthError {
    pub code: ErrorCode,
    /// For the application's developer, in the character set of RFC 6749 §5.2.
    pub description: Cow<'static, str>,
    status: StatusCode,
    challenge: Option<String>,
    /// The rate limit that refused.
    standing: Option<Box<Standing>>,
    pub cause: Option<anyhow::Error>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    error_description: &'a str,
}

impl OAuthError {
    pub fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            description: description.into(),
            status: StatusCode::BAD_REQUEST,
            challenge: None,
            standing: None,
            cause: None,
        }
    }

    /// 401; with a Basic challenge where Basic was tried (RFC 6749 §5.2).
    #[must_use]
    pub fn invalid_client(tried_basic: bool) -> Self {
        let mut error = Self::new(ErrorCode::InvalidClient, "client authentication failed");
        error.status = StatusCode::UNAUTHORIZED;
        error.challenge =
            tried_basic.then(|| r#"Basic realm="portcullis", charset="UTF-8""#.to_owned());
        error
    }

    /// 401, for an endpoint that takes a bearer credential as well.
    #[must_use]
    pub fn not_authenticated() -> Self {
        let mut error = Self::invalid_client(false);
        error.challenge = Some(bearer_challenge(None));
        error
    }

    /// 429, for a credential that is over its rate limit.
    #[must_use]
    pub fn too_often(standing: Standing) -> Self {
        let mut error =
            Self::new(ErrorCode::TemporarilyUnavailable, "this API key is used too often");
        error.status = StatusCode::TOO_MANY_REQUESTS;
        error.standing = Some(Box::new(standing));
        error
    }

    /// A parameter that must be there and is not.
    #[must_use]
    pub fn missing(name: &str) -> Self {
        Self::new(ErrorCode::InvalidRequest, format!("the parameter {name} is missing"))
    }

    /// Writes the cause to the log, where there is one.
    pub fn log(&self) {
        if let Some(cause) = &self.cause {
            tracing::error!(error = format!("{cause:#}"), "an OAuth request failed");
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for OAuthError {
    fn from(cause: E) -> Self {
        let cause = cause.into();
        let mut error = if is_busy(&cause) {
            let mut busy = Self::new(ErrorCode::TemporarilyUnavailable, "try again in a moment");
            busy.status = StatusCode::SERVICE_UNAVAILABLE;
            busy
        } else {
            let mut failed = Self::new(ErrorCode::ServerError, "something failed on our side");
            failed.status = StatusCode::INTERNAL_SERVER_ERROR;
            failed
        };
        error.cause = Some(cause);
        error
    }
}

impl From<BadParameters> for OAuthError {
    fn from(bad: BadParameters) -> Self {
        let mut error = Self::new(ErrorCode::InvalidRequest, bad.description());
        // RFC 6749 §5.2 has 400 for everything but what is too large.
        error.status = match bad {
            BadParameters::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        error
    }
}

impl From<Doubled> for OAuthError {
    fn from(Doubled(name): Doubled) -> Self {
        // RFC 8707 §2 lets `resource` alone repeat, and names the code for those who take one.
        let code = match name {
            "resource" => ErrorCode::InvalidTarget,
            _ => ErrorCode::InvalidRequest,
        };
        Self::new(code, format!("the parameter {name} was sent more than once"))
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        self.log();
        let body = Body { error: self.code.as_str(), error_description: &self.description };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(standing) = &self.standing {
            write_rate_limit(headers, standing);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

//! Refusals of the management API: RFC 9457 problem documents that name the field.

use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use portcullis_verifier::Rejection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::parameters::{BadParameters, MAX_BODY, read_body};
use super::rate_limit::write_rate_limit;
use crate::platform::db::is_busy;
use crate::platform::{FieldError, Refused};
use crate::rate_limit::{Policy, Standing};

/// What a problem is called that the status says all of.
const BLANK: &str = "about:blank";
/// The problem type of draft-ietf-httpapi-ratelimit-headers-11, section 5.1.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// A problem document on its way out.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    challenge: Option<String>,
    /// Boxed, for problems are what handlers may return at any point, and few have one.
    standing: Option<Box<Standing>>,
    /// Seconds.
    retry_after: Option<u32>,
    cause: Option<anyhow::Error>,
}

/// A problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument<'a> {
    /// `about:blank` where the status says what kind of problem it is; else a URI for the kind.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    /// Each wrong field, where fields are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// The rate limits that the call was over, where it was.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    violated_policies: Option<[&'static str; 1]>,
}

impl Problem {
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            challenge: None,
            standing: None,
            retry_after: None,
            cause: None,
        }
    }

    /// 422: the request was understood, and these fields of it are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid request",
            "Some fields are missing or wrong.",
        );
        problem.errors = errors;
        problem
    }

    /// 404, for what does not exist and for what belongs to somebody else alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", "There is nothing here that you may see.")
    }

    /// 403, for somebody who is known and may not.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not allowed", why)
    }

    /// 409, for what can't be done as things stand.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", why)
    }

    /// 412, for an edit of what somebody else has changed meanwhile.
    #[must_use]
    pub fn stale() -> Self {
        let detail =
            "Somebody else has changed it since you read it. Read it again, then edit that.";
        Self::new(StatusCode::PRECONDITION_FAILED, "Changed meanwhile", detail)
    }

    /// 429, for a credential that is over its rate limit.
    #[must_use]
    pub fn rate_limited(standing: &Standing) -> Self {
        let whose = match standing.policy {
            Policy::Key => "This API key",
            Policy::Organization => "All API keys of this organization together",
        };
        let detail = format!("{whose} may be used {} times a minute.", standing.quota);
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", detail);
        problem.standing = Some(Box::new(*standing));
        problem
    }

    /// 429, for what was done too often; trying again before `wait` is over does not help.
    #[must_use]
    pub fn too_many_requests(wait: std::time::Duration) -> Self {
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests",
            "This was done too often from your network. Wait for as long as Retry-After says.",
        );
        problem.retry_after =
            Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1));
        problem
    }

    /// The same challenge that our users' resource servers give, with a problem document as its body.
    #[must_use]
    pub fn rejected(rejection: Rejection) -> Self {
        let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let title = match status {
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::BAD_REQUEST => "Unreadable request",
            StatusCode::SERVICE_UNAVAILABLE => "Unavailable",
            _ => "Not authenticated",
        };
        Self::new(status, title, rejection.description())
            .with_challenge(rejection.challenge(Some("portcullis"), None))
    }

    /// Adds the `WWW-Authenticate` header.
    #[must_use]
    pub fn with_challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(errors) => Self::invalid(errors),
            Refused::NotFound => Self::not_found(),
            Refused::Forbidden(why) => Self::forbidden(why),
            Refused::Conflict(why) => Self::conflict(why),
            Refused::Stale => Self::stale(),
            Refused::Failed(cause) => cause.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Problem {
    fn from(cause: E) -> Self {
        let cause = cause.into();
        let mut problem = if is_busy(&cause) {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", "Try again in a moment.")
        } else {
            Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Our failure",
                "Something failed on our side; it is in our log.",
            )
        };
        problem.cause = Some(cause);
        problem
    }
}

impl From<BadParameters> for Problem {
    fn from(bad: BadParameters) -> Self {
        Self::new(bad.status(), "Unreadable request", bad.description())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.cause {
            tracing::error!(error = format!("{cause:#}"), "a request failed");
        }
        let document = ProblemDocument {
            kind: if self.standing.is_some() { QUOTA_EXCEEDED } else { BLANK },
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            violated_policies: self.standing.as_ref().map(|it| [it.policy.name()]),
        };
        let mut response = (self.status, axum::Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(standing) = &self.standing {
            write_rate_limit(headers, standing);
        }
        let is_busy = self.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(seconds) = self.retry_after.or(is_busy.then_some(1)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A JSON body, or the problem that says what is wrong with it.
pub struct Json<T>(pub T);

/// Written in one go: axum's own goes through a buffer that takes it piece by piece.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => json_answer(json),
            Err(error) => Problem::from(error).into_response(),
        }
    }
}

/// An answer of JSON that is written already.
///
/// It has room for the headers that every answer gets besides: a map that grows is made anew.
pub fn json_answer(json: impl Into<Body>) -> Response {
    const HEADERS: usize = 12;
    let mut response = Response::new(json.into());
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.headers_mut() = headers;
    response
}

/// The same, of what nothing on the way may keep.
pub fn secret_json_answer(json: impl Into<Body>) -> Response {
    let mut response = json_answer(json);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        let body = read_json(request, MAX_BODY).await?;
        parse_json(&body).map(Self)
    }
}

/// A JSON body of up to so many bytes, or the problem that says what is wrong with it.
pub struct JsonUpTo<T, const MOST: usize>(pub T);

impl<S: Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for JsonUpTo<T, MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        let body = read_json(request, MOST).await?;
        parse_json(&body).map(Self)
    }
}

/// A JSON body of up to so many bytes, as it was sent, for who checks its signature.
pub struct RawJsonUpTo<const MOST: usize>(Bytes);

impl<const MOST: usize> RawJsonUpTo<MOST> {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// The problem that says what is wrong with it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse_json(&self.0)
    }
}

impl<S: Sync, const MOST: usize> FromRequest<S> for RawJsonUpTo<MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        read_json(request, MOST).await.map(Self)
    }
}

/// A body that says that it is JSON, of so many bytes at most.
pub(super) async fn read_json(request: Request<Body>, max: usize) -> Result<Bytes, Problem> {
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported media type",
            "The body must be application/json.",
        ));
    }
    read_body(request.into_body(), max).await.map_err(|bad| match bad {
        BadParameters::TooLarge => {
            let detail = format!("the body is larger than {} KiB", max / 1024);
            Problem::new(bad.status(), "Unreadable request", detail)
        }
        bad => bad.into(),
    })
}

pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Where in the body something is wrong is found out only once something is: to follow the path costs as much as to
    // read what is there.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let not_json =
        || Problem::new(StatusCode::BAD_REQUEST, "Unreadable request", "The body is not JSON.");
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        match error.inner().classify() {
            serde_json::error::Category::Data => {
                let message = error.inner().to_string();
                let message = message.split(" at line").next().unwrap_or_default();
                Problem::invalid(vec![FieldError::new(field_of(error.path(), message), message)])
            }
            // Where one of several words is wanted, what is no text at all counts as bad syntax to the parser.
            _ if serde_json::from_slice::<serde_json::Value>(body).is_ok() => {
                let field = field_of(error.path(), "");
                Problem::invalid(vec![FieldError::new(field, "is not of the kind that is wanted")])
            }
            _ => not_json(),
        }
    })?;
    // Nothing may follow the value.
    json.end().map_err(|_| not_json())?;
    Ok(value)
}

/// The path to the wrong value; where a member itself is wrong, serde names it between back-ticks.
fn field_of(path: &serde_path_to_error::Path, message: &str) -> String {
    let is_of_a_member = ["unknown field", "missing field", "duplicate field"]
        .iter()
        .any(|it| message.starts_with(it));
    let named = message.split('`').nth(1).filter(|_| is_of_a_member);
    match (named, path.to_string()) {
        (Some(named), _) => named.to_owned(),
        (None, path) if path == "." => "body".to_owned(),
        (None, path) => path,
    }
}

//! Requests that make something: a JSON body, perhaps an `Idempotency-Key`, and 201 with what was made.

use aws_lc_rs::digest::SHA256;
use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use entity::Timestamp;
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{parse_json, read_json};
use super::{MAX_BODY, Problem, conditional};
use crate::idempotency::{self, Claim, KeyedRequest};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What somebody wants to be made, said in so many bytes at most.
pub struct Creation<T, const MAX: usize = MAX_BODY> {
    pub wanted: T,
    /// The `Idempotency-Key`, and the SHA-256 of the request.
    key: Option<(String, [u8; 32])>,
}

impl<S: Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for Creation<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        let named = idempotency_key(request.headers())?;
        let what = format!("{} {}\n", request.method(), request.uri());
        let body = read_json(request, MAX).await?;
        let wanted = parse_json(&body)?;
        let key = named.map(|named| (named, sha256(&[what.as_bytes(), &body].concat())));
        Ok(Self { wanted, key })
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref());
    digest
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_fine = |text: &&str| {
        (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match (value.to_str().ok().filter(is_fine), values.next()) {
        (Some(text), None) => Ok(Some(text.to_owned())),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "Unreadable request",
            "Idempotency-Key must be 1 to 255 visible ASCII characters, sent once.",
        )),
    }
}

/// A creation under way.
pub struct Begun {
    tx: DatabaseTransaction,
    request: Option<KeyedRequest>,
}

/// Whether there is anything to do.
pub enum Beginning {
    /// Go on, in this transaction.
    New(Begun),
    /// It was made before; this was the answer, less its secret.
    Repeated(Response),
}

impl<T, const MAX: usize> Creation<T, MAX> {
    /// Begins in a transaction. `caller` tells one caller's keys from another's.
    ///
    /// # Errors
    /// 422 when the key was used for another request; when the database fails.
    pub async fn begin(
        &self,
        tx: DatabaseTransaction,
        now: Timestamp,
        caller: &str,
    ) -> Result<Beginning, Problem> {
        let Some((named, fingerprint)) = &self.key else {
            return Ok(Beginning::New(Begun { tx, request: None }));
        };
        let digest = sha256(format!("{caller}\n{named}").as_bytes());
        let request = KeyedRequest { digest, fingerprint: *fingerprint, at: now };
        match idempotency::claim(&tx, &request).await? {
            Claim::First => Ok(Beginning::New(Begun { tx, request: Some(request) })),
            Claim::Answered { status, body } => Ok(Beginning::Repeated(repeated(status, body))),
            Claim::OfAnotherRequest => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Key used before",
                "This Idempotency-Key was used for another request within the last 24 hours.",
            )),
        }
    }
}

fn repeated(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        ("idempotency-replayed", "true"),
    ];
    (status, headers, body).into_response()
}

impl Begun {
    /// The transaction in which to make it.
    #[must_use]
    pub fn tx(&self) -> &DatabaseTransaction {
        &self.tx
    }

    /// Commits and answers 201. The secret, where there is one, becomes the member of that name; it is in this answer
    /// and in no later one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn created(
        self,
        version: Option<i32>,
        made: &impl Serialize,
        secret: Option<(&str, &SecretString)>,
    ) -> Result<Response, Problem> {
        let mut made = serde_json::to_value(made)?;
        if let Some(request) = &self.request {
            let status = StatusCode::CREATED.as_u16();
            idempotency::settle(&self.tx, request, status, &made.to_string()).await?;
        }
        self.tx.commit().await?;
        if let (Some(members), Some((name, secret))) = (made.as_object_mut(), secret) {
            members.insert(name.to_owned(), secret.expose_secret().into());
        }
        let mut response = (StatusCode::CREATED, axum::Json(made)).into_response();
        if let Some(version) = version {
            conditional::tag(&mut response, version);
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

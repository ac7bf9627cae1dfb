//! `/v1/credentials:revoke` and `/v1/secret-scanning/github`: the end of credentials that leaked, for those who found
//! them.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr};

use super::{Finding, Label, Labelled, accept, end_found, recognized};
use crate::app::App;
use crate::audit::Actor;
use crate::http::{ClientAddress, JsonUpTo, Problem, RawJsonUpTo, Source};
use crate::platform::FieldError;
use crate::tokens::inspect;

/// The largest body of either, in bytes.
const MAX_BODY: usize = 1024 * 1024;
const MAX_CREDENTIALS: usize = 1000;
const MAX_CREDENTIAL: usize = 4096;
const MAX_SIGNATURE: usize = 200;
const MAX_IDENTIFIER: usize = 128;

/// Something that may be a credential.
pub struct Credential(SecretString);

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.chars().count();
        let text = SecretString::from(text);
        match (1..=MAX_CREDENTIAL).contains(&length) {
            true => Ok(Self(text)),
            false => Err(serde::de::Error::custom("must have 1 to 4096 characters")),
        }
    }
}

impl PartialSchema for Credential {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_CREDENTIAL))
            .into()
    }
}

impl ToSchema for Credential {}

/// Credentials that leaked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeCredentials {
    /// API keys, access tokens, refresh tokens, client secrets, credentials of resource servers: whichever, in full.
    #[schema(min_items = 1, max_items = 1000)]
    credentials: Vec<Credential>,
}

/// Revoke leaked credentials
///
/// For anyone who holds them: no other credential is needed, and one that is sent along is not looked at. What is real
/// ends for good within a moment, and its owner is told. The answer is always the same, and says nothing about what
/// was real.
#[utoipa::path(
    post, path = "/v1/credentials:revoke", tag = "Leaks", request_body = RevokeCredentials,
    responses((status = 202, description = "Whatever of them is real ends")),
    security(())
)]
pub async fn revoke(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Source(source): Source,
    JsonUpTo(wanted): JsonUpTo<RevokeCredentials, MAX_BODY>,
) -> Result<StatusCode, Problem> {
    app.limits.credential_report(address).map_err(Problem::too_many_requests)?;
    if wanted.credentials.is_empty() || wanted.credentials.len() > MAX_CREDENTIALS {
        let error = FieldError::new("credentials", "must hold 1 to 1000 credentials");
        return Err(Problem::invalid(vec![error]));
    }
    let now = app.clock.now();
    let reading = app.clone();
    // A thousand signatures are too much work for a thread that serves others as well.
    let reported = tokio::task::spawn_blocking(move || {
        let keys = reading.signer.public_keys();
        let (issuer, revocations) = (&reading.config.issuer, &reading.revocations);
        let texts = wanted.credentials.iter().map(|credential| credential.0.expose_secret());
        let imported = &reading.config.api_keys.imported_prefixes;
        recognized(texts, &reading.refresh_tokens, imported, |token| {
            inspect(&keys, issuer, revocations, now, token)
        })
    });
    accept(&app.db, now, &source, &reported.await?).await?;
    app.reports.wake();
    Ok(StatusCode::ACCEPTED)
}

/// Something that GitHub found; members that are not listed here are ignored.
#[derive(Deserialize, ToSchema)]
pub struct FoundByGithub {
    token: String,
    /// The name that was agreed with GitHub for this kind of credential.
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    source: String,
}

/// What we know of something that GitHub found.
#[derive(Serialize, ToSchema)]
pub struct Feedback {
    /// The SHA-256 of the token, in hexadecimal digits.
    token_hash: String,
    token_type: String,
    /// `true_positive` for the secret of an API key of ours, also of one that was revoked or has expired.
    #[schema(pattern = "^(true|false)_positive$")]
    label: &'static str,
}

impl Feedback {
    fn new(finding: &FoundByGithub, labelled: &Labelled) -> Self {
        let token_hash = labelled.digest.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let label = match labelled.label {
            Label::TruePositive => "true_positive",
            Label::FalsePositive => "false_positive",
        };
        Self { token_hash, token_type: finding.kind.chars().take(200).collect(), label }
    }
}

/// Report keys as GitHub
///
/// The partner protocol of GitHub's secret scanning: an array of what was found, signed by GitHub. Each API key meets
/// what its organization wants, and its owner is told. 404 where the installation is no partner.
#[utoipa::path(
    post, path = "/v1/secret-scanning/github", tag = "Leaks", request_body = Vec<FoundByGithub>,
    params(
        ("Github-Public-Key-Identifier" = Option<String>, Header, description = "Which of GitHub's keys signed"),
        ("Github-Public-Key-Signature" = Option<String>, Header,
            description = "The base64 of the ECDSA signature, in DER, of the body's bytes"),
    ),
    responses(
        (status = 200, description = "Which of them are ours", body = Vec<Feedback>),
    ),
    security(())
)]
pub async fn github(
    State(app): State<App>,
    Source(source): Source,
    headers: HeaderMap,
    body: RawJsonUpTo<MAX_BODY>,
) -> Result<axum::Json<Vec<Feedback>>, Problem> {
    if !app.github_keys.is_on() {
        return Err(Problem::not_found());
    }
    let now = app.clock.now();
    let (identifier, signature) = signature(&headers)?;
    let signed = app.github_keys.have_signed(now, &identifier, &signature, body.bytes()).await;
    match signed {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(address = source.address, "a report in GitHub's name is not GitHub's");
            let detail = "The signature is not one of GitHub's for this body.";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "Not authenticated", detail));
        }
        Err(error) => {
            let (status, detail) = (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment.");
            tracing::warn!(%error, "a report of GitHub's can't be checked");
            return Err(Problem::new(status, "Busy", detail));
        }
    }
    let found: Vec<FoundByGithub> = body.parse()?;
    let findings: Vec<Finding<'_>> = found
        .iter()
        .map(|it| Finding { token: &it.token, url: &it.url, source: &it.source })
        .collect();
    let by = source.by(Actor::Anonymous);
    let (labelled, has_changed) = end_found(&app.db, &app.alerts, now, &by, &findings).await?;
    if has_changed {
        app.alerts.wake();
        app.revocations.catch_up().await;
    }
    let feedback = found.iter().zip(&labelled).map(|(found, it)| Feedback::new(found, it));
    Ok(axum::Json(feedback.collect()))
}

/// Which key signed, and the signature, as the headers have them: each once.
fn signature(headers: &HeaderMap) -> Result<(String, Vec<u8>), Problem> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    let identifier = only("github-public-key-identifier").filter(|it| it.len() <= MAX_IDENTIFIER);
    let signature = only("github-public-key-signature").filter(|it| it.len() <= MAX_SIGNATURE);
    let signature = signature.and_then(|text| STANDARD.decode(text).ok());
    match (identifier, signature) {
        (Some(identifier), Some(signature)) => Ok((identifier.to_owned(), signature)),
        _ => {
            let detail = "Github-Public-Key-Identifier and Github-Public-Key-Signature must each be there once.";
            Err(Problem::new(StatusCode::BAD_REQUEST, "Unreadable request", detail))
        }
    }
}

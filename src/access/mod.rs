//! May this caller do this: the permission table of the management API, and the extractor that asks it.
//!
//! The management API is a resource server like any other: what we issue is checked by the code that our users run,
//! with our own database in the place of introspection.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use entity::{OrganizationId, UserId};
use portcullis_verifier::rejection::InvalidToken;
use portcullis_verifier::{ApiKey, Principal, Rejection, bearer_token};

use crate::api_keys::{self, Verdict};
use crate::app::App;
use crate::audit::{Actor, By};
use crate::http::{Problem, Source};
use crate::resource_servers::{READ_API_KEYS, WRITE_API_KEYS};
use crate::tokens::inspect;

/// A row of the permission table: what an endpoint asks of its caller.
pub trait Permission: Send + Sync + 'static {
    /// The scope that the caller's credential must cover.
    const SCOPE: &'static str;
}

/// See the organization's API keys.
pub struct ReadApiKeys;
/// Create and revoke the organization's API keys.
pub struct WriteApiKeys;

impl Permission for ReadApiKeys {
    const SCOPE: &'static str = READ_API_KEYS;
}

impl Permission for WriteApiKeys {
    const SCOPE: &'static str = WRITE_API_KEYS;
}

/// Somebody who may do what `P` says, in their own organization.
pub struct Caller<P> {
    pub principal: Principal,
    pub organization: OrganizationId,
    /// The person behind the credential; none where a client acts for itself.
    pub user: Option<UserId>,
    pub by: By,
    permission: PhantomData<P>,
}

impl<P: Permission> FromRequestParts<App> for Caller<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let principal = authenticate(app, &parts.headers).await?;
        principal.require(P::SCOPE).map_err(refuse)?;
        let organization = principal.organization().unwrap_or_default().parse()?;
        let person = principal.creator().unwrap_or_else(|| principal.subject());
        let user = person.parse::<UserId>().ok();
        let Ok(Source(source)) = Source::from_request_parts(parts, app).await;
        let by = source.by(actor(&principal)?);
        Ok(Self { principal, organization, user, by, permission: PhantomData })
    }
}

fn actor(principal: &Principal) -> Result<Actor, entity::InvalidId> {
    Ok(match (principal.api_key(), principal.subject().parse::<UserId>()) {
        (Some(key), _) => Actor::ApiKey(key.parse()?),
        (None, Ok(user)) => Actor::User(user),
        (None, Err(_)) => Actor::Client(principal.subject().parse()?),
    })
}

/// Who is calling, by access token or API key.
async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Principal, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let header = match (values.next(), values.next()) {
        (None, _) => return Err(refuse(Rejection::MissingCredential)),
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let header = header.ok_or_else(|| {
        refuse(Rejection::MalformedRequest("the Authorization header can't be read"))
    })?;
    let credential = bearer_token(header).map_err(refuse)?;
    let not_accepted = || refuse(Rejection::InvalidToken(InvalidToken::NotAccepted));
    // A JWT has dots; no API key has.
    if credential.contains('.') {
        let keys = app.signer.public_keys();
        return match inspect(
            &keys,
            &app.config.issuer,
            &app.revocations,
            app.clock.now(),
            credential,
        ) {
            Some(claims) if claims.aud.contains(&app.config.issuer) => {
                Ok(Principal::from_claims(claims))
            }
            Some(_) => Err(refuse(Rejection::InvalidToken(InvalidToken::WrongAudience))),
            None => Err(not_accepted()),
        };
    }
    let verified = api_keys::verify(&app.db, app.clock.now(), credential).await?;
    let (Some(key), Verdict::Valid(scopes)) = (verified.key, verified.verdict) else {
        return Err(not_accepted());
    };
    Ok(Principal::from_api_key(ApiKey {
        id: key.id.to_string(),
        subject: key.id.to_string(),
        organization: key.organization.to_string(),
        project: None,
        scopes,
        creator: Some(key.created_by.to_string()),
        owner: Some(key.created_by.to_string()),
        expires_at: key.expires_at.map(entity::Timestamp::unix_seconds),
    }))
}

/// The same challenge that our users' resource servers give, with a problem document as its body.
fn refuse(rejection: Rejection) -> Problem {
    let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let title = match status {
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::BAD_REQUEST => "Unreadable request",
        _ => "Not authenticated",
    };
    Problem::new(status, title, rejection.description())
        .with_challenge(rejection.challenge(Some("portcullis"), None))
}

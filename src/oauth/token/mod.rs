//! `POST /oauth/token`: from a grant to tokens (RFC 6749 §3.2).

mod authorization_code;
mod client_credentials;
pub mod pkce;
mod refresh_token;
mod token_exchange;

pub use token_exchange::GRANT_TYPE as TOKEN_EXCHANGE;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use super::client_authentication::authenticate;
use super::{ErrorCode, OAuthError};
use crate::app::App;
use crate::audit::Actor;
use crate::clients::{GrantType, RequestRefused};
use crate::http::{ClientAddress, FormAndHeaders, Source, secret_json_answer};

/// All that may be asked here. None of it may come twice, whether this grant type reads it or not (§3.2).
const PARAMETERS: [&str; 9] = [
    "grant_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "redirect_uri",
    "refresh_token",
    "scope",
    "resource",
];

/// `POST /oauth/token`, RFC 6749 §3.2
pub async fn post(
    State(app): State<App>,
    Source(source): Source,
    address: ClientAddress,
    FormAndHeaders { headers, form }: FormAndHeaders,
) -> Result<Response, OAuthError> {
    // 1. What is asked for, in a form that can be read?
    let parameters = form?;
    for name in PARAMETERS {
        parameters.get(name)?;
    }
    let grant_type =
        parameters.get("grant_type")?.ok_or_else(|| OAuthError::missing("grant_type"))?;
    // An API key needs no client beside it: what it may do, it may do by itself.
    if grant_type == token_exchange::GRANT_TYPE {
        let tokens = token_exchange::tokens(&app, &headers, address, &source, &parameters);
        return Ok(answer(&Box::pin(tokens).await?));
    }
    // 2. Who is the client?
    let client = authenticate(&app, &headers, &parameters).await?;
    // 3. May it use this grant type?
    let grant_type: GrantType = grant_type.parse().map_err(|_| {
        OAuthError::new(ErrorCode::UnsupportedGrantType, "this server knows no such grant type")
    })?;
    if !client.may_use(grant_type) {
        let description = "this client is not registered for this grant type";
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, description));
    }
    // 4. What does the grant entitle to? It is spent and the tokens are minted together, or neither.
    // Those that go to the database are boxed: a request would carry the largest of them along, whatever it asks for.
    let by = source.by(Actor::Client(client.id));
    let body = match grant_type {
        GrantType::AuthorizationCode => {
            Box::pin(authorization_code::tokens(&app, &client, &by, &parameters)).await?
        }
        GrantType::RefreshToken => {
            Box::pin(refresh_token::tokens(&app, &client, &by, &parameters)).await?
        }
        GrantType::ClientCredentials => {
            client_credentials::tokens(&app, &client, &parameters).await?
        }
    };
    // 5. The answer, which nothing on the way may keep.
    Ok(answer(&body))
}

fn answer(body: &SecretString) -> Response {
    let mut response = secret_json_answer(body.expose_secret().to_owned());
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn invalid_grant(description: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, description)
}

impl From<RequestRefused> for OAuthError {
    fn from(refused: RequestRefused) -> Self {
        match refused {
            RequestRefused::Target => Self::new(
                ErrorCode::InvalidTarget,
                "the resource is not one that this client may ask for",
            ),
            RequestRefused::Scope => Self::new(
                ErrorCode::InvalidScope,
                "a scope is malformed, unknown, or not allowed to this client",
            ),
            RequestRefused::Failed(error) => error.into(),
        }
    }
}

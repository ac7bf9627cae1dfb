//! How a client proves itself (RFC 6749 §2.3), read in one way for every endpoint.

use std::sync::Arc;

use axum::http::HeaderMap;
use secrecy::SecretString;

use super::{ErrorCode, OAuthError};
use crate::app::App;
use crate::clients::{self, Client};
use crate::http::{Parameters, basic_credentials};

/// What a client sent to prove itself.
pub struct ClientCredentials {
    pub id: String,
    pub secret: Option<SecretString>,
    pub tried_basic: bool,
}

/// Reads the credentials from the Basic header or the body, never from both.
///
/// # Errors
/// `invalid_request` where both were used, `invalid_client` where nothing was or Basic can't be read.
pub fn client_credentials(
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<ClientCredentials, OAuthError> {
    let id = parameters.get("client_id")?;
    let secret = parameters.get("client_secret")?;
    let basic = basic_credentials(headers).map_err(|()| OAuthError::invalid_client(true))?;
    match (basic, id, secret) {
        (Some(_), _, Some(_)) => Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "authenticate by header or by body, not by both",
        )),
        (Some(basic), Some(id), None) if basic.username != id => Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "client_id is not the one that authenticates",
        )),
        (Some(basic), _, None) => Ok(ClientCredentials {
            id: basic.username,
            secret: Some(basic.password),
            tried_basic: true,
        }),
        (None, Some(id), secret) => Ok(ClientCredentials {
            id: id.to_owned(),
            secret: secret.map(SecretString::from),
            tried_basic: false,
        }),
        (None, None, _) => Err(OAuthError::invalid_client(false)),
    }
}

/// The client that calls.
///
/// # Errors
/// `invalid_client` for everything but the right credentials.
pub(super) async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Arc<Client>, OAuthError> {
    let credentials = client_credentials(headers, parameters)?;
    let (id, secret) = (credentials.id.as_str(), credentials.secret.as_ref());
    clients::authenticate(&app.clients, &app.revocations, app.clock.now(), id, secret)
        .await?
        .ok_or_else(|| OAuthError::invalid_client(credentials.tried_basic))
}

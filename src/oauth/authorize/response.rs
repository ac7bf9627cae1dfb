//! Answers to the application, by redirect (RFC 6749 §4.1.2, RFC 9207).

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

use super::super::OAuthError;
use crate::app::App;
use crate::clients::Client;
use crate::http::PageError;

/// A client with a redirect URI of its own: from here on refusals may go there.
pub(super) struct KnownClient {
    pub client: Arc<Client>,
    pub redirect_uri: String,
    pub state: Option<String>,
}

impl KnownClient {
    /// The code.
    pub fn answer(&self, app: &App, code: &SecretString) -> Response {
        self.redirect(app, &[("code", code.expose_secret())])
    }

    /// The refusal.
    pub fn refuse(&self, app: &App, error: OAuthError) -> Response {
        error.log();
        self.redirect(
            app,
            &[("error", error.code.as_str()), ("error_description", &error.description)],
        )
    }

    fn redirect(&self, app: &App, parameters: &[(&str, &str)]) -> Response {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &app.config.issuer);
        let separator = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{separator}{}", self.redirect_uri, query.finish());
        // 303: whatever the method was, the browser goes there with GET (RFC 9700 §4.12).
        match HeaderValue::try_from(location) {
            Ok(location) => (
                StatusCode::SEE_OTHER,
                [
                    (header::LOCATION, location),
                    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                ],
            )
                .into_response(),
            Err(error) => PageError::from(error).into_response(),
        }
    }
}

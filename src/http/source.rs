//! Where a request came from, for the audit trail.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::ClientAddress;
use super::every_request::REQUEST_ID;
use crate::app::App;
use crate::audit;

/// Longer user agents are cut: they are for recognition, not for storage.
const MAX_USER_AGENT: usize = 200;

/// The address, user agent and request id of a request.
pub struct Source(pub audit::Source);

impl FromRequestParts<App> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, app).await?;
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self(audit::Source {
            address: address.map(|address| address.to_string()),
            user_agent: text(&header::USER_AGENT)
                .map(|agent| agent.chars().take(MAX_USER_AGENT).collect()),
            request_id: text(&REQUEST_ID).map(str::to_owned),
        }))
    }
}

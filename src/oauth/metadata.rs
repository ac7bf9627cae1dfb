//! `GET /.well-known/oauth-authorization-server`: what this server is and can do (RFC 8414).

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use crate::clients::GrantType;
use crate::config::Config;
use crate::http::document;
use crate::platform::document::Document;

const CACHE: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server`
pub async fn get(State(metadata): State<Document>, headers: HeaderMap) -> Response {
    document(&headers, metadata, "application/json", CACHE)
}

/// The document, which tells nothing but settings: it stays as it is while the server runs.
#[must_use]
pub fn render(config: &Config) -> Document {
    let issuer = &config.issuer;
    let secrets = ["client_secret_basic", "client_secret_post"];
    let anyone = ["client_secret_basic", "client_secret_post", "none"];
    let mut grant_types = GrantType::ALL.map(GrantType::as_str).to_vec();
    grant_types.push(super::token::TOKEN_EXCHANGE);
    let metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "jwks_uri": format!("{issuer}/oauth/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grant_types,
        "token_endpoint_auth_methods_supported": anyone,
        "revocation_endpoint_auth_methods_supported": anyone,
        "introspection_endpoint_auth_methods_supported": secrets,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent"],
        "authorization_response_iss_parameter_supported": true,
        // Ours: the revocation log as server-sent events, for resource servers.
        "portcullis_revocations_endpoint": format!("{issuer}/oauth/revocations"),
        // And what API keys begin with that have no checksum of ours.
        "portcullis_imported_api_key_prefixes": config.api_keys.imported_prefixes,
    });
    Document::new(metadata.to_string())
}

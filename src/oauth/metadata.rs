//! `GET /.well-known/oauth-authorization-server`: what this server is and can do (RFC 8414).

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::app::App;
use crate::clients::GrantType;

/// `GET /.well-known/oauth-authorization-server`
pub async fn get(State(app): State<App>) -> Response {
    let issuer = &app.config.issuer;
    let secrets = ["client_secret_basic", "client_secret_post"];
    let anyone = ["client_secret_basic", "client_secret_post", "none"];
    let mut grant_types = GrantType::ALL.map(GrantType::as_str).to_vec();
    grant_types.push(super::token::TOKEN_EXCHANGE);
    let document = json!({
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
        "portcullis_imported_api_key_prefixes": app.config.api_keys.imported_prefixes,
    });
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(document)).into_response()
}

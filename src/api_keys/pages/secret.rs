//! The page that shows a secret, once: the answer to the form itself, kept nowhere. There is nowhere to go from it but
//! on, and only for whoever says that they have stored it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use entity::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::path_of;
use crate::access::Permission;
use crate::api_keys::{AllowedNetworks, ApiKey};
use crate::app::App;
use crate::console::{Moment, Visitor, page};
use crate::resource_servers::ResourceServer;

#[derive(Template)]
#[template(path = "api_keys/pages/secret.html")]
struct SecretPage<'a> {
    base: &'a str,
    /// The page of the key, to which one goes on.
    next: String,
    /// Whether the key is new, or its secret alone.
    is_new_key: bool,
    name: &'a str,
    secret: &'a str,
    curl: String,
    /// Until when the secret before works too.
    older_until: Option<Timestamp>,
    is_confined: bool,
    is_decoy: bool,
}

/// The page for a key that was just made, or was given another secret.
pub(super) fn secret_page<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    apis: &[ResourceServer],
    key: &ApiKey,
    secret: &SecretString,
    is_new_key: bool,
) -> Response {
    let secret = secret.expose_secret();
    let template = SecretPage {
        base: &visitor.person.base,
        next: path_of(visitor, key.id, ""),
        is_new_key,
        name: &key.name,
        secret,
        curl: curl(&app.config.issuer, apis, key, secret),
        older_until: key.rotating_until.filter(|end| *end > visitor.person.now),
        is_confined: key.allowed_networks != AllowedNetworks::Anywhere,
        is_decoy: key.is_decoy,
    };
    page(template, StatusCode::OK)
}

/// A line for a shell that uses the key: at an API for which it is good, or at ours.
fn curl(issuer: &str, apis: &[ResourceServer], key: &ApiKey, secret: &str) -> String {
    let of_theirs = apis.iter().filter(|api| !api.is_management);
    let is_good_at = |api: &&ResourceServer| !api.catalog.relevant(&key.scopes).is_empty();
    let url = of_theirs.filter(is_good_at).find_map(|api| url::Url::parse(&api.audience).ok());
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.map_or_else(|| format!("{issuer}/v1/me"), String::from);
    // Nothing but a quote ends what stands in quotes.
    format!("curl -H 'Authorization: Bearer {secret}' '{}'", url.replace('\'', "%27"))
}

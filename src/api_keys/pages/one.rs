//! All about one key.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ApiKeyId, Timestamp};

use super::choices::{Allowed, allowed};
use super::{Names, Standing, found, path_of};
use crate::access::{AdminApiKeys, ReadApiKeys, WriteApiKeys};
use crate::api_keys::{AllowedNetworks, ApiKey, Status};
use crate::app::App;
use crate::console::{Asked, Frame, Moment, Named, Remaining, Section, Visitor, grouped, page};
use crate::http::PageError;
use crate::resource_servers;

#[derive(Template)]
#[template(path = "api_keys/pages/one.html")]
struct OnePage<'a> {
    frame: Frame,
    list: String,
    here: String,
    notice: Option<&'static str>,
    key: &'a ApiKey,
    standing: Standing,
    allowed: Vec<Allowed>,
    /// Empty for anywhere.
    networks: Vec<String>,
    project: Option<String>,
    created_by: String,
    /// None for the organization itself.
    owner: Option<String>,
    limit: String,
    has_own_limit: bool,
    /// Until when the secret before works too.
    rotating: Option<Rotating>,
    may_write: bool,
    may_hand_over: bool,
}

struct Rotating {
    until: Timestamp,
    left: Remaining,
}

/// `GET /o/{organization}/api-keys/{id}?done=`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadApiKeys>,
    Named(id): Named<ApiKeyId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let key = found(&app, &visitor, id).await?;
    let now = visitor.person.now;
    let names = Names::of(&app, &visitor, std::slice::from_ref(&key)).await?;
    let apis = resource_servers::list_offered(app.db.reader(), key.organization).await?;
    let status = key.status(now);
    let is_active = status == Status::Active;
    let rotating = key.rotating_until.filter(|end| *end > now && is_active);
    let limit = key.requests_per_minute.unwrap_or(app.config.api_keys.requests_per_minute);
    let template = OnePage {
        frame: visitor.frame(Section::ApiKeys),
        list: visitor.path("/api-keys"),
        here: path_of(&visitor, id, ""),
        notice: notice(asked.first("done")),
        standing: status.into(),
        allowed: allowed(&apis, &key.scopes),
        networks: match key.allowed_networks {
            AllowedNetworks::Anywhere => Vec::new(),
            AllowedNetworks::Only(_) => key.allowed_networks.texts(),
        },
        project: key.project.map(|id| names.project(id)),
        created_by: names.person(key.created_by),
        owner: key.owner.map(|id| names.person(id)),
        limit: grouped(u64::from(limit)),
        has_own_limit: key.requests_per_minute.is_some(),
        rotating: rotating.map(|until| Rotating { until, left: Remaining::until(until, now) }),
        may_write: is_active && visitor.caller.may::<WriteApiKeys>(),
        may_hand_over: is_active && visitor.caller.may::<AdminApiKeys>(),
        key: &key,
    };
    Ok(page(template, StatusCode::OK))
}

fn notice(done: &str) -> Option<&'static str> {
    match done {
        "stored" => Some("The secret is stored. The key works from now on."),
        "made" => Some(
            "The key was made before. Its secret was shown then, and nobody can show it again: rotate the key if it is \
             lost.",
        ),
        "rotated" => Some(
            "The key was rotated before. Its new secret was shown then, and nobody can show it again: rotate once more \
             if it is lost.",
        ),
        "changed" => Some("Saved, and in force."),
        "revoked" => Some("The key is revoked. Nobody can use it any more."),
        "handed-over" => Some("The key is handed over."),
        _ => None,
    }
}

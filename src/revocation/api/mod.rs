//! `GET /oauth/revocations`: the log, for resource servers, as server-sent events or page by page.

mod feed;
mod page;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_verifier::bearer_token;
use secrecy::SecretString;
use serde::Deserialize;

use super::about::Reader;
use super::store::Position;
use crate::app::App;
use crate::http::{Problem, Query, bearer_challenge, preferred};
use crate::platform::FieldError;
use crate::resource_servers::{self, ResourceServer};

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The number of the last entry that the reader has seen.
    since: Option<i64>,
}

/// `GET /oauth/revocations`, for resource servers with their credential as bearer token.
pub async fn get(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<Wanted>, Problem>,
) -> Result<Response, Problem> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = header.and_then(|header| bearer_token(header).ok());
    let credential = SecretString::from(credential.unwrap_or_default());
    // From here on nothing that is changed about the reader is missed.
    let live = app.revocations.subscribe();
    let Some(api) = authenticate(&app, &credential).await? else {
        let detail = "Send the credential of a resource server as a bearer token.";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "Not authenticated", detail)
            .with_challenge(bearer_challenge(None)));
    };
    let Query(Wanted { since }) = query?;
    if since.is_some_and(|seq| seq < 0) {
        return Err(Problem::invalid(vec![FieldError::new("since", "must not be negative")]));
    }
    let mut answer = match preferred(&headers, &[EVENTS, JSON]) {
        Some(EVENTS) => {
            // Who comes back says where it was; the address that it comes back to may still say where it began.
            let since = last_event_id(&headers)?.or(since);
            feed::answer(app, credential, api, live, since).await?
        }
        Some(_) => page::answer(&app, &api, since).await?,
        None => {
            let detail = "There are text/event-stream and application/json.";
            return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "Not acceptable", detail));
        }
    };
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    Ok(answer.into_response())
}

/// Where a reader who comes back was.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let seq = id.to_str().ok().and_then(|id| id.parse().ok()).filter(|seq| *seq >= 0);
    let detail = "Last-Event-ID is not one of ours.";
    seq.map(Some).ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "Unreadable request", detail))
}

/// The resource server whose credential it is.
async fn authenticate(
    app: &App,
    credential: &SecretString,
) -> Result<Option<Arc<ResourceServer>>, sea_orm::DbErr> {
    let (known, now) = (&app.resource_servers, app.clock.now());
    resource_servers::authenticate(known, &app.db, now, credential).await
}

/// What of the log the resource server may see.
fn reader(app: &App, api: &ResourceServer) -> Reader {
    Reader { resource_server: api.id, only_of: api.only_of(app.clock.now()) }
}

/// Whether the log can be read on from there: it still has everything after it, and it has come that far.
fn goes_on_from(position: &Position, seq: i64) -> bool {
    seq >= position.trimmed && seq <= position.last
}

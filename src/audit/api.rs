//! `/v1/audit-events`: who did what, in pages to look at or as lines to keep.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use entity::{AuditEventId, OrganizationId, Timestamp};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{Export, Of, Order, Recorded, Which, store};
use crate::access::{Caller, ReadAuditEvents};
use crate::app::App;
use crate::http::{Limit, PageOf, Problem, Query};
use crate::platform::Refused;
use crate::tenancy;

/// The media types of JSON lines; the one has no registration, the other no friends.
const LINES: [&str; 2] = ["application/jsonl", "application/x-ndjson"];
/// Batches that may wait for a slow reader before the task behind the export waits too.
const BUFFER: usize = 2;

/// An event as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct Representation {
    pub id: AuditEventId,
    pub at: Timestamp,
    /// The id of who acted, `operator` for the command line, `system` for the server itself, or `anonymous`.
    pub actor: String,
    /// Such as `api_key.created`.
    pub action: String,
    /// The id of what it was done to.
    #[schema(required)]
    pub target: Option<String>,
    /// Null where it concerns the installation.
    #[schema(required)]
    pub organization: Option<OrganizationId>,
    /// The IP address that the request came from.
    #[schema(required)]
    pub address: Option<String>,
    #[schema(required)]
    pub user_agent: Option<String>,
    /// The `X-Request-Id` of the answer.
    #[schema(required)]
    pub request_id: Option<String>,
    /// Further facts, of which each action has its own.
    #[schema(value_type = Object)]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

impl From<Recorded> for Representation {
    fn from(event: Recorded) -> Self {
        Self {
            id: event.id,
            at: event.at,
            actor: event.actor,
            action: event.action,
            target: event.target,
            organization: event.organization,
            address: event.source.address,
            user_agent: event.source.user_agent,
            request_id: event.source.request_id,
            detail: event.detail,
        }
    }
}

/// An actor, an action or a target, whole.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, pattern = "^[a-z0-9._]{1,100}$")]
pub struct Word(String);

/// Whether a text can be an actor, an action or a target.
pub(super) fn is_word(text: &str) -> bool {
    let is_fine =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(is_fine)
}

/// Whether a text can be the id of a request.
pub(super) fn is_request_id(text: &str) -> bool {
    text.parse::<uuid::Uuid>().is_ok_and(|id| id.to_string() == text)
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match is_word(&text) {
            true => Ok(Self(text)),
            false => Err(serde::de::Error::custom("is nothing that an event has")),
        }
    }
}

/// What tells one request from another.
#[derive(Debug, ToSchema)]
#[schema(
    value_type = String,
    pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    example = "0b2f1d0e-6c1f-4f0e-9a53-3f6f3f1f7a10"
)]
pub struct RequestId(String);

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match is_request_id(&text) {
            true => Ok(Self(text)),
            false => Err(serde::de::Error::custom("is no id of a request")),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of pages alone; JSON lines have no end but the last event.
    #[param(inline)]
    limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    cursor: Option<AuditEventId>,
    /// The id of who acted, `operator`, `system` or `anonymous`.
    #[param(inline)]
    actor: Option<Word>,
    /// Such as `api_key.created`.
    #[param(inline)]
    action: Option<Word>,
    /// The id of what it was done to.
    #[param(inline)]
    target: Option<Word>,
    /// The `X-Request-Id` of the answer to the request that it came of.
    #[param(inline)]
    request_id: Option<RequestId>,
    /// Events of this time and later.
    #[param(inline)]
    from: Option<Timestamp>,
    /// Events before this time.
    #[param(inline)]
    to: Option<Timestamp>,
}

/// List audit events
///
/// Of your organization; for the one that runs the installation, those that belong to no organization too. Newest
/// first, in pages; as `application/jsonl` or `application/x-ndjson` all that match, oldest first, one to a line.
#[utoipa::path(
    get, path = "/v1/audit-events", tag = "Audit", params(ListQuery),
    responses((status = 200, description = "A page of events, or all of them as JSON lines", content(
        (PageOf<Representation> = "application/json"),
        (String = "application/jsonl"),
        (String = "application/x-ndjson"),
    ))),
    security(("bearer" = ["read:audit-events"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadAuditEvents>,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let is_operator = tenancy::find_operator(app.db.reader()).await? == Some(caller.organization);
    let which = Which {
        of: Of::visible_to(caller.organization, is_operator),
        actor: query.actor.map(|word| word.0),
        action: query.action.map(|word| word.0),
        target: query.target.map(|word| word.0),
        request_id: query.request_id.map(|id| id.0),
        from: query.from,
        to: query.to,
    };
    if let Some(kind) = wanted_lines(&headers) {
        return match (query.limit, query.cursor) {
            (None, None) => Ok(lines(app, which, kind)),
            (Some(_), _) => Err(Refused::field("limit", "is for pages").into()),
            (None, Some(_)) => Err(Refused::field("cursor", "is for pages").into()),
        };
    }
    let limit = query.limit.unwrap_or_default();
    let order = Order::NewestFirst { before: query.cursor };
    let events = store::list(app.db.reader(), &which, order, limit.rows()).await?;
    let page: PageOf<Representation> = PageOf::new(events, limit, |event| event.id, Into::into);
    Ok(axum::Json(page).into_response())
}

/// The kind of JSON lines that is asked for, where it stands before JSON as such.
fn wanted_lines(headers: &HeaderMap) -> Option<&'static str> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accepted.flat_map(|value| value.split(','));
    for kind in kinds.filter_map(|kind| kind.split(';').next()).map(str::trim) {
        if let Some(lines) = LINES.into_iter().find(|lines| lines.eq_ignore_ascii_case(kind)) {
            return Some(lines);
        }
        if ["application/json", "application/*", "*/*"].contains(&kind) {
            return None;
        }
    }
    None
}

/// All events as lines.
fn lines(app: App, which: Which, kind: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    let write = |_, events| std::future::ready(as_lines(events)).boxed();
    (headers, streamed(app, which, Vec::new(), write)).into_response()
}

/// How some events are written for an answer.
pub(super) type Written = BoxFuture<'static, io::Result<Vec<u8>>>;

/// All events behind what comes first, read while they are sent. It has no time limit, for it may take long; an answer
/// that breaks off, because the server stops or the database fails, is no whole one to the reader either.
pub(super) fn streamed(
    app: App,
    which: Which,
    first: Vec<u8>,
    write: impl Fn(App, Vec<Recorded>) -> Written + Send + Sync + 'static,
) -> Body {
    let (batches, receiver) = mpsc::channel(BUFFER);
    let mut export = Export::new(app.clock.now(), which);
    tokio::spawn(async move {
        let stopping = app.stopping.clone();
        let ended = tokio::select! {
            result = send_all(&app, &mut export, first, write, &batches) => result,
            () = batches.closed() => return,
            () = stopping.cancelled() => Err(io::Error::other("the server stops")),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "an export of audit events broke off");
            // An error says that the reader has gone.
            let _ = batches.send(Err(error)).await;
        }
    });
    Body::from_stream(futures::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    }))
}

async fn send_all(
    app: &App,
    export: &mut Export,
    first: Vec<u8>,
    write: impl Fn(App, Vec<Recorded>) -> Written + Sync,
    batches: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    if !first.is_empty() && batches.send(Ok(first.into())).await.is_err() {
        return Ok(());
    }
    while let Some(events) = export.next(&app.db).await.map_err(io::Error::other)? {
        let written = write(app.clone(), events).await?;
        if batches.send(Ok(written.into())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// One event to a line.
///
/// # Errors
/// When one can't be written as JSON.
pub fn as_lines(events: Vec<Recorded>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, &Representation::from(event))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

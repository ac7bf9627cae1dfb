//! `GET /oauth/revocations`: the log as server-sent events, for resource servers.
//!
//! First every entry that still matters, or with `Last-Event-ID` those after it; then `ready`; then each entry as it
//! commits. `reset` says that the id asked for is not one that the log can go on from, and a whole snapshot follows.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use portcullis_verifier::bearer_token;
use portcullis_verifier::revocation::Entry;
use secrecy::SecretString;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::store;
use crate::app::App;
use crate::http::{Problem, bearer_challenge};
use crate::resource_servers;

const HEARTBEAT: Duration = Duration::from_secs(10);
const BATCH: u64 = 500;
/// Events that may wait for a slow reader before the task behind the feed waits too.
const BUFFER: usize = 64;

type Events = mpsc::Sender<Result<Event, Infallible>>;

/// `GET /oauth/revocations`, for resource servers with their credential as bearer token.
pub async fn get(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = header.and_then(|header| bearer_token(header).ok());
    let credential = SecretString::from(credential.unwrap_or_default());
    if !is_good(&app, &credential).await? {
        let detail = "Send the credential of a resource server as a bearer token.";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "Not authenticated", detail)
            .with_challenge(bearer_challenge(None)));
    }
    let last_seen = match headers.get("last-event-id") {
        None => None,
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.parse::<i64>().ok())
                .filter(|id| *id >= 0)
                .ok_or_else(|| {
                    Problem::new(
                        StatusCode::BAD_REQUEST,
                        "Unreadable request",
                        "Last-Event-ID is not one of ours.",
                    )
                })?,
        ),
    };
    let (events, receiver) = mpsc::channel(BUFFER);
    let stopping = app.stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            result = serve(&app, &credential, last_seen, &events) => if let Err(error) = result {
                tracing::error!(%error, "a revocation feed ended");
            },
            () = events.closed() => {}
            () = stopping.cancelled() => {}
        }
    });
    let stream = futures::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let mut response =
        Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // Proxies such as nginx would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Whether the credential is a resource server's.
async fn is_good(app: &App, credential: &SecretString) -> Result<bool, sea_orm::DbErr> {
    let (known, now) = (&app.resource_servers, app.clock.now());
    Ok(resource_servers::authenticate(known, &app.db, now, credential).await?.is_some())
}

async fn serve(
    app: &App,
    credential: &SecretString,
    last_seen: Option<i64>,
    events: &Events,
) -> anyhow::Result<()> {
    // Subscribed before the snapshot is read, so that nothing falls between the two.
    let mut live = app.revocations.subscribe();
    let position = store::position(app.db.reader()).await?;
    let mut sent = match last_seen {
        Some(seq) if seq >= position.trimmed && seq <= position.last => seq,
        Some(_) => {
            events.send(Ok(Event::default().event("reset").data("{}"))).await?;
            0
        }
        None => 0,
    };
    sent = send_stored(app, sent, events).await?;
    events.send(Ok(Event::default().event("ready").id(sent.to_string()).data("{}"))).await?;
    loop {
        match live.recv().await {
            // What was good when the feed began may have been rotated or deleted since.
            Ok(_) if !is_good(app, credential).await? => return Ok(()),
            Ok(entry) if entry.seq > sent => {
                sent = entry.seq;
                send(&entry, events).await?;
            }
            Ok(_) => {}
            // This reader was too slow for the memory's window; the log has it all.
            Err(RecvError::Lagged(_)) => sent = send_stored(app, sent, events).await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn send_stored(app: &App, mut after: i64, events: &Events) -> anyhow::Result<i64> {
    loop {
        let batch = store::list_after(app.db.reader(), after, BATCH).await?;
        for entry in &batch {
            send(entry, events).await?;
            after = entry.seq;
        }
        if (batch.len() as u64) < BATCH {
            return Ok(after);
        }
    }
}

async fn send(entry: &Entry, events: &Events) -> anyhow::Result<()> {
    let event = Event::default().event("entry").id(entry.seq.to_string()).json_data(entry)?;
    Ok(events.send(Ok(event)).await?)
}

//! The log as server-sent events.
//!
//! First every entry that still matters, or those after the one that the reader has seen; then `ready`; then each entry
//! as it commits. `reset` says that the log does not go on from where the reader was, and a whole snapshot follows.
//!
//! Nothing is made before the connection has room for it: a reader that is slow falls behind the entries in memory and
//! is served from the stored log. One that takes nothing at all loses its connection (`src/server.rs`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use secrecy::SecretString;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{EVENTS, authenticate, goes_on_from, reader};
use crate::app::App;
use crate::http::Problem;
use crate::resource_servers::ResourceServer;
use crate::revocation::about::Reader;
use crate::revocation::live::{Live, Whose, event};
use crate::revocation::store;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// A heartbeat says that nothing was missed. One that can't read the log has no right to say so.
const STALE: Duration = Duration::from_secs(10);
/// As many stored entries are read and written at a time.
const BATCH: usize = 100;

/// A reader's connection.
struct Feed {
    app: App,
    credential: SecretString,
    api: Arc<ResourceServer>,
    reader: Reader,
    live: Receiver<Arc<Live>>,
    /// Everything up to here was sent, or is none of the reader's business.
    sent: i64,
    stage: Stage,
    heartbeat: Interval,
    /// Whether the end of the older credential has passed, and this one was found to be another.
    is_current: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// To say that all that the reader has may be incomplete.
    Gap,
    /// Stored entries, up to that number at least.
    Stored {
        until: Option<i64>,
        is_first: bool,
    },
    Ready,
    Live,
}

pub(super) async fn answer(
    app: App,
    credential: SecretString,
    api: Arc<ResourceServer>,
    live: Receiver<Arc<Live>>,
    since: Option<i64>,
) -> Result<Response, Problem> {
    let position = store::position(app.db.reader()).await?;
    let stored = Stage::Stored { until: Some(position.last), is_first: true };
    let (sent, stage) = match since {
        Some(seq) if goes_on_from(&position, seq) => (seq, stored),
        Some(_) => (0, Stage::Gap),
        None => (0, stored),
    };
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopping = app.stopping.clone();
    let reader = reader(&app, &api);
    let feed =
        Feed { app, credential, api, reader, live, sent, stage, heartbeat, is_current: false };
    let pieces = futures::stream::unfold(feed, async |mut feed| match feed.next().await {
        Ok(piece) => piece.map(|piece| (Ok::<_, Infallible>(piece), feed)),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "a revocation feed ended");
            None
        }
    });
    let pieces = pieces.take_until(stopping.cancelled_owned());
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    // Proxies such as nginx would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Feed {
    /// What is written next; none at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.stage {
                Stage::Gap => {
                    self.sent = 0;
                    self.stage = Stage::Stored { until: None, is_first: true };
                    return Ok(Some(Bytes::from_static(b"event: reset\ndata: {}\n\n")));
                }
                // Boxed, for it is large and rarely there.
                Stage::Stored { until, is_first } => {
                    let text = Box::pin(self.stored(until, is_first)).await?;
                    if !text.is_empty() {
                        return Ok(Some(text.into()));
                    }
                }
                Stage::Ready => {
                    self.stage = Stage::Live;
                    let ready = format!("event: ready\nid: {}\ndata: {{}}\n\n", self.sent);
                    return Ok(Some(ready.into()));
                }
                Stage::Live => {
                    if let Some(piece) = self.live().await? {
                        return Ok(piece);
                    }
                }
            }
        }
    }

    /// The next batch of what is stored.
    async fn stored(&mut self, until: Option<i64>, is_first: bool) -> anyhow::Result<String> {
        let (db, revocations) = (self.app.db.reader(), &self.app.revocations);
        let turn = revocations.reading.acquire().await?;
        // Asked first: nothing up to there is missed, whoever it concerns.
        let until = match until {
            Some(until) => until,
            None => store::position(db).await?.last,
        };
        let entries = store::list_for(db, self.reader, self.sent, BATCH as u64).await?;
        drop(turn);
        self.sent = entries.last().map_or(self.sent, |entry| entry.seq);
        self.stage = Stage::Stored { until: Some(until), is_first };
        if entries.len() < BATCH {
            self.sent = self.sent.max(until);
            self.stage = if is_first { Stage::Ready } else { Stage::Live };
        }
        Ok(entries.iter().map(event).collect())
    }

    /// Waits for an entry, or for the time to beat. None if something else comes next, some none at the end.
    async fn live(&mut self) -> anyhow::Result<Option<Option<Bytes>>> {
        tokio::select! {
            received = self.live.recv() => match received {
                Ok(live) if live.seq <= self.sent => Ok(None),
                Ok(live) => {
                    self.sent = live.seq;
                    if !self.may_go_on(live.about).await? {
                        return Ok(Some(None));
                    }
                    let is_seen = self.reader.sees(live.audience);
                    Ok(is_seen.then(|| Some(live.event.clone())))
                }
                // This reader was too slow for the memory's window; the log has it all.
                Err(RecvError::Lagged(_)) => {
                    self.stage = Stage::Stored { until: None, is_first: false };
                    Ok(None)
                }
                Err(RecvError::Closed) => Ok(Some(None)),
            },
            _ = self.heartbeat.tick() => {
                if !self.may_go_on(None).await? || self.app.revocations.unread_for() > STALE {
                    return Ok(Some(None));
                }
                self.reader = reader(&self.app, &self.api);
                Ok(Some(Some(Bytes::from_static(b":\n\n"))))
            }
        }
    }

    /// Whether the credential is still good; asked only when it may have ended. Whoever may see more from now on begins
    /// anew.
    async fn may_go_on(&mut self, about: Option<Whose>) -> anyhow::Result<bool> {
        let is_named = match about {
            Some(Whose::ResourceServer(id)) => id == self.api.id,
            Some(Whose::Organization(id)) => Some(id) == self.api.organization,
            None => false,
        };
        let end = self.api.older_credential_expires_at;
        let has_ended = !self.is_current && end.is_some_and(|end| end <= self.app.clock.now());
        if !is_named && !has_ended {
            return Ok(true);
        }
        let Some(api) = Box::pin(authenticate(&self.app, &self.credential)).await? else {
            return Ok(false);
        };
        let end = api.older_credential_expires_at;
        self.is_current = end.is_some_and(|end| end <= self.app.clock.now());
        let before = std::mem::replace(&mut self.reader, reader(&self.app, &api));
        self.api = api;
        if before.only_of.is_some() && before.only_of != self.reader.only_of {
            self.stage = Stage::Gap;
        }
        Ok(true)
    }
}

//! Following the revocation log of the authorization server.
//!
//! `GET` on the metadata's `portcullis_revocations_endpoint` answers with server-sent events:
//!
//! - `entry`, `id: <seq>`, an [`Entry`] as data: first each that still matters, later each as it is committed;
//! - `ready`, `id: <seq>`, on every connection: all up to `seq` has been sent;
//! - `reset`: the log no longer reaches back to the `Last-Event-ID` that was asked for; all that still matters follows,
//!   and then `ready`;
//! - a comment every ten seconds, so that a dead connection is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use super::backoff::wait_after;
use super::event_stream::{Event, EventStream, EventStreamError};
use super::http::{FetchError, Http};
use super::now_unix;
use crate::revocation::{Entry, RevocationSet};

const SILENCE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const SOUND_AFTER: Duration = Duration::from_secs(5);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Entries are kept beyond their end for as long as clocks may differ, since tokens are accepted that much longer.
const CLOCK_SLACK_SECONDS: i64 = 60;

/// What the feed has brought so far.
pub(super) struct Feed {
    pub(super) revocations: RevocationSet,
    began: Instant,
    /// When a connection that was up to date was last heard: milliseconds since `began`, and 1 more, for 0 is never.
    heard: AtomicU64,
    is_live: AtomicBool,
    interruptions: AtomicU64,
    status: watch::Sender<Status>,
}

/// Whether the feed has ever been complete.
#[derive(Debug, Clone)]
pub(super) enum Status {
    Connecting,
    /// The last attempt failed; another will be made.
    Failed(String),
    /// The server won't let this credential listen.
    Refused(u16),
    Ready,
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Open(#[from] FetchError),
    #[error("the connection broke")]
    Broken(#[source] reqwest::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silent,
    #[error(transparent)]
    Stream(#[from] EventStreamError),
    #[error("an entry can't be read")]
    Entry(#[source] serde_json::Error),
    #[error("a `ready` event has no number as its id")]
    ReadyWithoutId,
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed {
            revocations: RevocationSet::new(),
            began: Instant::now(),
            heard: AtomicU64::new(0),
            is_live: AtomicBool::new(false),
            interruptions: AtomicU64::new(0),
            status: watch::Sender::new(Status::Connecting),
        }
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// For how long, at `now`, nothing has been heard on a connection that was up to date. `None` if there has been
    /// none yet.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let heard = Duration::from_millis(self.heard.load(Ordering::Acquire).checked_sub(1)?);
        Some(now.saturating_duration_since(self.began).saturating_sub(heard))
    }

    /// Whether the present connection has brought all that there is.
    pub(super) fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }

    /// How often a connection has broken or couldn't be made.
    pub(super) fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    fn hear(&self) {
        let heard = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.heard.store(heard + 1, Ordering::Release);
    }

    /// Listens for ever, on one connection after another.
    pub(super) async fn follow(self: Arc<Self>, http: Arc<Http>, url: Url) {
        let mut resume_after = None;
        let mut failures = 0;
        loop {
            let mut connection =
                Connection { feed: &self, resume_after, live_since: None, pruned: Instant::now() };
            // Never comes back with anything but the reason why it ended.
            let Err(error) = connection.listen(&http, &url).await;
            resume_after = connection.resume_after;
            self.is_live.store(false, Ordering::Relaxed);
            self.interruptions.fetch_add(1, Ordering::Relaxed);
            if connection.live_since.is_some_and(|since| since.elapsed() >= SOUND_AFTER) {
                failures = 0;
            }
            let reason = with_causes(&error);
            tracing::warn!(%url, %reason, "the revocation feed was interrupted");
            self.note_failure(&error, reason);
            tokio::time::sleep(wait_after(failures, FIRST_WAIT, LONGEST_WAIT)).await;
            failures = failures.saturating_add(1);
        }
    }

    fn note_failure(&self, error: &FeedError, reason: String) {
        self.status.send_if_modified(|status| {
            if matches!(status, Status::Ready) {
                return false;
            }
            *status = match error {
                FeedError::Open(FetchError::Status(code @ (401 | 403))) => Status::Refused(*code),
                _ => Status::Failed(reason),
            };
            true
        });
    }
}

struct Connection<'a> {
    feed: &'a Feed,
    /// The `Last-Event-ID` of the next connection. Only ever an id up to which everything has been received.
    resume_after: Option<i64>,
    /// Since when this connection has been up to date.
    live_since: Option<Instant>,
    pruned: Instant,
}

impl Connection<'_> {
    async fn listen(
        &mut self,
        http: &Http,
        url: &Url,
    ) -> Result<std::convert::Infallible, FeedError> {
        let mut response = http.open_events(url, self.resume_after).await?;
        let mut stream = EventStream::default();
        loop {
            let chunk = timeout(SILENCE, response.chunk())
                .await
                .map_err(|_| FeedError::Silent)?
                .map_err(FeedError::Broken)?
                .ok_or(FeedError::Closed)?;
            for event in stream.push(&chunk)? {
                self.take(&event)?;
            }
            if self.live_since.is_some() {
                self.feed.hear();
            }
            if self.pruned.elapsed() >= PRUNE_EVERY {
                self.feed.revocations.remove_expired(now_unix() - CLOCK_SLACK_SECONDS);
                self.pruned = Instant::now();
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<(), FeedError> {
        match event.name.as_str() {
            "entry" => {
                let entry: Entry = serde_json::from_str(&event.data).map_err(FeedError::Entry)?;
                self.feed.revocations.apply(&entry);
                if self.live_since.is_some() {
                    self.resume_after = Some(entry.seq);
                }
            }
            "ready" => {
                let id = event.id.as_deref().and_then(|id| id.parse().ok());
                self.resume_after = Some(id.ok_or(FeedError::ReadyWithoutId)?);
                self.live_since = Some(Instant::now());
                self.feed.is_live.store(true, Ordering::Relaxed);
                // First, for whoever waits for the status asks at once how long the feed has been silent.
                self.feed.hear();
                if !matches!(self.feed.status.send_replace(Status::Ready), Status::Ready) {
                    tracing::info!("the revocation feed is complete");
                }
            }
            // What is known already stays: entries only ever add.
            "reset" => {
                self.resume_after = None;
                self.live_since = None;
                self.feed.is_live.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned(), id: Some(id.to_owned()) }
    }

    fn entry(seq: i64) -> Event {
        let data = format!(
            r#"{{"seq":{seq},"kind":"revoked","subject":"tok_{seq}","expires_at":9000000000}}"#
        );
        event("entry", &seq.to_string(), &data)
    }

    #[test]
    fn a_snapshot_is_resumed_only_once_it_is_complete() {
        let feed = Feed::new();
        let mut connection = Connection {
            feed: &feed,
            resume_after: None,
            live_since: None,
            pruned: Instant::now(),
        };
        connection.take(&entry(3)).unwrap();
        assert_eq!(connection.resume_after, None);
        connection.take(&event("ready", "8", "{}")).unwrap();
        assert_eq!(connection.resume_after, Some(8));
        assert!(feed.silent_for(Instant::now()).is_some());
        connection.take(&entry(9)).unwrap();
        assert_eq!(connection.resume_after, Some(9));
        connection.take(&event("future", "10", "?")).unwrap();
        connection.take(&event("reset", "", "{}")).unwrap();
        connection.take(&entry(20)).unwrap();
        assert_eq!((connection.resume_after, connection.live_since), (None, None));
        for token in ["tok_3", "tok_9", "tok_20"] {
            assert!(feed.revocations.contains(token), "{token}");
        }
    }

    #[test]
    fn a_cutoff_is_taken_in_and_outlasts_a_reset() {
        let feed = Feed::new();
        let mut connection = Connection {
            feed: &feed,
            resume_after: None,
            live_since: None,
            pruned: Instant::now(),
        };
        let changed = |seq: i64, issued_before: i64| {
            let data = format!(
                r#"{{"seq":{seq},"kind":"changed","subject":"usr_1","expires_at":9000000000,"issued_before":{issued_before}}}"#
            );
            event("entry", &seq.to_string(), &data)
        };
        let is_refused = |iat: i64| {
            let json = serde_json::json!({
                "iss": "i", "sub": "usr_1", "aud": "a", "exp": 600, "iat": iat, "jti": "tok_1", "client_id": "app_1",
            });
            feed.revocations.is_revoked(&serde_json::from_value(json).unwrap())
        };
        connection.take(&changed(1, 60)).unwrap();
        connection.take(&event("ready", "1", "{}")).unwrap();
        assert!(is_refused(59) && !is_refused(60));
        connection.take(&event("reset", "", "{}")).unwrap();
        assert!(is_refused(59));
        connection.take(&changed(9, 70)).unwrap();
        connection.take(&changed(8, 50)).unwrap();
        connection.take(&event("ready", "9", "{}")).unwrap();
        assert!(is_refused(69) && !is_refused(70));
    }

    #[test]
    fn what_cannot_be_read_ends_the_connection() {
        let feed = Feed::new();
        let mut connection = Connection {
            feed: &feed,
            resume_after: None,
            live_since: None,
            pruned: Instant::now(),
        };
        assert!(connection.take(&event("entry", "1", "{}")).is_err());
        assert!(connection.take(&event("ready", "x", "{}")).is_err());
    }
}

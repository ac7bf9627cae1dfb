//! The ordered log of what is no longer valid, and this process's memory of it.
//!
//! Owns: appending to the log in the transaction of the change, the in-memory set that every check looks into, the
//! task that keeps the set true, and the feed to resource servers, each of which sees what concerns it.
//! Does not own: what descends from what. Whoever ends a thing appends the entry; whoever checks a credential asks
//! for everything that it descends from.
//!
//! Sequence numbers are taken under one row lock, so commit order is number order: a reader who has seen n never
//! later finds one below n.

mod about;
pub mod api;
mod append;
mod follow;
mod live;
mod store;

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entity::{
    ApiKeyId, ClientId, GrantId, OrganizationId, ProjectId, ResourceServerId, SecretId,
    SigningKeyId, TokenId, UserId,
};
use portcullis_verifier::revocation::{Entry, Mark};
use portcullis_verifier::{AccessTokenClaims, RevocationSet};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::time::Instant;

pub use about::About;
pub use append::{append_changed, append_narrowed, append_revoked};
pub use follow::follow;
pub use store::trim;

/// The longest that an access token may live; what was revoked longer ago than this can't have an unexpired token.
pub const LONGEST_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Token(TokenId),
    Grant(GrantId),
    Client(ClientId),
    User(UserId),
    ApiKey(ApiKeyId),
    Secret(SecretId),
    Organization(OrganizationId),
    Project(ProjectId),
    ResourceServer(ResourceServerId),
    SigningKey(SigningKeyId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => id.fmt(f),
            Self::Grant(id) => id.fmt(f),
            Self::Client(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::ApiKey(id) => id.fmt(f),
            Self::Secret(id) => id.fmt(f),
            Self::Organization(id) => id.fmt(f),
            Self::Project(id) => id.fmt(f),
            Self::ResourceServer(id) => id.fmt(f),
            Self::SigningKey(id) => id.fmt(f),
        }
    }
}

/// This process's view of the log; shared by every request.
pub struct Revocations {
    set: RevocationSet,
    applied: AtomicI64,
    feed: broadcast::Sender<Arc<live::Live>>,
    requests: mpsc::Sender<oneshot::Sender<()>>,
    /// When the log was last read to its end.
    read_at: Mutex<Instant>,
    /// Feeds that read the stored log take turns, so that a thousand that come back at once leave the database to others.
    reading: Semaphore,
}

/// An entry as it stands in the log: with whom it concerns.
#[derive(Debug, Clone)]
pub struct Logged {
    pub entry: Entry,
    audience: about::Audience,
}

/// As many entries wait for feeds that are a little behind; whoever is further behind reads the stored log.
const LIVE: usize = 16_384;
/// As many feeds read the stored log at a time.
const READING: usize = 2;

/// Those who wait until the log has been read once more; for `follow`.
pub struct CatchUpRequests(mpsc::Receiver<oneshot::Sender<()>>);

impl Revocations {
    #[must_use]
    pub fn new() -> (Arc<Self>, CatchUpRequests) {
        let (requests, receiver) = mpsc::channel(1024);
        let (feed, _) = broadcast::channel(LIVE);
        let this = Self {
            set: RevocationSet::default(),
            applied: AtomicI64::new(0),
            feed,
            requests,
            read_at: Mutex::new(Instant::now()),
            reading: Semaphore::new(READING),
        };
        (Arc::new(this), CatchUpRequests(receiver))
    }

    /// Whether the token, or anything that it descends from, was revoked.
    #[must_use]
    pub fn is_revoked(&self, claims: &AccessTokenClaims) -> bool {
        self.set.is_revoked(claims)
    }

    /// Whether this one thing was revoked.
    #[must_use]
    pub fn contains(&self, subject: Subject) -> bool {
        self.set.contains(&subject.to_string())
    }

    /// The present moment. Take it before reading something, and ask `changed_since` when using it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.set.mark()
    }

    /// Whether the log has brought anything about the subject since then.
    #[must_use]
    pub fn changed_since(&self, subject: &str, mark: Mark) -> bool {
        self.set.changed_since(subject, mark)
    }

    /// The number of the last entry that this process has applied.
    #[must_use]
    pub fn applied(&self) -> i64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Returns once everything that was committed before the call is in force in this process.
    ///
    /// Called after a commit and before the answer, so that whoever was told "revoked" finds it so. If the database
    /// stays away for five seconds it returns all the same: the change is durable and will be applied.
    pub async fn catch_up(&self) {
        if !self.is_caught_up().await {
            tracing::warn!("the revocation log could not be read within five seconds");
        }
    }

    /// Waits up to five seconds until everything that was committed before the call is in force in this process, and
    /// says whether it is.
    pub async fn is_caught_up(&self) -> bool {
        let (done, wait) = oneshot::channel();
        self.requests.send(done).await.is_ok()
            && matches!(tokio::time::timeout(Duration::from_secs(5), wait).await, Ok(Ok(())))
    }

    /// For how long the log could not be read.
    #[must_use]
    pub fn unread_for(&self) -> Duration {
        self.read_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// How many feeds are connected.
    #[must_use]
    pub fn feeds(&self) -> usize {
        self.feed.receiver_count()
    }

    fn note_read(&self) {
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<live::Live>> {
        self.feed.subscribe()
    }

    fn apply(&self, logged: &Logged) {
        self.set.apply(&logged.entry);
        self.applied.store(logged.entry.seq, Ordering::Release);
        if self.feed.receiver_count() > 0 {
            // An error says that the last feed has just gone.
            let _ = self.feed.send(Arc::new(live::Live::new(logged)));
        }
    }
}

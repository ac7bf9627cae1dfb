//! How a verifier is doing, as a value that an application can show.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::principal::Principal;
use crate::rejection::Rejection;

/// How a [`Verifier`](crate::Verifier) is doing. Holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether the revocation feed has been heard within `max_staleness`. If not, [`WhenStale`](crate::WhenStale)
    /// decides what becomes of requests.
    pub is_available: bool,
    /// How the connection to the revocation feed is.
    pub feed: FeedState,
    /// How long ago the feed was last heard, in seconds.
    pub seconds_since_heard: Option<u64>,
    /// How often a connection to the feed has broken or couldn't be made.
    pub feed_interruptions: u64,
    /// The greatest number of the log that has been heard of.
    pub last_seq: i64,
    /// How many entries of the log still matter.
    pub revocations: usize,
    /// How many access tokens are remembered.
    pub remembered_tokens: usize,
    /// How many API keys are remembered.
    pub remembered_api_keys: usize,
    /// How many keys of the authorization server are known.
    pub signing_keys: usize,
    /// How long ago these were fetched, in seconds.
    pub signing_keys_age: u64,
    /// How many questions about credentials have been put to the authorization server.
    pub introspections: u64,
    /// How many of them brought no answer.
    pub introspections_unanswered: u64,
    /// What has been decided.
    pub checks: Checks,
}

/// The state of the connection to the revocation feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeedState {
    /// There is a connection, and it has brought all that there is.
    Live,
    /// There was one; another is being made, or is bringing what was missed.
    Interrupted,
}

/// How many requests have been decided in which way since the verifier was built.
///
/// A scope that a credential doesn't cover is found out later, by [`Principal::require`], and not counted here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Checks {
    /// Accepted because they were remembered: neither a signature check nor a question.
    pub accepted_from_memory: u64,
    /// Accepted after a signature check or a question.
    pub accepted_anew: u64,
    /// Refused: there was no credential.
    pub refused_missing: u64,
    /// Refused: the header couldn't be read.
    pub refused_malformed: u64,
    /// Refused: the credential isn't accepted.
    pub refused_invalid: u64,
    /// Refused: it couldn't be decided.
    pub refused_unavailable: u64,
}

/// Where the checks are counted.
#[derive(Default)]
pub(super) struct Tally {
    accepted_from_memory: AtomicU64,
    accepted_anew: AtomicU64,
    refused_missing: AtomicU64,
    refused_malformed: AtomicU64,
    refused_invalid: AtomicU64,
    refused_unavailable: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self, answer: &Result<Principal, Rejection>, from_memory: bool) {
        let counter = match answer {
            Ok(_) if from_memory => &self.accepted_from_memory,
            Ok(_) => &self.accepted_anew,
            Err(Rejection::MissingCredential) => &self.refused_missing,
            Err(Rejection::MalformedRequest(_)) => &self.refused_malformed,
            Err(Rejection::InvalidToken(_) | Rejection::InsufficientScope { .. }) => {
                &self.refused_invalid
            }
            Err(Rejection::Unavailable(_)) => &self.refused_unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn checks(&self) -> Checks {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Checks {
            accepted_from_memory: read(&self.accepted_from_memory),
            accepted_anew: read(&self.accepted_anew),
            refused_missing: read(&self.refused_missing),
            refused_malformed: read(&self.refused_malformed),
            refused_invalid: read(&self.refused_invalid),
            refused_unavailable: read(&self.refused_unavailable),
        }
    }
}

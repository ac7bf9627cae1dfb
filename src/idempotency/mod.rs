//! Answers to creations that bore an `Idempotency-Key`: the same request within a day gets the same answer again.
//!
//! The claim and the answer are written in the transaction of the creation itself, so there is neither a creation
//! without its answer nor an answer without its creation. No secret is kept.

mod store;

use std::time::Duration;

use entity::Timestamp;

pub use store::{claim, erase_from_answers, forget_old, settle};

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that names a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyedRequest {
    /// SHA-256 of the caller and the key.
    pub digest: [u8; 32],
    /// SHA-256 of what is asked for.
    pub fingerprint: [u8; 32],
    pub at: Timestamp,
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it is this transaction's now.
    First,
    /// It was answered before, with this status and body.
    Answered { status: u16, body: String },
    /// It was used for another request.
    OfAnotherRequest,
}

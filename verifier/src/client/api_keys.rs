//! API keys: asked about once, remembered by their digest, forgotten when the feed says so.
//!
//! An answer is kept true by the feed. What the feed doesn't carry (that the key is in use, what the resource server
//! offers) is brought by asking again once a minute while the key is used, behind the back of whoever uses it. When
//! that brings no answer, the one at hand goes on for as long as the feed does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Moment;
use super::backoff::shortened;
use super::feed::Feed;
use super::introspection::{Active, Introspection};
use super::remembered::{Digest, Remembered};
use crate::key;
use crate::network::{Network, may_be_used_from};
use crate::principal::Principal;
use crate::rejection::{InvalidToken, Rejection, Unavailability};
use crate::revocation::{Mark, RevocationSet, Subject};

const NOT_ACCEPTED: Rejection = Rejection::InvalidToken(InvalidToken::NotAccepted);
const UNAVAILABLE: Rejection = Rejection::Unavailable(Unavailability::AuthorizationServer);
/// An answer older than this is asked for again behind the caller's back.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// One that is older still (the key has hardly been used) while the caller waits.
const WAIT_AFTER: Duration = Duration::from_secs(5 * 60);
/// How soon a question that brought no answer is put again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// For how long an answer is passed on to others who put the same question: those who came while it was under way.
const ANSWER_FOR: Duration = Duration::from_secs(1);
const MAX_ANSWERS: u64 = 100_000;
/// Kept apart from the good ones, so that made-up keys can't crowd these out.
const MAX_UNKNOWN: u64 = 10_000;
const UNKNOWN_FOR: Duration = Duration::from_secs(2);
/// How often an answer may turn out to be overtaken by the feed before the question is given up.
const MAX_ATTEMPTS: usize = 4;

/// Nothing of a key's text is kept, only its SHA-256.
pub(super) struct ApiKeys {
    introspection: Arc<Introspection>,
    feed: Arc<Feed>,
    remembered: Remembered<Arc<Known>>,
    /// The questions that are under way, so that each is put once, and what they brought a moment ago.
    answers: Cache<Digest, Arc<Known>>,
    unknown: Cache<Digest, ()>,
    /// What keys begin with that the server has imported: they have no checksum of ours.
    imported_prefixes: Vec<String>,
    runtime: Handle,
}

/// A key that the server has vouched for.
struct Known {
    principal: Principal,
    allowed_networks: Option<Vec<Network>>,
    expires_at: Option<i64>,
    /// What the answer hangs on: the key and its organization first, which when revoked end the key, then what else may
    /// change the answer.
    subjects: Vec<Subject>,
    /// What the feed had brought when the question was put: whatever comes later may not be in the answer.
    asked_at: Mark,
    /// How much of the log was known when it was last looked into. While there is no more, nothing has changed.
    unchanged_at: AtomicU64,
    learned_at: Instant,
    /// In milliseconds since `learned_at`.
    ask_again_after: AtomicU64,
}

/// What has become of a key that was known to be good.
enum Standing {
    Unchanged,
    Revoked,
    /// Something has changed; the server must be asked.
    Outdated,
}

impl ApiKeys {
    /// Must be called within a tokio runtime.
    pub(super) fn new(
        introspection: Arc<Introspection>,
        feed: Arc<Feed>,
        imported_prefixes: Vec<String>,
        most: usize,
    ) -> ApiKeys {
        ApiKeys {
            introspection,
            feed,
            remembered: Remembered::new(most),
            answers: Cache::builder().max_capacity(MAX_ANSWERS).time_to_live(ANSWER_FOR).build(),
            unknown: Cache::builder().max_capacity(MAX_UNKNOWN).time_to_live(UNKNOWN_FOR).build(),
            imported_prefixes,
            runtime: Handle::current(),
        }
    }

    pub(super) fn may_be_imported(&self, text: &str) -> bool {
        key::may_be_imported(text, &self.imported_prefixes)
    }

    /// What is to be said of a key that is remembered: without waiting, and without allocating anything unless it is
    /// time to ask again.
    pub(super) fn recall(
        self: &Arc<ApiKeys>,
        text: &str,
        digest: &Digest,
        at: &Moment,
    ) -> Option<Result<Principal, Rejection>> {
        let (answer, ask_again) =
            self.remembered.with(digest, |known| match known.standing(&self.feed.revocations) {
                Standing::Revoked => (Some(Err(NOT_ACCEPTED)), false),
                Standing::Outdated => (None, false),
                Standing::Unchanged => {
                    let is_due = known.is_due(at.instant);
                    let wait = is_due && known.age(at.instant) >= WAIT_AFTER;
                    let ask_again = is_due && !wait && known.postpones_asking(at.instant);
                    ((!wait).then(|| known.answer(at)), ask_again)
                }
            })?;
        if ask_again {
            self.ask_again(text, *digest);
        }
        answer
    }

    fn ask_again(self: &Arc<ApiKeys>, text: &str, digest: Digest) {
        let (keys, text) = (self.clone(), SecretString::from(text));
        self.runtime.spawn(async move {
            // What comes of it is in the memory; whoever uses the key next finds it there.
            let _ = keys.answer(text.expose_secret(), digest).await;
        });
    }

    /// Asks about a key that isn't remembered, or not well enough. If `live`, no answer from before will do instead.
    pub(super) async fn verify(
        &self,
        text: &str,
        digest: Digest,
        at: &Moment,
        live: bool,
    ) -> Result<Principal, Rejection> {
        if !key::has_valid_checksum(text) && !self.may_be_imported(text) {
            return Err(Rejection::InvalidToken(InvalidToken::Malformed));
        }
        self.find(text, digest, at, live).await?.answer(at)
    }

    /// What is known of a key that hasn't been revoked, as of this call or of the last change that the feed has brought.
    async fn find(
        &self,
        text: &str,
        digest: Digest,
        at: &Moment,
        live: bool,
    ) -> Result<Arc<Known>, Rejection> {
        let revocations = &self.feed.revocations;
        let called_at = revocations.mark();
        for _ in 0..MAX_ATTEMPTS {
            let known = match self.answer(text, digest).await {
                Err(UNAVAILABLE) if !live => self.last_answer(&digest, at).ok_or(UNAVAILABLE)?,
                answer => answer?,
            };
            match known.standing(revocations) {
                Standing::Revoked => return Err(NOT_ACCEPTED),
                Standing::Outdated if known.asked_at < called_at => {
                    self.forget(digest, &known).await;
                }
                Standing::Outdated | Standing::Unchanged => return Ok(known),
            }
        }
        Err(UNAVAILABLE)
    }

    /// The server's answer, to a question that is put once however many ask.
    async fn answer(&self, text: &str, digest: Digest) -> Result<Arc<Known>, Rejection> {
        let before = self.answers.get(&digest).await;
        if let Some(known) = before.filter(|known| known.age(Instant::now()) >= ANSWER_FOR) {
            self.forget_answer(digest, &known).await;
        }
        let question = self.ask(text, digest);
        self.answers.try_get_with(digest, question).await.map_err(|rejection| (*rejection).clone())
    }

    async fn ask(&self, text: &str, digest: Digest) -> Result<Arc<Known>, Rejection> {
        if self.unknown.contains_key(&digest) {
            return Err(NOT_ACCEPTED);
        }
        let asked_at = self.feed.revocations.mark();
        match self.introspection.api_key(text).await {
            Ok(Some(answer)) => {
                let known = Arc::new(Known::new(answer, asked_at));
                self.remembered.insert(digest, known.clone());
                Ok(known)
            }
            Ok(None) => {
                self.remembered.forget_if(&digest, |_| true);
                self.unknown.insert(digest, ()).await;
                Err(NOT_ACCEPTED)
            }
            Err(_) => Err(UNAVAILABLE),
        }
    }

    /// When there is no answer: the last one, if the feed has brought nothing against it.
    fn last_answer(&self, digest: &Digest, at: &Moment) -> Option<Arc<Known>> {
        let known = self.remembered.with(digest, Arc::clone)?;
        if let Standing::Outdated = known.standing(&self.feed.revocations) {
            return None;
        }
        known.postpones_asking(at.instant);
        Some(known)
    }

    /// Removes that very answer, not a newer one that another call may have put there meanwhile.
    async fn forget(&self, digest: Digest, outdated: &Arc<Known>) {
        self.remembered.forget_if(&digest, |known| Arc::ptr_eq(known, outdated));
        self.forget_answer(digest, outdated).await;
    }

    async fn forget_answer(&self, digest: Digest, outdated: &Arc<Known>) {
        self.answers
            .entry(digest)
            .and_compute_with(|entry| {
                let same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), outdated));
                std::future::ready(if same { Op::Remove } else { Op::Nop })
            })
            .await;
    }

    pub(super) fn forget_expired(&self, at: &Moment) {
        self.remembered.retain(|known| known.expires_at.is_none_or(|end| at.unix < end));
    }

    pub(super) fn remembered(&self) -> usize {
        self.remembered.len()
    }
}

impl Known {
    fn new(answer: Active, asked_at: Mark) -> Known {
        let Active { key, allowed_networks } = answer;
        let others = key.project.iter().chain(&key.creator).chain(&key.owner);
        let subjects = [&key.id, &key.organization].into_iter().chain(others);
        Known {
            subjects: subjects.map(|subject| Subject::new(subject)).collect(),
            allowed_networks,
            expires_at: key.expires_at,
            principal: Principal::from_api_key(key),
            asked_at,
            unchanged_at: AtomicU64::new(asked_at.number()),
            learned_at: Instant::now(),
            ask_again_after: AtomicU64::new(milliseconds(shortened(ASK_AGAIN_AFTER, 4))),
        }
    }

    fn standing(&self, revocations: &RevocationSet) -> Standing {
        // The moment before the look, so that what comes during it is looked for the next time.
        let now = revocations.mark().number();
        if self.unchanged_at.load(Ordering::Relaxed) == now {
            return Standing::Unchanged;
        }
        if self.subjects.iter().take(2).any(|subject| revocations.has(*subject)) {
            return Standing::Revoked;
        }
        if revocations.any_changed_since(&self.subjects, self.asked_at) {
            return Standing::Outdated;
        }
        self.unchanged_at.store(now, Ordering::Relaxed);
        Standing::Unchanged
    }

    fn answer(&self, at: &Moment) -> Result<Principal, Rejection> {
        if self.expires_at.is_some_and(|end| end <= at.unix) {
            return Err(Rejection::InvalidToken(InvalidToken::Expired));
        }
        if !may_be_used_from(self.allowed_networks.as_deref(), at.client_address) {
            return Err(NOT_ACCEPTED);
        }
        Ok(self.principal.clone())
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.learned_at)
    }

    fn is_due(&self, now: Instant) -> bool {
        milliseconds(self.age(now)) >= self.ask_again_after.load(Ordering::Relaxed)
    }

    /// Whether the caller is the one who may ask again. Nobody else is for some seconds.
    fn postpones_asking(&self, now: Instant) -> bool {
        let due = self.ask_again_after.load(Ordering::Relaxed);
        let next = milliseconds(self.age(now) + RETRY_AFTER);
        next > due
            && self
                .ask_again_after
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

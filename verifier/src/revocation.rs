//! What is no longer valid, or no longer as it was: the revocation log of the authorization server, held in memory.
//!
//! An entry takes 24 bytes in a table that is between 44 and 87 per cent full, some 29 to 57 bytes in all, and up to 2
//! more in a filter. Nearly all that a check asks for is not there, and the filter says so: it is so much smaller than
//! the table that it stays near the processor.
//!
//! There are 64 such tables, so that what takes long in one (growing, forgetting what has expired) keeps checks waiting
//! for a sixty-fourth of the time that it would take for all. They are under one lock, because a check looks for up to
//! eight subjects: with one lock the processor waits for the memory of all eight at once.

mod filter;
mod subject;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};
use serde::{Deserialize, Serialize};

use crate::claims::AccessTokenClaims;
use filter::Filter;
pub(crate) use subject::Subject;
use subject::SubjectHashing;

/// What an entry says of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// The subject and everything that descends from it is dead.
    Revoked,
    /// Copies of what is known of the subject are out of date. An access token is such a copy if it was issued before
    /// the entry's [`issued_before`](Entry::issued_before).
    Changed,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The place in the log. Grows in the order of commits; there may be gaps.
    pub seq: i64,
    /// What happened.
    pub kind: EntryKind,
    /// The prefixed id of what it happened to: `tok_…`, `gnt_…`, `app_…`, `usr_…`, `key_…`, `org_…`,
    /// `prj_…`.
    pub subject: String,
    /// From when on the entry can be forgotten, in seconds since 1970: all that it could concern has expired by then.
    pub expires_at: i64,
    /// Of a [`Changed`](EntryKind::Changed) subject: access tokens that descend from it and were issued before this
    /// moment, in seconds since 1970, are no longer accepted; the client refreshes. `None` spares them all. Means
    /// nothing for a [`Revoked`](EntryKind::Revoked) one, which is dead for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<i64>,
}

/// The entries of the log that still matter, by subject. Shared by reference; each call takes a short lock.
#[derive(Debug)]
pub struct RevocationSet {
    state: RwLock<State>,
    /// Counts the entries applied. Not the log's own numbers: these may start anew when a database is restored.
    ///
    /// Only changed under the lock, and read without it: whoever finds the same number twice knows that nothing has
    /// come in between.
    applied: AtomicU64,
}

/// A moment in the life of a [`RevocationSet`], to ask later what has been brought since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// All that can end an access token, as the set looks for it.
#[derive(Debug)]
pub(crate) struct Descent {
    subjects: [Subject; Descent::MOST],
    count: usize,
    issued_at: i64,
}

#[derive(Debug)]
struct State {
    tables: [Tables; TABLES],
    hashing: SubjectHashing,
    /// The greatest `applied` of the records that were removed.
    forgotten: u64,
    last_seq: i64,
}

const TABLES: usize = 64;

#[derive(Debug)]
struct Tables {
    /// Of all that is in the three tables, and of little else.
    filter: Filter,
    revoked: Table<Record>,
    changed: Table<Record>,
    /// Few subjects have one, so none of the others has to have room for it.
    cutoffs: Table<Cutoff>,
}

type Table<T> = HashMap<Subject, T, SubjectHashing>;

#[derive(Debug, Clone, Copy)]
struct Record {
    expires_at: Seconds,
    /// The lower half of `applied` as it was then; see [`State::last_applied`].
    applied: u32,
}

/// Which access tokens are out-of-date copies.
#[derive(Debug, Clone, Copy)]
struct Cutoff {
    issued_before: i64,
    until: Seconds,
}

/// Seconds since 1970, up to the year 2106; whatever is later is never over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seconds(u32);

impl RevocationSet {
    /// An empty set.
    pub fn new() -> RevocationSet {
        let hashing = SubjectHashing::new();
        let tables = std::array::from_fn(|_| Tables {
            filter: Filter::default(),
            revoked: Table::with_hasher(hashing),
            changed: Table::with_hasher(hashing),
            cutoffs: Table::with_hasher(hashing),
        });
        let state = State { tables, hashing, forgotten: 0, last_seq: 0 };
        RevocationSet { state: RwLock::new(state), applied: AtomicU64::new(0) }
    }

    /// Takes in an entry. Doing so twice does no harm.
    pub fn apply(&self, entry: &Entry) {
        let subject = Subject::new(&entry.subject);
        let expires_at = Seconds::new(entry.expires_at);
        let mut state = self.state.write();
        let applied = self.applied.load(Ordering::Relaxed) + 1;
        state.last_seq = state.last_seq.max(entry.seq);
        let hash = state.hashing.hash_one(subject);
        let tables = &mut state.tables[table_of(hash)];
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is kept")]
        let now = Record { expires_at, applied: applied as u32 };
        match entry.kind {
            EntryKind::Revoked => now.put(&mut tables.revoked, subject),
            EntryKind::Changed => {
                now.put(&mut tables.changed, subject);
                if let Some(issued_before) = entry.issued_before {
                    let cutoff = Cutoff { issued_before, until: expires_at };
                    cutoff.put(&mut tables.cutoffs, subject);
                }
            }
        }
        if !tables.filter.add(hash) {
            tables.renew_filter();
        }
        self.applied.store(applied, Ordering::Release);
    }

    /// Whether `subject` itself has been revoked. A change doesn't count.
    pub fn contains(&self, subject: &str) -> bool {
        self.has(Subject::new(subject))
    }

    pub(crate) fn has(&self, subject: Subject) -> bool {
        let state = self.state.read();
        state.find(subject).is_some_and(|tables| tables.revoked.contains_key(&subject))
    }

    /// Whether the token is no longer accepted: it, its grant, its client, its subject, its organization or its
    /// project, or the secret or the owner of the API key that it was exchanged for, has been revoked, or has changed
    /// in such a way that tokens as old as this one are out of date.
    pub fn is_revoked(&self, claims: &AccessTokenClaims) -> bool {
        self.ends(&Descent::of(claims))
    }

    pub(crate) fn ends(&self, token: &Descent) -> bool {
        let state = self.state.read();
        token.subjects().iter().any(|subject| {
            let tables = state.find(*subject);
            tables.is_some_and(|tables| tables.end(subject, token.issued_at))
        })
    }

    /// The present moment. Take it before fetching something, and ask [`changed_since`](Self::changed_since) when using it.
    ///
    /// Takes no lock.
    pub fn mark(&self) -> Mark {
        Mark(self.applied.load(Ordering::Acquire))
    }

    /// Whether an entry of either kind about `subject` was applied after `mark`.
    ///
    /// Errs on the side of `true` for marks from before an entry that [`remove_expired`](Self::remove_expired) has
    /// removed, and about subjects whose last entry is four thousand million entries back.
    pub fn changed_since(&self, subject: &str, mark: Mark) -> bool {
        self.any_changed_since(&[Subject::new(subject)], mark)
    }

    pub(crate) fn any_changed_since(&self, subjects: &[Subject], mark: Mark) -> bool {
        let state = self.state.read();
        // Under the lock nothing is applied.
        let applied = self.applied.load(Ordering::Relaxed);
        state.forgotten > mark.0
            || subjects.iter().any(|subject| state.last_applied(*subject, applied) > mark.0)
    }

    /// Forgets what had expired at `now_unix` (seconds since 1970).
    ///
    /// Goes over all there is, one sixty-fourth of it at a time, and lets the checks that wait go first in between.
    pub fn remove_expired(&self, now_unix: i64) {
        for table in 0..TABLES {
            let mut state = self.state.write();
            state.remove_expired(table, now_unix, self.applied.load(Ordering::Relaxed));
            RwLockWriteGuard::unlock_fair(state);
        }
    }

    /// The number of entries that are held: at most one of each kind for a subject.
    pub fn len(&self) -> usize {
        let state = self.state.read();
        state.tables.iter().map(|tables| tables.revoked.len() + tables.changed.len()).sum()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest `seq` that was applied, 0 before the first.
    pub fn last_seq(&self) -> i64 {
        self.state.read().last_seq
    }
}

impl Default for RevocationSet {
    fn default() -> RevocationSet {
        RevocationSet::new()
    }
}

impl Mark {
    /// As a number that an atomic can hold.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl Descent {
    const MOST: usize = 8;

    pub(crate) fn of(claims: &AccessTokenClaims) -> Descent {
        let first = Subject::new(&claims.jti);
        let mut descent =
            Descent { subjects: [first; Descent::MOST], count: 1, issued_at: claims.iat };
        for text in [&claims.client_id, &claims.sub]
            .into_iter()
            .chain(&claims.grant)
            .chain(&claims.org)
            .chain(&claims.project)
            .chain(&claims.api_key_secret)
            .chain(&claims.owner)
        {
            let subject = Subject::new(text);
            // A client that acts for itself is the subject as well.
            if !descent.subjects().contains(&subject) {
                descent.subjects[descent.count] = subject;
                descent.count += 1;
            }
        }
        descent
    }

    fn subjects(&self) -> &[Subject] {
        &self.subjects[..self.count]
    }
}

/// By bits of the hash that the table itself uses neither to choose a place nor to tell its neighbours apart.
fn table_of(hash: u64) -> usize {
    usize::try_from(hash >> 40 & 0xffff).unwrap_or(0) % TABLES
}

impl State {
    /// The tables that `subject` may be in, `None` if it is in none.
    fn find(&self, subject: Subject) -> Option<&Tables> {
        let hash = self.hashing.hash_one(subject);
        let tables = &self.tables[table_of(hash)];
        tables.filter.may_have(hash).then_some(tables)
    }

    /// The `applied` of the last entry about `subject`, 0 if there is none.
    fn last_applied(&self, subject: Subject, applied: u64) -> u64 {
        let Some(Tables { revoked, changed, .. }) = self.find(subject) else { return 0 };
        [revoked, changed]
            .into_iter()
            .filter_map(|table| table.get(&subject))
            .map(|record| record.applied_at(applied))
            .max()
            .unwrap_or(0)
    }

    fn remove_expired(&mut self, index: usize, now_unix: i64, applied: u64) {
        let mut forgotten = self.forgotten;
        let before = self.tables[index].len();
        let Tables { revoked, changed, cutoffs, .. } = &mut self.tables[index];
        for table in [revoked, changed] {
            table.retain(|_, record| {
                let keep = !record.expires_at.is_over(now_unix);
                if !keep {
                    forgotten = forgotten.max(record.applied_at(applied));
                }
                keep
            });
            give_back(table);
        }
        cutoffs.retain(|_, cutoff| !cutoff.until.is_over(now_unix));
        give_back(cutoffs);
        if self.tables[index].len() < before {
            self.tables[index].renew_filter();
        }
        self.forgotten = forgotten;
    }
}

impl Tables {
    fn len(&self) -> usize {
        self.revoked.len() + self.changed.len() + self.cutoffs.len()
    }

    /// Whether a token of `subject` that was issued then is dead, or an out-of-date copy.
    fn end(&self, subject: &Subject, issued_at: i64) -> bool {
        self.revoked.contains_key(subject)
            || self.cutoffs.get(subject).is_some_and(|cutoff| issued_at < cutoff.issued_before)
    }

    fn renew_filter(&mut self) {
        let hashing = *self.revoked.hasher();
        let subjects = self.revoked.keys().chain(self.changed.keys()).chain(self.cutoffs.keys());
        self.filter = Filter::of(self.len(), subjects.map(|subject| hashing.hash_one(subject)));
    }
}

/// Frees the memory of what was many once, but not at every small decline.
fn give_back<T>(table: &mut Table<T>) {
    if table.capacity() > 4 * table.len() + 64 {
        table.shrink_to(2 * table.len());
    }
}

impl Record {
    fn put(self, table: &mut Table<Record>, subject: Subject) {
        let record = table.entry(subject).or_insert(self);
        record.expires_at = record.expires_at.max(self.expires_at);
        record.applied = self.applied;
    }

    /// The last moment whose lower half is the one that was kept.
    fn applied_at(self, applied: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is what was kept")]
        let ago = (applied as u32).wrapping_sub(self.applied);
        applied.saturating_sub(u64::from(ago))
    }
}

impl Cutoff {
    /// Only ever forward, for entries may come twice and in any order.
    fn put(self, table: &mut Table<Cutoff>, subject: Subject) {
        let cutoff = table.entry(subject).or_insert(self);
        cutoff.issued_before = cutoff.issued_before.max(self.issued_before);
        cutoff.until = cutoff.until.max(self.until);
    }
}

impl Seconds {
    fn new(unix: i64) -> Seconds {
        Seconds(u32::try_from(unix.max(0)).unwrap_or(u32::MAX))
    }

    fn is_over(self, now_unix: i64) -> bool {
        self.0 != u32::MAX && i64::from(self.0) <= now_unix
    }
}

#[cfg(test)]
mod tests;

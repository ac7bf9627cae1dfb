//! What is no longer valid, or no longer as it was: the revocation log of the authorization server, held in memory.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use crate::claims::AccessTokenClaims;

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
#[derive(Debug, Default)]
pub struct RevocationSet {
    state: RwLock<State>,
}

/// A moment in the life of a [`RevocationSet`], to ask later what has been brought since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Debug, Default)]
struct State {
    subjects: HashMap<String, Record>,
    /// Counts the entries applied. Not the log's own numbers: these may start anew when a database is restored.
    applied: u64,
    /// The greatest `applied` of the records that were removed.
    forgotten: u64,
    last_seq: i64,
}

#[derive(Debug)]
struct Record {
    revoked_until: Option<i64>,
    cutoff: Option<Cutoff>,
    expires_at: i64,
    applied: u64,
}

/// Which access tokens are out-of-date copies.
#[derive(Debug, Clone, Copy)]
struct Cutoff {
    issued_before: i64,
    until: i64,
}

impl RevocationSet {
    /// An empty set.
    pub fn new() -> RevocationSet {
        RevocationSet::default()
    }

    /// Takes in an entry. Doing so twice does no harm.
    pub fn apply(&self, entry: &Entry) {
        let mut state = self.write();
        state.applied += 1;
        state.last_seq = state.last_seq.max(entry.seq);
        let applied = state.applied;
        let record = state.subjects.entry(entry.subject.clone()).or_insert(Record {
            revoked_until: None,
            cutoff: None,
            expires_at: entry.expires_at,
            applied,
        });
        record.applied = applied;
        record.expires_at = record.expires_at.max(entry.expires_at);
        match entry.kind {
            EntryKind::Revoked => {
                record.revoked_until = record.revoked_until.max(Some(entry.expires_at));
            }
            EntryKind::Changed => {
                if let Some(issued_before) = entry.issued_before {
                    record.move_cutoff(issued_before, entry.expires_at);
                }
            }
        }
    }

    /// Whether `subject` itself has been revoked. A change doesn't count.
    pub fn contains(&self, subject: &str) -> bool {
        self.read().is_revoked(subject)
    }

    /// Whether the token is no longer accepted: it, its grant, its client, its subject, its organization or its
    /// project, or the secret or the owner of the API key that it was exchanged for, has been revoked, or has changed in such a way that tokens as old as this one are out of date.
    pub fn is_revoked(&self, claims: &AccessTokenClaims) -> bool {
        let state = self.read();
        [&claims.jti, &claims.client_id, &claims.sub]
            .into_iter()
            .chain(&claims.grant)
            .chain(&claims.org)
            .chain(&claims.project)
            .chain(&claims.api_key_secret)
            .chain(&claims.owner)
            .any(|subject| state.is_revoked(subject) || state.is_outdated(subject, claims.iat))
    }

    /// The present moment. Take it before fetching something, and ask [`changed_since`](Self::changed_since) when using it.
    pub fn mark(&self) -> Mark {
        Mark(self.read().applied)
    }

    /// Whether an entry of either kind about `subject` was applied after `mark`.
    ///
    /// Errs on the side of `true` for marks from before an entry that [`remove_expired`](Self::remove_expired) has removed.
    pub fn changed_since(&self, subject: &str, mark: Mark) -> bool {
        let state = self.read();
        let last = state.subjects.get(subject).map_or(0, |record| record.applied);
        last.max(state.forgotten) > mark.0
    }

    /// Forgets what had expired at `now_unix` (seconds since 1970).
    pub fn remove_expired(&self, now_unix: i64) {
        let mut state = self.write();
        let mut forgotten = state.forgotten;
        state.subjects.retain(|_, record| {
            record.revoked_until = record.revoked_until.filter(|until| *until > now_unix);
            record.cutoff = record.cutoff.filter(|cutoff| cutoff.until > now_unix);
            let keep = record.expires_at > now_unix;
            if !keep {
                forgotten = forgotten.max(record.applied);
            }
            keep
        });
        state.forgotten = forgotten;
    }

    /// The number of subjects about which there is an entry of either kind.
    pub fn len(&self) -> usize {
        self.read().subjects.len()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest `seq` that was applied, 0 before the first.
    pub fn last_seq(&self) -> i64 {
        self.read().last_seq
    }

    // No code that can panic runs under the lock, so a poisoned one still guards a sound state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_revoked(&self, subject: &str) -> bool {
        self.subjects.get(subject).is_some_and(|record| record.revoked_until.is_some())
    }

    /// Whether a token of `subject` that was issued then is an out-of-date copy.
    fn is_outdated(&self, subject: &str, issued_at: i64) -> bool {
        let cutoff = self.subjects.get(subject).and_then(|record| record.cutoff);
        cutoff.is_some_and(|cutoff| issued_at < cutoff.issued_before)
    }
}

impl Record {
    /// Only ever forward, for entries may come twice and in any order.
    fn move_cutoff(&mut self, issued_before: i64, until: i64) {
        let cutoff = self.cutoff.get_or_insert(Cutoff { issued_before, until });
        cutoff.issued_before = cutoff.issued_before.max(issued_before);
        cutoff.until = cutoff.until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: i64, kind: EntryKind, subject: &str, expires_at: i64) -> Entry {
        Entry { seq, kind, subject: subject.to_owned(), expires_at, issued_before: None }
    }

    /// `subject` has changed at `issued_before`, and tokens from before then are out of date.
    fn cutoff(seq: i64, subject: &str, issued_before: i64, expires_at: i64) -> Entry {
        let issued_before = Some(issued_before);
        Entry { issued_before, ..entry(seq, EntryKind::Changed, subject, expires_at) }
    }

    fn issued_at(iat: i64) -> AccessTokenClaims {
        AccessTokenClaims { iat, ..claims() }
    }

    fn claims() -> AccessTokenClaims {
        AccessTokenClaims {
            iss: "https://auth.example.com".to_owned(),
            sub: "usr_1".to_owned(),
            aud: "https://api.example.com".into(),
            exp: 600,
            iat: 0,
            nbf: None,
            jti: "tok_1".to_owned(),
            client_id: "app_1".to_owned(),
            scope: "read".parse().unwrap(),
            org: Some("org_1".to_owned()),
            project: Some("prj_1".to_owned()),
            grant: Some("gnt_1".to_owned()),
            api_key: None,
            api_key_secret: Some("sec_1".to_owned()),
            owner: Some("usr_8".to_owned()),
            allowed_ips: None,
            status: None,
        }
    }

    #[test]
    fn an_entry_reads_as_json() {
        let json = r#"{"seq":7,"kind":"revoked","subject":"tok_1","expires_at":900}"#;
        let read: Entry = serde_json::from_str(json).unwrap();
        assert_eq!(read, entry(7, EntryKind::Revoked, "tok_1", 900));
        assert_eq!(serde_json::to_string(&read).unwrap(), json);

        let json =
            r#"{"seq":8,"kind":"changed","subject":"usr_1","expires_at":900,"issued_before":60}"#;
        let read: Entry = serde_json::from_str(json).unwrap();
        assert_eq!(read, cutoff(8, "usr_1", 60, 900));
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert!(serde_json::from_str::<Entry>(&json.replace("60", "\"noon\"")).is_err());
    }

    #[test]
    fn whatever_a_token_descends_from_can_revoke_it() {
        for subject in ["tok_1", "gnt_1", "app_1", "usr_1", "org_1", "prj_1", "sec_1", "usr_8"] {
            let set = RevocationSet::new();
            assert!(!set.is_revoked(&claims()));
            set.apply(&entry(1, EntryKind::Revoked, subject, 900));
            assert!(set.is_revoked(&claims()), "{subject}");
            assert!(set.contains(subject));
        }
        let set = RevocationSet::new();
        set.apply(&entry(1, EntryKind::Revoked, "tok_2", 900));
        set.apply(&entry(2, EntryKind::Changed, "tok_1", 900));
        assert!(!set.is_revoked(&claims()));
        assert_eq!((set.len(), set.last_seq()), (2, 2));
    }

    #[test]
    fn a_change_of_whatever_a_token_descends_from_can_outdate_it() {
        for subject in ["tok_1", "gnt_1", "app_1", "usr_1", "org_1", "prj_1", "sec_1", "usr_8"] {
            let set = RevocationSet::new();
            set.apply(&cutoff(1, subject, 60, 900));
            assert!(set.is_revoked(&issued_at(59)), "{subject}");
            assert!(!set.is_revoked(&issued_at(60)), "{subject}");
            assert!(!set.contains(subject), "it has only changed");
            assert!(set.changed_since(subject, Mark(0)));
        }
        let set = RevocationSet::new();
        set.apply(&cutoff(1, "usr_2", 60, 900));
        assert!(!set.is_revoked(&issued_at(59)));
    }

    #[test]
    fn the_greatest_cutoff_counts_in_whichever_order_they_come() {
        let none = entry(3, EntryKind::Changed, "usr_1", 700);
        let (early, late) = (cutoff(1, "usr_1", 60, 900), cutoff(2, "usr_1", 80, 800));
        for order in [[&early, &late, &none], [&late, &none, &early], [&none, &late, &early]] {
            let set = RevocationSet::new();
            order.into_iter().for_each(|entry| set.apply(entry));
            for now in [0, 700, 800, 899] {
                set.remove_expired(now);
                assert!(set.is_revoked(&issued_at(79)), "{now}");
                assert!(!set.is_revoked(&issued_at(80)), "{now}");
            }
            set.remove_expired(900);
            assert!(set.is_empty());
        }
    }

    #[test]
    fn an_expired_cutoff_is_forgotten_while_its_subject_is_not() {
        let set = RevocationSet::new();
        set.apply(&cutoff(1, "usr_1", 60, 100));
        set.apply(&entry(2, EntryKind::Changed, "usr_1", 200));
        set.remove_expired(99);
        assert!(set.is_revoked(&issued_at(59)));
        set.remove_expired(100);
        assert!(!set.is_revoked(&issued_at(59)));
        assert_eq!(set.len(), 1);
        // What comes later does not bring it back.
        set.apply(&cutoff(3, "usr_1", 50, 200));
        assert!(set.is_revoked(&issued_at(49)));
        assert!(!set.is_revoked(&issued_at(50)));
    }

    #[test]
    fn a_revocation_is_for_good_whatever_else_it_says() {
        let revoked = Entry { kind: EntryKind::Revoked, ..cutoff(1, "usr_1", 60, 100) };
        let set = RevocationSet::new();
        set.apply(&revoked);
        assert!(set.contains("usr_1"));
        assert!(set.is_revoked(&issued_at(60)));
        // Nor does it leave a cutoff behind.
        set.apply(&entry(2, EntryKind::Changed, "usr_1", 200));
        set.remove_expired(100);
        assert!(!set.is_revoked(&issued_at(59)));

        let set = RevocationSet::new();
        set.apply(&entry(1, EntryKind::Revoked, "usr_1", 100));
        set.apply(&cutoff(2, "usr_1", 60, 200));
        assert!(set.is_revoked(&issued_at(60)));
        set.remove_expired(100);
        assert!(set.is_revoked(&issued_at(59)) && !set.is_revoked(&issued_at(60)));
    }

    #[test]
    fn a_change_does_not_undo_or_prolong_a_revocation() {
        let set = RevocationSet::new();
        set.apply(&entry(1, EntryKind::Revoked, "key_1", 100));
        set.apply(&entry(2, EntryKind::Changed, "key_1", 200));
        assert!(set.contains("key_1"));
        set.remove_expired(100);
        assert!(!set.contains("key_1"));
        assert_eq!(set.len(), 1);
        set.remove_expired(200);
        assert!(set.is_empty());
        assert_eq!(set.last_seq(), 2);
    }

    #[test]
    fn what_was_brought_after_a_mark_is_known() {
        let set = RevocationSet::new();
        set.apply(&entry(5, EntryKind::Changed, "key_1", 100));
        let mark = set.mark();
        assert!(!set.changed_since("key_1", mark));
        set.apply(&entry(6, EntryKind::Changed, "key_2", 100));
        assert!(!set.changed_since("key_1", mark));
        assert!(set.changed_since("key_2", mark));
        set.apply(&entry(2, EntryKind::Revoked, "key_1", 100));
        assert!(set.changed_since("key_1", mark));
        assert!(!set.changed_since("key_1", set.mark()));
    }

    #[test]
    fn a_forgotten_change_still_counts() {
        let set = RevocationSet::new();
        let mark = set.mark();
        set.apply(&entry(1, EntryKind::Changed, "key_1", 100));
        set.remove_expired(100);
        assert!(set.changed_since("key_1", mark));
        assert!(!set.changed_since("key_1", set.mark()));
    }
}

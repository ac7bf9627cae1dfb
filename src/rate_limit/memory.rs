use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::{DashMap, Entry};
use entity::{ApiKeyId, OrganizationId};

use super::api_keys::{Allowance, Standing};
use super::gcra::{Bucket, judge};

/// Above this many, what has drained is forgotten at once rather than by the minute.
const CROWD: usize = 100_000;
/// A crowd of those who are not quiet is not searched for quiet ones more often than this, in microseconds.
const SWEEP_EVERY: u64 = 1_000_000;

/// What was used lately, in this process.
///
/// Only ids of keys and organizations that exist come here, and an entry is forgotten a minute after its last use: it
/// grows with the keys in use, not with the guesses.
#[derive(Default)]
pub(super) struct Memory {
    keys: DashMap<ApiKeyId, Bucket>,
    organizations: DashMap<OrganizationId, Bucket>,
    /// When a crowd may be swept again.
    next_sweep: AtomicU64,
}

impl Memory {
    /// Takes the cost from the key's and the organization's quota, or from neither. Both are held meanwhile, always in
    /// this order.
    pub fn take(&self, allowance: &Allowance, cost: u32, now: u64) -> Standing {
        let (standing, is_new) = {
            let (mut key, is_new) = match self.keys.entry(allowance.key) {
                Entry::Occupied(found) => (found.into_ref(), false),
                Entry::Vacant(place) => (place.insert(Bucket::empty(now)), true),
            };
            let mut shared = allowance.organization.map(|(id, quota)| {
                (self.organizations.entry(id).or_insert(Bucket::empty(now)), quota)
            });
            let key_level = key.level(allowance.per_minute, now);
            let shared_level = shared.as_ref().map_or(0.0, |(it, quota)| it.level(*quota, now));
            let (is_taken, standing) = judge(allowance, cost, key_level, shared_level);
            if is_taken && cost > 0 {
                key.fill(allowance.per_minute, now, cost);
                if let Some((shared, quota)) = &mut shared {
                    shared.fill(*quota, now, cost);
                }
            }
            (standing, is_new)
        };
        if is_new && self.keys.len() > CROWD {
            self.sweep_the_crowd(now);
        }
        standing
    }

    fn sweep_the_crowd(&self, now: u64) {
        let next = self.next_sweep.load(Ordering::Relaxed);
        let is_ours = now >= next
            && self
                .next_sweep
                .compare_exchange(next, now + SWEEP_EVERY, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_ours {
            self.forget_the_quiet(now);
        }
    }

    /// Forgets what has drained.
    pub fn forget_the_quiet(&self, now: u64) {
        self.keys.retain(|_, bucket| !bucket.is_drained(now));
        self.organizations.retain(|_, bucket| !bucket.is_drained(now));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.keys.len() + self.organizations.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use entity::Timestamp;

    use super::*;
    use crate::rate_limit::Policy;

    const MINUTE: u64 = 60_000_000;

    fn key() -> ApiKeyId {
        ApiKeyId::new(Timestamp(0))
    }

    #[test]
    fn a_refusal_by_one_limit_uses_nothing_of_the_other() {
        let memory = Memory::default();
        let organization = OrganizationId::new(Timestamp(0));
        let allow = |key, per_minute, shared| Allowance {
            key,
            per_minute,
            organization: Some((organization, shared)),
        };
        let (one, other) = (allow(key(), 2, 3), allow(key(), 5, 3));
        assert!(!memory.take(&one, 2, 0).is_refused());
        // The key refuses: the organization still has its third.
        for _ in 0..10 {
            assert_eq!(memory.take(&one, 1, 0).policy, Policy::Key);
        }
        assert!(!memory.take(&other, 1, 0).is_refused());
        // The organization refuses: the key still has its four.
        for _ in 0..10 {
            let refused = memory.take(&other, 1, 0);
            assert_eq!((refused.policy, refused.is_refused()), (Policy::Organization, true));
        }
        let alone = Allowance { organization: None, ..other };
        assert_eq!(memory.take(&alone, 0, 0).remaining, 4);
    }

    #[test]
    fn of_many_at_once_just_the_quota_passes() {
        let memory = Arc::new(Memory::default());
        let organization = OrganizationId::new(Timestamp(0));
        let passed = Arc::new(AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (memory, passed) = (memory.clone(), passed.clone());
                let allowance = Allowance {
                    key: key(),
                    per_minute: 1000,
                    organization: Some((organization, 500)),
                };
                scope.spawn(move || {
                    for _ in 0..200 {
                        if !memory.take(&allowance, 1, 0).is_refused() {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::Relaxed), 500);
    }

    #[test]
    fn the_quiet_are_forgotten() {
        let memory = Memory::default();
        let allowance = |key| Allowance {
            key,
            per_minute: 10,
            organization: Some((OrganizationId::new(Timestamp(0)), 10)),
        };
        let busy = allowance(key());
        memory.take(&allowance(key()), 1, 0);
        memory.take(&busy, 1, MINUTE / 2);
        memory.forget_the_quiet(MINUTE);
        assert_eq!(memory.len(), 2);
        assert_eq!(memory.take(&busy, 0, MINUTE / 2).remaining, 9, "one who uses it is not");
        memory.forget_the_quiet(MINUTE + MINUTE / 2);
        assert_eq!(memory.len(), 0);
    }

    #[test]
    fn in_a_crowd_the_quiet_are_forgotten_at_once() {
        let memory = Memory::default();
        let allowance = || Allowance { key: key(), per_minute: 10, organization: None };
        for _ in 0..=CROWD {
            memory.take(&allowance(), 1, 0);
        }
        assert_eq!(memory.len(), CROWD + 1, "nobody has been quiet yet");
        memory.take(&allowance(), 1, MINUTE);
        assert_eq!(memory.len(), 1);
    }
}

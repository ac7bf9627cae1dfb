//! What has been found out about credentials, by their SHA-256, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::key;

/// The SHA-256 of a credential: its text is kept nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(credential: &str) -> Digest {
        Digest(key::digest(credential))
    }

    fn number(self, part: usize) -> u64 {
        self.0.iter().skip(part * 8).take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// No hash at all: a SHA-256 is one, and only credentials that were accepted are put in, which nobody can make up.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A bounded memory. When it is full, what hasn't been asked for lately makes room: the places are gone round like
/// the hours of a clock, and who has been asked for since the hand last came by is spared once.
pub(super) struct Remembered<V> {
    shards: Box<[RwLock<Shard<V>>]>,
    most_each: usize,
}

struct Shard<V> {
    /// By the beginning of the digest, which keeps it small. Should two begin alike, the later takes the other's place.
    places: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    slots: Vec<Slot<V>>,
    hand: usize,
}

struct Slot<V> {
    digest: Digest,
    value: V,
    /// Whether it has been asked for since the hand last came by.
    is_used: AtomicBool,
}

impl<V> Remembered<V> {
    const MOST_SHARDS: usize = 64;
    const LEAST_EACH: usize = 512;
    const MOST_EACH: usize = 1 << 24;

    /// Holds at most so many; with 0, none.
    pub(super) fn new(most: usize) -> Remembered<V> {
        let shards = (most / Self::LEAST_EACH).clamp(1, Self::MOST_SHARDS);
        let new = || Shard { places: HashMap::default(), slots: Vec::new(), hand: 0 };
        Remembered {
            shards: std::iter::repeat_with(|| RwLock::new(new())).take(shards).collect(),
            most_each: (most / shards).min(Self::MOST_EACH),
        }
    }

    /// What `read` makes of what is remembered. It should be quick, for it runs under a lock.
    pub(super) fn with<R>(&self, digest: &Digest, read: impl FnOnce(&V) -> R) -> Option<R> {
        let shard = self.read(digest);
        let slot = &shard.slots[shard.place_of(digest)?];
        // Written only when it must be, or every check would take the line from the other processors.
        if !slot.is_used.load(Ordering::Relaxed) {
            slot.is_used.store(true, Ordering::Relaxed);
        }
        Some(read(&slot.value))
    }

    pub(super) fn insert(&self, digest: Digest, value: V) {
        if self.most_each > 0 {
            let is_used = AtomicBool::new(false);
            self.write(&digest).insert(Slot { digest, value, is_used }, self.most_each);
        }
    }

    /// Forgets it, if it is still what `is_it` means.
    pub(super) fn forget_if(&self, digest: &Digest, is_it: impl FnOnce(&V) -> bool) {
        let mut shard = self.write(digest);
        if let Some(place) =
            shard.place_of(digest).filter(|place| is_it(&shard.slots[*place].value))
        {
            shard.forget(place);
        }
    }

    /// Forgets whatever `keep` says no to, one part after another.
    pub(super) fn retain(&self, keep: impl Fn(&V) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            for place in (0..shard.slots.len()).rev() {
                if !keep(&shard.slots[place].value) {
                    shard.forget(place);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        let len = |shard: &RwLock<Shard<V>>| {
            shard.read().unwrap_or_else(PoisonError::into_inner).slots.len()
        };
        self.shards.iter().map(len).sum()
    }

    // A poisoned lock guards a sound shard: nothing panics between two steps of a change.
    fn read(&self, digest: &Digest) -> RwLockReadGuard<'_, Shard<V>> {
        self.shard_of(digest).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, digest: &Digest) -> RwLockWriteGuard<'_, Shard<V>> {
        self.shard_of(digest).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_of(&self, digest: &Digest) -> &RwLock<Shard<V>> {
        let number = usize::try_from(digest.number(1) & 0xffff).unwrap_or(0);
        &self.shards[number % self.shards.len()]
    }
}

impl<V> Shard<V> {
    fn place_of(&self, digest: &Digest) -> Option<usize> {
        let place = usize::try_from(*self.places.get(&digest.number(0))?).ok()?;
        self.slots.get(place).filter(|slot| slot.digest == *digest).map(|_| place)
    }

    fn insert(&mut self, slot: Slot<V>, most: usize) {
        let beginning = slot.digest.number(0);
        let taken = self.places.get(&beginning).and_then(|place| usize::try_from(*place).ok());
        if let Some(place) = taken {
            self.slots[place] = slot;
        } else if self.slots.len() < most {
            self.put_place(beginning, self.slots.len());
            self.slots.push(slot);
        } else {
            let place = self.next_victim();
            self.places.remove(&self.slots[place].digest.number(0));
            self.put_place(beginning, place);
            self.slots[place] = slot;
        }
    }

    fn put_place(&mut self, beginning: u64, place: usize) {
        // There are fewer places than that: see `new`.
        self.places.insert(beginning, u32::try_from(place).unwrap_or(u32::MAX));
    }

    /// Ends after one round at the latest, for each that is spared is not spared again. There is at least one slot.
    fn next_victim(&mut self) -> usize {
        loop {
            let place = self.hand % self.slots.len();
            self.hand = place + 1;
            if !std::mem::take(self.slots[place].is_used.get_mut()) {
                return place;
            }
        }
    }

    fn forget(&mut self, place: usize) {
        let gone = self.slots.swap_remove(place);
        self.places.remove(&gone.digest.number(0));
        if let Some(moved) = self.slots.get(place) {
            self.put_place(moved.digest.number(0), place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(n: usize) -> Digest {
        Digest::of(&n.to_string())
    }

    fn value(remembered: &Remembered<usize>, n: usize) -> Option<usize> {
        remembered.with(&digest(n), |value| *value)
    }

    #[test]
    fn what_was_put_in_is_found_until_it_is_forgotten() {
        let remembered = Remembered::new(10_000);
        for n in 0..5000 {
            remembered.insert(digest(n), n);
        }
        assert!((0..5000).all(|n| value(&remembered, n) == Some(n)));
        assert_eq!((remembered.len(), value(&remembered, 5000)), (5000, None));
        remembered.insert(digest(7), 8);
        assert_eq!((remembered.len(), value(&remembered, 7)), (5000, Some(8)));
        remembered.forget_if(&digest(7), |value| *value == 7);
        assert_eq!(value(&remembered, 7), Some(8));
        remembered.forget_if(&digest(7), |value| *value == 8);
        assert_eq!((remembered.len(), value(&remembered, 7)), (4999, None));
        remembered.retain(|value| value % 2 == 0);
        assert_eq!(remembered.len(), 2500);
        assert!((0..5000).all(|n| value(&remembered, n).is_some() == (n % 2 == 0)));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_spares_what_is_used() {
        for most in [1, 2, 100, 1000, 3000] {
            let remembered = Remembered::new(most);
            remembered.insert(digest(0), 0);
            for n in 1..10_000 {
                assert!(most < 2 || value(&remembered, 0).is_some(), "{n} of {most}");
                remembered.insert(digest(n), n);
                assert!(remembered.len() <= most);
            }
            assert_eq!(value(&remembered, 9_999), Some(9_999));
        }
    }

    #[test]
    fn with_no_room_nothing_is_remembered() {
        let remembered = Remembered::new(0);
        remembered.insert(digest(1), 1);
        assert_eq!((remembered.len(), value(&remembered, 1)), (0, None));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_last_put_in(
            steps in prop::collection::vec((0u8..4, 0usize..24), 0..300),
        ) {
            let remembered = Remembered::new(16);
            let mut expected = HashMap::new();
            for (at, (step, n)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        remembered.insert(digest(n), at);
                        expected.insert(n, at);
                    }
                    2 => {
                        remembered.forget_if(&digest(n), |_| true);
                        expected.remove(&n);
                    }
                    _ => remembered.retain(|value| value % 3 != 0),
                }
                expected.retain(|_, value| step != 3 || *value % 3 != 0);
                for n in 0..24 {
                    let found = value(&remembered, n);
                    prop_assert!(found.is_none() || found == expected.get(&n).copied());
                }
                prop_assert!(remembered.len() <= 16);
            }
        }
    }
}

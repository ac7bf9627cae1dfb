//! What is certainly not there: a Bloom filter whose bits for one subject are in one word.

/// Says of what was added that it may be there, and of nearly all else that it isn't.
#[derive(Debug, Default)]
pub(super) struct Filter {
    words: Box<[u64]>,
    added: usize,
}

/// So that at the fullest a word stands for eight subjects, with three bits each: one in thirty others passes.
const SUBJECTS_A_WORD: usize = 8;
const LEAST_WORDS: usize = 4;

impl Filter {
    /// With these, of which there are at most so many, and room for as many again.
    pub(super) fn of(most: usize, hashes: impl Iterator<Item = u64>) -> Filter {
        let words = (2 * most).div_ceil(SUBJECTS_A_WORD).max(LEAST_WORDS);
        let mut filter = Filter { words: vec![0; words].into_boxed_slice(), added: 0 };
        for hash in hashes {
            let (word, bits) = filter.place(hash);
            filter.words[word] |= bits;
            filter.added += 1;
        }
        filter
    }

    /// Adds one more, or says that there is no room left.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        if self.added >= self.words.len() * SUBJECTS_A_WORD {
            return false;
        }
        let (word, bits) = self.place(hash);
        // What was there before takes no room.
        if self.words[word] & bits != bits {
            self.words[word] |= bits;
            self.added += 1;
        }
        true
    }

    pub(super) fn may_have(&self, hash: u64) -> bool {
        if self.words.is_empty() {
            return false;
        }
        let (word, bits) = self.place(hash);
        self.words[word] & bits == bits
    }

    /// Which word, and which three of its bits. There is at least one word.
    fn place(&self, hash: u64) -> (usize, u64) {
        let mixed = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        // A fraction of the length, by the bits that depend on all others.
        let word = usize::try_from((u128::from(mixed) * self.words.len() as u128) >> 64);
        let bit = |from: u32| 1_u64 << (mixed >> from & 63);
        (word.unwrap_or(0), bit(8) | bit(14) | bit(20))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::super::{Subject, SubjectHashing};
    use super::*;

    #[test]
    fn what_was_added_may_be_there_and_little_else() {
        let hashing = SubjectHashing::new();
        let hash = |n: usize| hashing.hash_one(Subject::new(&n.to_string()));
        let mut filter = Filter::default();
        assert!(!filter.may_have(hash(0)) && !filter.add(hash(0)), "there is no room yet");
        filter = Filter::of(5000, (0..5000).map(hash));
        for n in 5000..10_000 {
            assert!(filter.add(hash(n)), "{n}");
        }
        assert!((0..10_000).all(|n| filter.may_have(hash(n))));
        let passed = (10_000..30_000).filter(|n| filter.may_have(hash(*n))).count();
        assert!(passed < 1200, "{passed}");
        assert!((10_000..12_000).any(|n| !filter.add(hash(n))), "at last there is no room");
    }

    #[test]
    fn what_comes_twice_takes_no_room() {
        let mut filter = Filter::of(0, std::iter::empty());
        assert!((0..1000).all(|_| filter.add(7)));
    }
}

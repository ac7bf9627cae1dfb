use std::collections::HashMap;

use super::PLACES;
use crate::platform::entropy::random_bytes;

/// The places of a list that are still free, drawn at random: a shuffle (Fisher and Yates) of which only what differs
/// from the sorted order is kept, so that a list costs memory as it fills and not before.
pub(super) struct Places {
    left: u32,
    moved: HashMap<u16, u16>,
}

impl Default for Places {
    fn default() -> Self {
        Self { left: PLACES, moved: HashMap::new() }
    }
}

impl Places {
    /// A free place, none of which is likelier than another; none where the list is full.
    pub fn draw(&mut self) -> Option<u16> {
        let last = u16::try_from(self.left.checked_sub(1)?).ok()?;
        // 64 random bits over at most 2^16 places: no place is favoured by more than one in 2^48.
        let at = u64::from_le_bytes(random_bytes()) % u64::from(self.left);
        let at = u16::try_from(at).ok()?;
        self.left -= 1;
        let at_the_end = self.moved.remove(&last).unwrap_or(last);
        if at == last {
            return Some(at_the_end);
        }
        Some(self.moved.insert(at, at_the_end).unwrap_or(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_place_is_drawn_once_and_then_there_is_none() {
        let mut places = Places::default();
        let drawn: Vec<u16> = std::iter::from_fn(|| places.draw()).collect();
        let different: HashSet<u16> = drawn.iter().copied().collect();
        assert_eq!((drawn.len(), different.len()), (1 << 16, 1 << 16));
        assert!(places.moved.is_empty() && places.draw().is_none());
    }

    #[test]
    fn the_order_tells_nothing() {
        let first_draws = |_| {
            let mut places = Places::default();
            std::iter::from_fn(move || places.draw()).take(8).collect::<Vec<_>>()
        };
        let draws: Vec<Vec<u16>> = (0..500).map(first_draws).collect();
        let firsts: HashSet<u16> = draws.iter().map(|drawn| drawn[0]).collect();
        assert!(firsts.len() > 450, "the first place can be guessed");
        let ascending = draws.iter().filter(|drawn| drawn.is_sorted()).count();
        assert!(ascending < 5, "one of 40320 orders is sorted, and {ascending} of 500 were");
        let mean = draws.iter().flatten().map(|it| u64::from(*it)).sum::<u64>() / 4000;
        assert!((30_000..36_000).contains(&mean), "{mean}");
    }
}

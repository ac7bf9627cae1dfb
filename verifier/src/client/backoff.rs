//! How long to wait, and never as long as everybody else.

use std::time::Duration;

/// The wait after so many failures in a row: `first`, doubled with each up to `longest`, and shortened at random by up
/// to half, lest all clients come back at once.
pub(super) fn wait_after(failures: u32, first: Duration, longest: Duration) -> Duration {
    let whole = first.saturating_mul(1 << failures.min(16)).min(longest);
    shortened(whole, 2)
}

/// The duration less a random part of up to one `part`th of it.
pub(super) fn shortened(duration: Duration, part: u32) -> Duration {
    let mut random = [0];
    // Without randomness there is no jitter, and no harm.
    let _ = aws_lc_rs::rand::fill(&mut random);
    duration - duration / 256 / part * u32::from(random[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_vary() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        for (failures, most) in [(0, 100), (1, 200), (5, 3200), (6, 5000), (u32::MAX, 5000)] {
            let wait = wait_after(failures, first, longest).as_millis();
            assert!((most / 2..=most).contains(&wait), "{failures}: {wait}");
        }
        let mut waits: Vec<_> = (0..64).map(|_| wait_after(9, first, longest)).collect();
        waits.dedup();
        assert!(waits.len() > 1);
    }
}

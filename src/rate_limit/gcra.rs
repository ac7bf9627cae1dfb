//! The formula: the generic cell rate algorithm (ITU-T I.371), in its form as a leaky bucket. What is used flows in and
//! drains at the rate of the quota; what would overflow is refused. So a whole quota may be used at once, and then as
//! much as comes back: one request every half second where there are 120 a minute.
//!
//! Why not `governor`, which counts logins: each of its limiters has one quota for all of its keys, it can't take from
//! two limiters or from neither, and it doesn't tell what is left. And the same formula must run in Redis, where
//! numbers are doubles (`take.lua`): so they are here, and a level counts requests, which doubles hold exactly.

use std::time::Duration;

use super::api_keys::{Allowance, Policy, Standing, WINDOW};

/// `WINDOW` in microseconds.
const WINDOW_MICROS: f64 = 60_000_000.0;
/// What rounding may add to a level, in requests. `take.lua` has the same.
const SLACK: f64 = 1e-6;

/// How full the bucket of a key or an organization was when something was used last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    /// In requests.
    level: f64,
    /// In microseconds.
    at: u64,
}

impl Bucket {
    pub fn empty(now: u64) -> Self {
        Self { level: 0.0, at: now }
    }

    /// How full it is now. A quota that was lowered meanwhile counts at once, and whatever was used is forgotten after
    /// a whole window at the latest.
    pub fn level(self, quota: u32, now: u64) -> f64 {
        let quota = f64::from(quota);
        let drained = now.saturating_sub(self.at) as f64 * quota / WINDOW_MICROS;
        (self.level.min(quota) - drained).max(0.0)
    }

    /// Fills it.
    pub fn fill(&mut self, quota: u32, now: u64, cost: u32) {
        self.level = self.level(quota, now) + f64::from(cost);
        // Somebody else's now may be a little later than ours.
        self.at = self.at.max(now);
    }

    pub fn is_drained(self, now: u64) -> bool {
        now.saturating_sub(self.at) as f64 >= WINDOW_MICROS
    }
}

/// Whether there is room for the cost at this level.
pub(super) fn has_room(level: f64, quota: u32, cost: u32) -> bool {
    level + f64::from(cost) <= f64::from(quota) + SLACK
}

/// Whether the cost is taken, from all that is limited or from nothing of it, and how the tighter of the limits stands
/// then; where both refuse, the one to wait for longer. The levels are those before.
pub(super) fn judge(
    allowance: &Allowance,
    cost: u32,
    key_level: f64,
    shared_level: f64,
) -> (bool, Standing) {
    let key = (Policy::Key, allowance.per_minute, key_level);
    let shared =
        allowance.organization.map(|(_, quota)| (Policy::Organization, quota, shared_level));
    let fits = |(_, quota, level): (Policy, u32, f64)| has_room(level, quota, cost);
    let is_taken = fits(key) && shared.is_none_or(fits);
    let standing = |(policy, quota, level): (Policy, u32, f64)| {
        let refused = (!has_room(level, quota, cost)).then_some(cost);
        let level = if is_taken { level + f64::from(cost) } else { level };
        standing(policy, quota, level, refused)
    };
    let key = standing(key);
    let tighter = match shared.map(standing) {
        Some(shared) if is_tighter(&shared, &key) => shared,
        _ => key,
    };
    (is_taken, tighter)
}

fn is_tighter(one: &Standing, other: &Standing) -> bool {
    match (one.retry_after, other.retry_after) {
        (None, None) => one.remaining < other.remaining,
        // None comes before whatever there is to wait for.
        (one, other) => one > other,
    }
}

/// How things stand at a level, where the cost was refused if there is one.
fn standing(policy: Policy, quota: u32, level: f64, refused: Option<u32>) -> Standing {
    let left = f64::from(quota) - level + SLACK;
    Standing {
        policy,
        quota,
        // A cast never overflows: it ends at the bounds.
        remaining: left.max(0.0) as u32,
        reset: time_to_drain(level, quota),
        retry_after: refused.map(|cost| {
            let overflow = level + f64::from(cost) - f64::from(quota);
            if cost > quota { Standing::NEVER } else { time_to_drain(overflow, quota) }
        }),
    }
}

/// How long so much needs to flow off, rounded up to the microsecond.
fn time_to_drain(level: f64, quota: u32) -> Duration {
    if level <= SLACK || quota == 0 {
        return Duration::ZERO;
    }
    let micros = (level * WINDOW_MICROS / f64::from(quota)).ceil();
    Duration::from_micros(micros as u64).min(WINDOW)
}

#[cfg(test)]
mod tests {
    use entity::{ApiKeyId, OrganizationId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn allowance(per_minute: u32, shared: Option<u32>) -> Allowance {
        let organization = shared.map(|quota| (OrganizationId::new(Timestamp(0)), quota));
        Allowance { key: ApiKeyId::new(Timestamp(0)), per_minute, organization }
    }

    /// Takes from one bucket.
    fn take(bucket: &mut Bucket, quota: u32, now: u64, cost: u32) -> Standing {
        let (is_taken, standing) =
            judge(&allowance(quota, None), cost, bucket.level(quota, now), 0.0);
        if is_taken {
            bucket.fill(quota, now, cost);
        }
        assert_eq!(is_taken, !standing.is_refused());
        standing
    }

    #[test]
    fn a_whole_quota_at_once_and_then_as_it_comes_back() {
        let mut bucket = Bucket::empty(0);
        for used in 1..=120 {
            let standing = take(&mut bucket, 120, 0, 1);
            assert_eq!(standing.remaining, 120 - used);
            assert_eq!(standing.reset, Duration::from_millis(500) * used);
        }
        let refused = take(&mut bucket, 120, 0, 1);
        assert_eq!(refused.retry_after, Some(Duration::from_millis(500)));
        assert_eq!((refused.remaining, refused.quota), (0, 120));
        assert!(take(&mut bucket, 120, 499_999, 1).is_refused());
        assert!(!take(&mut bucket, 120, 500_000, 1).is_refused());
        assert!(take(&mut bucket, 120, 500_000, 1).is_refused());
        assert_eq!(take(&mut bucket, 120, 60_500_000, 0).remaining, 120);
    }

    #[test]
    fn a_cost_of_nothing_only_looks() {
        let mut bucket = Bucket::empty(0);
        take(&mut bucket, 3, 0, 3);
        let before = bucket;
        let standing = take(&mut bucket, 3, 0, 0);
        assert_eq!((standing.remaining, standing.retry_after), (0, None));
        assert_eq!(bucket, before);
    }

    #[test]
    fn what_costs_more_than_the_quota_never_succeeds_and_uses_nothing() {
        let mut bucket = Bucket::empty(0);
        let standing = take(&mut bucket, 10, 0, 11);
        assert_eq!(standing.retry_after, Some(Standing::NEVER));
        assert_eq!(standing.remaining, 10);
        assert_eq!(standing.reset, Duration::ZERO);
        assert_eq!(take(&mut bucket, 0, 0, 1).retry_after, Some(Standing::NEVER));
        assert_eq!(take(&mut bucket, 0, 0, 0).remaining, 0);
    }

    #[test]
    fn another_quota_counts_at_once() {
        let mut bucket = Bucket::empty(0);
        take(&mut bucket, 120, 0, 100);
        assert_eq!(take(&mut bucket, 1000, 0, 0).remaining, 900);
        let lowered = take(&mut bucket, 10, 0, 1);
        assert_eq!(lowered.retry_after, Some(Duration::from_secs(6)), "and not a hundred of it");
        assert!(!take(&mut bucket, 10, 6_000_000, 1).is_refused());
    }

    #[test]
    fn the_tighter_limit_is_told() {
        let judged = |key, shared| judge(&allowance(10, Some(100)), 1, key, shared).1;
        assert_eq!(judged(0.0, 0.0).policy, Policy::Key);
        assert_eq!(judged(0.0, 95.0).policy, Policy::Organization);
        assert_eq!(judged(0.0, 100.0).retry_after, Some(Duration::from_millis(600)));
        assert_eq!(judged(10.0, 0.0).policy, Policy::Key);
        let both = judged(10.0, 100.0);
        assert_eq!((both.policy, both.retry_after), (Policy::Key, Some(Duration::from_secs(6))));
        // What is refused comes before what has less left.
        assert_eq!(judged(9.0, 100.0).policy, Policy::Organization);
        assert_eq!(judged(9.0, 100.0).remaining, 0);
    }

    proptest! {
        /// In no window does more pass than what may be saved up and what comes back meanwhile.
        #[test]
        fn never_more_than_the_quota_and_what_comes_back(
            quota in 1_u32..5_000_000,
            calls in prop::collection::vec((0_u64..30_000_000, 0_u32..2_000_000), 1..60),
        ) {
            let mut bucket = Bucket::empty(0);
            let (mut now, mut passed) = (0, Vec::new());
            for (pause, cost) in calls {
                now += pause;
                if !take(&mut bucket, quota, now, cost).is_refused() {
                    passed.push((now, f64::from(cost)));
                }
            }
            for (at, &(begin, _)) in passed.iter().enumerate() {
                let mut sum = 0.0;
                for &(end, cost) in &passed[at..] {
                    sum += cost;
                    let back = (end - begin) as f64 * f64::from(quota) / WINDOW_MICROS;
                    prop_assert!(sum <= f64::from(quota) + back + 0.01);
                }
            }
        }

        /// Whoever waits as long as they are told gets in, and not a moment that matters earlier.
        #[test]
        fn the_wait_is_enough_and_not_too_much(
            quota in 1_u32..5_000_000,
            used in 0_u32..5_000_000,
            cost in 1_u32..5_000_000,
            now in 0_u64..1_000_000_000_000,
        ) {
            let mut bucket = Bucket::empty(now);
            take(&mut bucket, quota, now, used.min(quota));
            let Some(wait) = take(&mut bucket, quota, now, cost).retry_after else { return Ok(()) };
            if cost > quota {
                prop_assert_eq!(wait, Standing::NEVER);
                return Ok(());
            }
            let wait = u64::try_from(wait.as_micros()).unwrap();
            prop_assert!(!take(&mut bucket.clone(), quota, now + wait, cost).is_refused());
            prop_assert!(take(&mut bucket, quota, now + wait.saturating_sub(2), cost).is_refused());
        }

        /// What is told to be left can be taken, and one more can't.
        #[test]
        fn what_is_left_is_left(
            quota in 1_u32..5_000_000,
            used in 0_u32..5_000_000,
            pause in 0_u64..60_000_000,
        ) {
            let mut bucket = Bucket::empty(0);
            take(&mut bucket, quota, 0, used.min(quota));
            let left = take(&mut bucket, quota, pause, 0).remaining;
            prop_assert!(left <= quota);
            prop_assert!(take(&mut bucket.clone(), quota, pause, left + 1).is_refused());
            prop_assert!(!take(&mut bucket, quota, pause, left).is_refused());
        }

        /// After a window everything is back, whatever the quota was when it was used.
        #[test]
        fn everything_is_back_after_a_window(
            before in 1_u32..5_000_000,
            after in 1_u32..5_000_000,
            now in 0_u64..1_000_000_000_000,
        ) {
            let mut bucket = Bucket::empty(now);
            take(&mut bucket, before, now, before);
            let standing = take(&mut bucket, after, now + 60_000_000, 0);
            prop_assert_eq!((standing.remaining, standing.reset), (after, Duration::ZERO));
        }
    }
}

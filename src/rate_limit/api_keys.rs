use std::time::Duration;

use anyhow::Result;
use entity::{ApiKeyId, OrganizationId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use secrecy::SecretString;

use super::memory::Memory;
use super::redis::Redis;
use crate::platform::clock::Clock;

/// What quotas are counted over.
pub const WINDOW: Duration = Duration::from_secs(60);

/// What may be used up, of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub key: ApiKeyId,
    pub per_minute: u32,
    /// What all keys of the organization may use together, where that is limited.
    pub organization: Option<(OrganizationId, u32)>,
}

/// Whose quota it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    Key,
    Organization,
}

impl Policy {
    /// As callers and metrics are told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Organization => "organization",
        }
    }
}

/// How the tighter of a key's limits stands, after what was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub policy: Policy,
    /// How much there is in a minute.
    pub quota: u32,
    /// How much can be used right now.
    pub remaining: u32,
    /// Until the whole quota is there again.
    pub reset: Duration,
    /// Something when it was refused, and nothing was used: how long to wait before it may succeed.
    pub retry_after: Option<Duration>,
}

impl Standing {
    /// In `retry_after`: what was asked for costs more than the whole quota, and will never succeed.
    pub const NEVER: Duration = Duration::MAX;

    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.retry_after.is_some()
    }

    /// For how long no more than `remaining` can be used; what the IETF draft calls the effective window. While
    /// something is left this is until everything is back, so that whoever spreads the rest over it is never too fast.
    #[must_use]
    pub fn effective_window(&self) -> Duration {
        match self.retry_after {
            Some(wait) if wait != Self::NEVER => wait,
            _ if self.remaining > 0 => self.reset,
            _ => {
                let all_but_one = WINDOW.mul_f64(
                    f64::from(self.quota.saturating_sub(1)) / f64::from(self.quota.max(1)),
                );
                self.reset.saturating_sub(all_but_one)
            }
        }
    }
}

/// How often API keys may be used: by GCRA, a quota a minute with a burst of the whole quota.
///
/// The counts are in Redis where one is configured, so that several processes share them; else, and while Redis doesn't
/// answer, in this process's memory. It never waits for Redis longer than `redis::PATIENCE`, and no failure of Redis
/// refuses a key.
pub struct KeyLimits {
    clock: Clock,
    memory: Memory,
    redis: Option<Redis>,
    fallbacks: Counter,
    limited_by_key: Counter,
    limited_by_organization: Counter,
}

impl KeyLimits {
    /// With nothing used. Redis is asked for nothing before `stay_connected`.
    ///
    /// # Errors
    /// When the Redis URL can't be used.
    pub fn new(
        clock: Clock,
        redis_url: Option<&SecretString>,
        metrics: &mut Registry,
    ) -> Result<Self> {
        let limited = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let fallbacks = Counter::default();
        metrics.register(
            "portcullis_rate_limited",
            "Uses of API keys that were refused because of a rate limit",
            limited.clone(),
        );
        let redis = redis_url.map(Redis::new).transpose()?;
        if let Some(redis) = &redis {
            redis.register(metrics);
            metrics.register(
                "portcullis_rate_limit_fallbacks",
                "Uses of API keys that this process counted by itself because Redis did not answer",
                fallbacks.clone(),
            );
        }
        let of = |policy: Policy| limited.get_or_create_owned(&[("policy", policy.name())]);
        Ok(Self {
            clock,
            memory: Memory::default(),
            redis,
            fallbacks,
            limited_by_key: of(Policy::Key),
            limited_by_organization: of(Policy::Organization),
        })
    }

    /// Takes so much from the quotas of the key and of its organization, or from neither; a cost of 0 only looks.
    ///
    /// A cost above a quota can never succeed: it is refused, with `Standing::NEVER` to wait. Quotas may be others than
    /// the last time and count at once.
    ///
    /// Only keys that exist may be asked about: whatever is asked about is remembered for a minute. Without Redis this
    /// never waits.
    pub async fn take(&self, allowance: &Allowance, cost: u32) -> Standing {
        let shared = match &self.redis {
            Some(redis) => redis.take(allowance, cost).await,
            None => None,
        };
        let standing = shared.unwrap_or_else(|| {
            if self.redis.is_some() {
                self.fallbacks.inc();
            }
            self.memory.take(allowance, cost, self.now())
        });
        if standing.is_refused() {
            match standing.policy {
                Policy::Key => &self.limited_by_key,
                Policy::Organization => &self.limited_by_organization,
            }
            .inc();
        }
        standing
    }

    /// Tries to reach Redis once, where one is configured; whether it does or not is in the log.
    pub async fn connect(&self) {
        if let Some(redis) = &self.redis {
            redis.connect().await;
        }
    }

    /// Keeps up the connection to Redis for as long as it is polled; without Redis it ends at once.
    pub async fn stay_connected(&self) {
        if let Some(redis) = &self.redis {
            redis.stay_connected().await;
        }
    }

    /// Forgets who has been quiet for so long that their whole quota is back.
    pub fn forget_the_quiet(&self) {
        self.memory.forget_the_quiet(self.now());
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(remaining: u32, reset: u64, retry_after: Option<u64>) -> Standing {
        Standing {
            policy: Policy::Key,
            quota: 120,
            remaining,
            reset: Duration::from_millis(reset),
            retry_after: retry_after.map(Duration::from_millis),
        }
    }

    #[test]
    fn the_window_ends_when_there_is_more() {
        assert_eq!(standing(87, 16_500, None).effective_window(), Duration::from_millis(16_500));
        assert_eq!(standing(0, 60_000, None).effective_window(), Duration::from_millis(500));
        assert_eq!(standing(0, 59_700, None).effective_window(), Duration::from_millis(200));
        assert_eq!(standing(0, 59_700, Some(200)).effective_window(), Duration::from_millis(200));
        assert_eq!(standing(4, 58_000, Some(3000)).effective_window(), Duration::from_secs(3));
        let never = Standing { retry_after: Some(Standing::NEVER), ..standing(120, 0, None) };
        assert_eq!(never.effective_window(), Duration::ZERO);
    }
}

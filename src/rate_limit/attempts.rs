//! How often somebody may try to log in, or report what leaked. These limits live in this process's memory.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::Serialize;

/// Above this many remembered callers, those who have been quiet are forgotten at once rather than by the minute.
const CROWD: usize = 100_000;

/// What people do that must not be done too often.
pub struct RateLimits {
    login_by_account: DefaultKeyedRateLimiter<String>,
    login_by_address: DefaultKeyedRateLimiter<IpAddr>,
    reports_by_address: DefaultKeyedRateLimiter<IpAddr>,
    /// Whose throttling was told of.
    news: DefaultKeyedRateLimiter<Told>,
}

/// What an attempt to log in was too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limited {
    Account,
    Address,
}

/// An attempt that is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    pub limit: Limited,
    pub wait: Duration,
    /// Whether it is worth a line in the audit trail: once an hour for what is throttled. Ten attempts at least have
    /// left theirs before it comes to this, so that no flood, from however many addresses, writes more than those.
    pub is_news: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Told {
    Account(String),
    Address(IpAddr),
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            // Ten guesses, then one in six seconds: a person hardly notices, a guesser gets 14,400 a day.
            login_by_account: RateLimiter::keyed(quota(Duration::from_secs(6), 10)),
            // Offices share an address.
            login_by_address: RateLimiter::keyed(quota(Duration::from_secs(1), 50)),
            // Each holds up to a thousand credentials.
            reports_by_address: RateLimiter::keyed(quota(Duration::from_secs(60), 60)),
            news: RateLimiter::keyed(quota(Duration::from_secs(60 * 60), 1)),
        }
    }
}

#[expect(clippy::expect_used, reason = "both are constants above zero")]
fn quota(period: Duration, burst: u32) -> Quota {
    Quota::with_period(period)
        .expect("a period above zero")
        .allow_burst(NonZeroU32::new(burst).expect("a burst above zero"))
}

impl RateLimits {
    /// Counts one attempt to log in to the account, known to us or not, from the address.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub fn login(&self, email: &str, address: Option<IpAddr>) -> Result<(), Throttled> {
        if let Some(network) = address.map(network) {
            check(&self.login_by_address, &network)
                .map_err(|wait| self.throttled(Limited::Address, wait, Told::Address(network)))?;
        }
        let account = email.to_owned();
        check(&self.login_by_account, &account)
            .map_err(|wait| self.throttled(Limited::Account, wait, Told::Account(account)))
    }

    /// Counts one report of leaked credentials from the address.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub fn credential_report(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        // Those whose address nobody knows share one.
        let address = address.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        check(&self.reports_by_address, &network(address))
    }

    fn throttled(&self, limit: Limited, wait: Duration, whom: Told) -> Throttled {
        Throttled { limit, wait, is_news: check(&self.news, &whom).is_ok() }
    }

    /// Forgets who has been quiet for so long that their count is back to nothing.
    pub fn forget_the_quiet(&self) {
        self.login_by_account.retain_recent();
        self.login_by_address.retain_recent();
        self.reports_by_address.retain_recent();
        self.news.retain_recent();
    }
}

fn check<K: std::hash::Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
) -> Result<(), Duration> {
    if limiter.len() > CROWD {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|refused| refused.wait_time_from(DefaultClock::default().now()))
}

/// Whoever has one IPv6 address has the other 2^64 of its network too.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_limited_wherever_the_attempts_come_from() {
        let limits = RateLimits::default();
        for last in 0..10 {
            assert!(limits.login("a@example.com", Some(IpAddr::from([192, 0, 2, last]))).is_ok());
        }
        assert!(limits.login("a@example.com", Some(IpAddr::from([192, 0, 2, 99]))).is_err());
        assert!(limits.login("b@example.com", Some(IpAddr::from([192, 0, 2, 99]))).is_ok());
    }

    #[test]
    fn an_address_is_limited_whichever_accounts_it_tries() {
        let limits = RateLimits::default();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        for attempt in 0..50 {
            assert!(limits.login(&format!("{attempt}@example.com"), Some(one)).is_ok());
        }
        assert!(limits.login("x@example.com", Some(neighbour)).is_err());
    }

    #[test]
    fn a_network_reports_sixty_times_and_then_once_a_minute() {
        let limits = RateLimits::default();
        let reports = |address: &str| limits.credential_report(address.parse().ok());
        for last in 0..60 {
            assert!(reports(&format!("2001:db8::{last}")).is_ok());
        }
        let wait = reports("2001:db8::99").unwrap_err();
        assert!(wait <= Duration::from_secs(60), "{wait:?}");
        assert!(reports("2001:db8:0:1::1").is_ok() && reports("192.0.2.1").is_ok());
    }

    #[test]
    fn a_flood_is_told_of_once() {
        let limits = RateLimits::default();
        let attempt = |last| limits.login("a@example.com", Some(IpAddr::from([192, 0, 2, last])));
        let told = (0..100).filter_map(|last| attempt(last).err()).filter(|it| it.is_news).count();
        assert_eq!(told, 1);
    }
}

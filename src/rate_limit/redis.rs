//! The counts in Redis or Valkey, for several processes: one script, one round trip, in Redis' own time.
//!
//! When a call fails or takes too long, Redis is away: from then on nobody waits for it, while it is tried once a
//! second. Away is also a Redis that answers but takes no writes.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, RedisResult, Script};
use anyhow::{Result, anyhow};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use url::Url;

use super::api_keys::{Allowance, Standing};
use super::gcra::judge;

/// What a key in use may wait for an answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// What it may take to connect and to try; nobody waits for this but the start.
const CONNECTING: Duration = Duration::from_secs(1);
/// How long Redis is left alone after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// What every name of ours in Redis begins with.
const PREFIX: &str = "portcullis:limit:";

/// Says in one sentence, without the value, what is wrong with a URL; empty is fine and stands for none.
///
/// # Errors
/// The sentence.
pub fn check_redis_url(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let wrong = || {
        "redis_url must be such as redis://host:6379 or rediss://user:password@host:6379/0"
            .to_owned()
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    // With a fragment the client can be told not to check certificates.
    let is_ours = matches!(url.scheme(), "redis" | "rediss") && url.fragment().is_none();
    // A user without a password is a password in the wrong place, which would be shown.
    let has_user_alone = !url.username().is_empty() && url.password().is_none();
    if !is_ours || has_user_alone || Client::open(url).is_err() {
        return Err(wrong());
    }
    Ok(())
}

pub(super) struct Redis {
    client: Client,
    script: Script,
    /// None while Redis is away.
    connection: RwLock<Option<Connection>>,
    connections: AtomicU64,
    lost: Notify,
    is_away_told: AtomicBool,
    up: Gauge,
}

#[derive(Clone)]
struct Connection {
    /// Tells it from its successors.
    number: u64,
    connection: MultiplexedConnection,
}

impl Redis {
    pub fn new(url: &SecretString) -> Result<Self> {
        // Its error may repeat what it was given.
        let client = Client::open(url.expose_secret());
        Ok(Self {
            client: client.map_err(|_| anyhow!("the setting redis_url can't be used"))?,
            script: Script::new(include_str!("take.lua")),
            connection: RwLock::new(None),
            connections: AtomicU64::new(0),
            lost: Notify::new(),
            is_away_told: AtomicBool::new(false),
            up: Gauge::default(),
        })
    }

    pub fn register(&self, metrics: &mut Registry) {
        let help = "Whether Redis counts the uses of API keys (1), or each process by itself (0)";
        metrics.register("portcullis_redis_up", help, self.up.clone());
    }

    /// None where Redis doesn't say.
    pub async fn take(&self, allowance: &Allowance, cost: u32) -> Option<Standing> {
        let connection = self.connection()?;
        let key = format!("{PREFIX}{}", allowance.key);
        let shared = allowance.organization.map(|(id, quota)| (format!("{PREFIX}{id}"), quota));
        let buckets = [Some((key, allowance.per_minute)), shared];
        let buckets = buckets.iter().flatten().map(|(name, quota)| (name.as_str(), *quota));
        let asked = self.run(connection.connection, buckets, cost);
        let failure = match timeout(PATIENCE, asked).await {
            Ok(Ok(levels)) => match levels.as_slice() {
                [key] => return Some(judge(allowance, cost, *key, 0.0).1),
                [key, shared] => return Some(judge(allowance, cost, *key, *shared).1),
                _ => "it gave an answer of another form".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", PATIENCE.as_millis()),
        };
        self.lose(connection.number, &failure);
        None
    }

    /// EVALSHA, and once more after SCRIPT LOAD where Redis doesn't know the script.
    async fn run(
        &self,
        mut connection: MultiplexedConnection,
        buckets: impl Iterator<Item = (&str, u32)>,
        cost: u32,
    ) -> RedisResult<Vec<f64>> {
        let mut invocation = self.script.arg(cost);
        for (name, quota) in buckets {
            invocation.key(name).arg(quota);
        }
        invocation.invoke_async(&mut connection).await
    }

    fn connection(&self) -> Option<Connection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves Redis alone, unless it has been reached anew meanwhile.
    fn lose(&self, number: u64, failure: &str) {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if connection.as_ref().is_some_and(|it| it.number == number) {
            *connection = None;
            self.up.set(0);
            self.tell_away(failure);
            self.lost.notify_one();
        }
    }

    /// Says so once, until it is back.
    fn tell_away(&self, failure: impl Display) {
        if !self.is_away_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %failure,
                "Redis is away; until it is back each process counts the uses of API keys by itself"
            );
        }
    }

    /// Whether Redis could be reached and does what is wanted of it.
    pub async fn connect(&self) -> bool {
        let reached = timeout(CONNECTING, self.reach()).await;
        let failure = match reached {
            Ok(Ok(connection)) => {
                let number = self.connections.fetch_add(1, Ordering::Relaxed);
                *self.connection.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Connection { number, connection });
                self.up.set(1);
                self.is_away_told.store(false, Ordering::Relaxed);
                tracing::info!("Redis answers; the uses of API keys are counted there");
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", CONNECTING.as_millis()),
        };
        self.tell_away(failure);
        false
    }

    /// A connection on which the script has run: a replica, or a Redis that is full, would refuse it.
    async fn reach(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(CONNECTING));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let name = format!("{PREFIX}trial");
        self.run(connection.clone(), std::iter::once((name.as_str(), u32::MAX)), 1).await?;
        Ok(connection)
    }

    pub async fn stay_connected(&self) {
        loop {
            while self.connection().is_some() {
                self.lost.notified().await;
            }
            sleep(RETRY).await;
            self.connect().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_told_without_its_password() {
        for url in ["", "redis://127.0.0.1", "rediss://:p@redis.example.com:6380/1"] {
            assert_eq!(check_redis_url(url), Ok(()), "{url}");
        }
        for url in [
            "hunter2",
            "redis:",
            "http://:hunter2@redis.example.com",
            "unix:///run/redis.sock?pass=hunter2",
            "redis://hunter2@redis.example.com",
            "redis://:hunter2@redis.example.com/first",
            "rediss://:hunter2@redis.example.com#insecure",
        ] {
            let sentence = check_redis_url(url).unwrap_err();
            assert!(sentence.contains("redis_url") && !sentence.contains("hunter"), "{sentence}");
        }
    }
}

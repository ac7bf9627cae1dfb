//! Passwords, the one secret that people choose: argon2id, off the async threads and under a bound.

use std::cell::RefCell;
use std::fmt::Display;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher as _, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// OWASP's and RFC 9106's neighbourhood: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How many may wait for a free core before further ones are turned away.
const QUEUE: usize = 64;

/// Too many passwords are being checked; the caller should come back in a second or two.
#[derive(Debug, thiserror::Error)]
#[error("too many passwords are being checked at this moment")]
pub struct Busy;

/// What checking a password found.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    Right,
    /// Right, and stored with weaker parameters than today's: hash it anew.
    RightButOutdated,
    Wrong,
}

/// Hashes and checks passwords, on threads of its own: one fewer than there are cores, so that however many people log
/// in, everybody else is served.
#[derive(Clone)]
pub struct Passwords(Arc<Hashers>);

struct Hashers {
    /// None of its tasks are async. The threads are few and stay the same, since the allocator keeps the 19 MiB of each
    /// thread that ever hashed.
    threads: Option<Runtime>,
    admitted: Arc<Semaphore>,
}

impl Passwords {
    /// # Errors
    /// When the system gives no threads.
    pub fn new() -> Result<Self> {
        let threads = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(hashing_threads())
            .thread_name("argon2")
            .build()
            .context("there are no threads to hash passwords on")?;
        let admitted = Arc::new(Semaphore::new(hashing_threads() + QUEUE));
        Ok(Self(Arc::new(Hashers { threads: Some(threads), admitted })))
    }
}

/// How many passwords are hashed at a time.
fn hashing_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, |cores| usize::from(cores).saturating_sub(1).max(1))
}

impl Drop for Hashers {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            // Whoever drops it may be an async task, which must not wait for a hash.
            threads.shutdown_background();
        }
    }
}

impl Passwords {
    /// Hashes a password to its PHC string.
    ///
    /// # Errors
    /// `Busy` when the queue is full, or when hashing fails.
    pub async fn hash(&self, password: SecretString) -> Result<String> {
        self.run(move || hash(password.expose_secret())).await
    }

    /// Checks a password; with no stored hash it takes as long and is wrong.
    ///
    /// # Errors
    /// `Busy` when the queue is full, or when the stored hash is damaged.
    pub async fn check(&self, password: SecretString, stored: Option<String>) -> Result<Checked> {
        self.run(move || match stored {
            Some(stored) => check(password.expose_secret(), &stored),
            None => check(password.expose_secret(), &decoy()).map(|_| Checked::Wrong),
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.0.admitted.clone().try_acquire_owned().map_err(|_| Busy)?;
        let threads = self.0.threads.as_ref().context("passwords are no longer hashed")?;
        let work = move || {
            // Whoever asked may have gone; the place is taken until the work is done.
            let _place = place;
            work()
        };
        threads.spawn_blocking(work).await.context("a password check was cut off")?
    }
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String> {
    let hash = argon2()?
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    Ok(hash.to_string())
}

/// What to store where no password may ever be right. It costs as much to check as any other.
#[must_use]
pub fn never_matching() -> String {
    decoy()
}

/// Checked against when there is no such user, so that the answer takes as long. What it is a hash of, nobody knows.
fn decoy() -> String {
    let (salt, output) = ("0WLUHT8jM6BdSHlTwbtKgg", "6qyPfMSjVjnnsW4uFLGZg8HbRKwvW6hgvZwOZ3pfP1Q");
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}")
}

/// As `Argon2::verify_password`, but in memory that the thread keeps.
fn check(password: &str, stored: &str) -> Result<Checked> {
    fn failed(error: impl Display) -> anyhow::Error {
        anyhow::anyhow!("a stored password hash: {error}")
    }
    let parsed = PasswordHash::new(stored).map_err(failed)?;
    let (salt, expected) =
        parsed.salt.zip(parsed.hash).context("a stored password hash has no salt or no output")?;
    let params = Params::try_from(&parsed).map_err(failed)?;
    let is_outdated = params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES;
    let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).map_err(failed)?;
    let version = parsed.version.map_or(Ok(Version::default()), Version::try_from);
    let argon2 = Argon2::new(algorithm, version.map_err(failed)?, params);
    let mut found = vec![0; expected.len()];
    in_memory(argon2.params().block_count(), |memory| {
        argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut found, memory)
    })
    .map_err(failed)?;
    Ok(match verify_slices_are_equal(&found, expected.as_bytes()) {
        Ok(()) if is_outdated => Checked::RightButOutdated,
        Ok(()) => Checked::Right,
        Err(_) => Checked::Wrong,
    })
}

/// Runs the work in so many KiB that the thread keeps for the next time. To get them from the system anew for each
/// password costs more, and the allocator does not give all of them back.
fn in_memory<T>(blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
    thread_local! {
        static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
    }
    MEMORY.with_borrow_mut(|memory| {
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        work(&mut memory[..blocks])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn right_wrong_and_unknown() -> Result<()> {
        let passwords = Passwords::new()?;
        let stored = passwords.hash("correct horse".into()).await?;
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_eq!(
            passwords.check("correct horse".into(), Some(stored.clone())).await?,
            Checked::Right
        );
        assert_eq!(passwords.check("battery".into(), Some(stored)).await?, Checked::Wrong);
        assert_eq!(passwords.check("battery".into(), None).await?, Checked::Wrong);
        // The decoy costs what a real hash costs.
        let cost = |phc: &str| phc.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(cost(&decoy()), cost(&passwords.hash("anything at all".into()).await?));
        Ok(())
    }

    #[tokio::test]
    async fn weaker_parameters_of_earlier_days_are_noticed() -> Result<()> {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(1024, 1, 1, None).unwrap(),
        );
        let stored = weak.hash_password(b"old").unwrap().to_string();
        assert_eq!(
            Passwords::new()?.check("old".into(), Some(stored)).await?,
            Checked::RightButOutdated
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_rather_than_queued_without_end() -> Result<()> {
        let passwords = Passwords::new()?;
        let attempts = (0..400).map(|_| passwords.check("guess".into(), None));
        let answers = futures::future::join_all(attempts).await;
        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Err(error) if error.is::<Busy>()))
            .count();
        assert!(
            refused >= 400 - 2 * (hashing_threads() + QUEUE) && refused < 400,
            "{refused} refused"
        );
        Ok(())
    }
}

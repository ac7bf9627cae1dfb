//! A list as it is served: made when it is asked for, and kept until it is old or the log has brought something.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entity::StatusListId;
use moka::ops::compute::Op;
use portcullis_verifier::revocation::Mark;
use serde::Serialize;

use super::bits::Bits;
use super::{StatusLists, store, uri};
use crate::platform::clock::Clock;
use crate::platform::db::Db;
use crate::revocation::Revocations;
use crate::signing::Signer;

/// For how long whoever has a list may keep it.
const TIME_TO_LIVE: Duration = Duration::from_secs(60);
/// How long after it was made nobody should believe a list any more.
const LIFETIME: Duration = Duration::from_secs(300);
/// However much is revoked, and however often it is asked for, a list is made no oftener than this.
const PAUSE: Duration = Duration::from_secs(1);

/// A signed list.
pub struct Published {
    pub jwt: String,
    /// A strong ETag, quoted.
    pub etag: String,
    /// By the clock that only ever goes forward.
    made_at: Duration,
    /// The log's last moment that is in it for sure.
    mark: Mark,
}

impl Published {
    /// For how long whoever has it may keep it, in seconds.
    #[must_use]
    pub fn time_to_live() -> u64 {
        TIME_TO_LIVE.as_secs()
    }
}

/// What it takes to make a list.
pub struct Publisher<'a> {
    pub db: &'a Db,
    pub clock: &'a Clock,
    pub revocations: &'a Arc<Revocations>,
    pub signer: &'a Signer,
    pub issuer: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: i64,
    exp: i64,
    ttl: u64,
    status_list: StatusList<'a>,
}

#[derive(Serialize)]
struct StatusList<'a> {
    bits: u8,
    lst: &'a str,
}

/// Why there is no list.
#[derive(Debug)]
enum Miss {
    Unknown,
    Failed(anyhow::Error),
}

/// It failed, for everybody who waited for the same list.
#[derive(Debug)]
struct MakingFailed(Arc<Miss>);

impl fmt::Display for MakingFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Miss::Unknown => f.write_str("there is no such list"),
            Miss::Failed(error) => write!(f, "a status list can't be made: {error:#}"),
        }
    }
}

impl std::error::Error for MakingFailed {}

impl<E: Into<anyhow::Error>> From<E> for Miss {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl StatusLists {
    /// The list, true to the log up to a second; none where there is no such list.
    ///
    /// However many ask at once, one of them makes it.
    ///
    /// # Errors
    /// When the database fails, or there is no key to sign with.
    pub async fn publish(
        &self,
        publisher: &Publisher<'_>,
        id: StatusListId,
    ) -> anyhow::Result<Option<Arc<Published>>> {
        let (now, mark) = (publisher.clock.monotonic(), publisher.revocations.mark());
        let is_fresh = |list: &Published| {
            let age = now.saturating_sub(list.made_at);
            age < PAUSE || (age < TIME_TO_LIVE && list.mark >= mark)
        };
        // One that is made now is fresh; it can only be old once.
        for _ in 0..2 {
            let list = match self.published.try_get_with(id, self.make(publisher, id)).await {
                Ok(list) => list,
                Err(miss) => {
                    return match &*miss {
                        Miss::Unknown => Ok(None),
                        Miss::Failed(_) => Err(MakingFailed(miss).into()),
                    };
                }
            };
            if is_fresh(&list) {
                return Ok(Some(list));
            }
            self.forget(id, &list).await;
        }
        anyhow::bail!("a status list grows old while it is made")
    }

    async fn make(
        &self,
        publisher: &Publisher<'_>,
        id: StatusListId,
    ) -> Result<Arc<Published>, Miss> {
        let now = publisher.clock.now();
        let (made_at, mark) = (publisher.clock.monotonic(), publisher.revocations.mark());
        let reader = publisher.db.reader();
        let Some(algorithm) = store::find_algorithm(reader, id, now).await? else {
            return Err(Miss::Unknown);
        };
        let _making = self.making.acquire().await?;
        let entries = store::list_entries(reader, id).await?;
        let revocations = publisher.revocations.clone();
        // Looking up a full list takes as long as hundreds of other requests.
        let looking_up = tokio::task::spawn_blocking(move || {
            let mut bits = Bits::default();
            for entry in entries.iter().filter(|entry| revocations.is_revoked(&entry.claims())) {
                bits.revoke(entry.place.idx);
            }
            bits.encoded()
        });
        let lst = looking_up.await.context("a status list can't be made up")??;
        let claims = Claims {
            sub: &uri(publisher.issuer, id),
            iat: now.unix_seconds(),
            exp: (now + LIFETIME).unix_seconds(),
            ttl: TIME_TO_LIVE.as_secs(),
            status_list: StatusList { bits: 1, lst: &lst },
        };
        let jwt = publisher.signer.sign_status_list(algorithm, &claims)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwt.as_bytes());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.as_ref()));
        Ok(Arc::new(Published { jwt, etag, made_at, mark }))
    }

    /// Removes that very copy, not a newer one that another call may have put there meanwhile.
    async fn forget(&self, id: StatusListId, stale: &Arc<Published>) {
        self.published
            .entry(id)
            .and_compute_with(|entry| {
                let same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), stale));
                std::future::ready(if same { Op::Remove } else { Op::Nop })
            })
            .await;
    }
}

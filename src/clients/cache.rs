//! Clients in memory: no token request waits for the database to learn who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entity::ClientId;
use moka::future::Cache;
use sea_orm::DbErr;

use super::{Client, store};
use crate::platform::db::Db;

const CAPACITY: u64 = 10_000;
/// The log tells of changes at once; this is the net underneath.
const LIFETIME: Duration = Duration::from_secs(60);

/// The clients that this process has seen lately.
pub struct Clients {
    known: Cache<ClientId, Arc<Client>>,
    /// Counts the invalidations.
    epoch: AtomicU64,
}

impl Default for Clients {
    fn default() -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build();
        Self { known, epoch: AtomicU64::new(0) }
    }
}

impl Clients {
    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn find(&self, db: &Db, id: ClientId) -> Result<Option<Arc<Client>>, DbErr> {
        if let Some(known) = self.known.get(&id).await {
            return Ok(Some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let Some(found) = store::find_for_requests(db.reader(), id).await?.map(Arc::new) else {
            return Ok(None);
        };
        self.known.insert(id, found.clone()).await;
        // What was read before an invalidation must not outlive it.
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.known.invalidate(&id).await;
        }
        Ok(Some(found))
    }

    /// Forgets all of them; the next request reads anew.
    pub fn invalidate(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate_all();
    }
}

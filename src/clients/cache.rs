//! Clients in memory: no token request waits for the database to learn who asks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entity::ClientId;
use moka::future::Cache;
use sea_orm::DbErr;

use super::{Client, store};
use crate::platform::batch::Batcher;
use crate::platform::db::{Db, in_time};

const CAPACITY: u64 = 10_000;
/// The log tells of changes at once; this is the net underneath.
const LIFETIME: Duration = Duration::from_secs(60);

/// The clients that this process has seen lately.
pub struct Clients {
    known: Cache<ClientId, Arc<Client>>,
    /// Counts the invalidations.
    epoch: AtomicU64,
    /// What is not in memory is asked for, with whatever else is at that moment.
    look_ups: Batcher<ClientId, Result<Option<Arc<Client>>, DbErr>>,
}

impl Clients {
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn new(db: &Db) -> Self {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build();
        let db = db.clone();
        let look_ups = Batcher::new(move |ids| look_up(db.clone(), ids));
        Self { known, epoch: AtomicU64::new(0), look_ups }
    }

    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn find(&self, id: ClientId) -> Result<Option<Arc<Client>>, DbErr> {
        if let Some(known) = self.known.get(&id).await {
            return Ok(Some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let found = self.look_ups.ask(id).await;
        let Some(found) = found.unwrap_or_else(|lost| Err(DbErr::Custom(lost.to_string())))? else {
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

/// One answer for each, in their order.
async fn look_up(db: Db, ids: Vec<ClientId>) -> Vec<Result<Option<Arc<Client>>, DbErr>> {
    let different: BTreeSet<ClientId> = ids.iter().copied().collect();
    let different = different.into_iter().collect();
    match in_time(store::find_for_requests(db.reader(), different)).await {
        Ok(found) => {
            let shared: HashMap<ClientId, Result<Arc<Client>, DbErr>> =
                found.into_iter().map(|(id, found)| (id, found.map(Arc::new))).collect();
            ids.iter().map(|id| shared.get(id).cloned().transpose()).collect()
        }
        Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
    }
}

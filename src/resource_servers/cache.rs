//! Resource servers in memory: token and introspection requests find them here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entity::{ResourceServerId, Timestamp};
use moka::future::Cache;
use sea_orm::DbErr;

use super::{ResourceServer, store};
use crate::platform::db::Db;

const CAPACITY: u64 = 10_000;
/// The log tells of changes at once; this is the net underneath.
const LIFETIME: Duration = Duration::from_secs(60);

/// The resource servers that this process has seen lately.
pub struct ResourceServers {
    by_id: Cache<ResourceServerId, Arc<ResourceServer>>,
    by_audience: Cache<String, Arc<ResourceServer>>,
    /// With the end of a credential that has been rotated. Each call of theirs is looked up here, and nowhere else.
    by_credential: Cache<[u8; 32], (Arc<ResourceServer>, Option<Timestamp>)>,
    /// The one that is meant where none is named, if there is just one.
    only_shared: Cache<(), Option<ResourceServerId>>,
    /// Counts the invalidations.
    epoch: AtomicU64,
}

impl Default for ResourceServers {
    fn default() -> Self {
        Self {
            by_id: Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build(),
            by_audience: Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build(),
            only_shared: Cache::builder().max_capacity(1).time_to_live(LIFETIME).build(),
            epoch: AtomicU64::new(0),
            by_credential: Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build(),
        }
    }
}

impl ResourceServers {
    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn find(
        &self,
        db: &Db,
        id: ResourceServerId,
    ) -> Result<Option<Arc<ResourceServer>>, DbErr> {
        if let Some(known) = self.by_id.get(&id).await {
            return Ok(Some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        // Boxed, like the other reads here: they are seldom gone, and would be carried along by every call.
        let found = Box::pin(store::find(db.reader(), id)).await?;
        let Some(found) = found.map(Arc::new) else { return Ok(None) };
        self.by_id.insert(id, found.clone()).await;
        // What was read before an invalidation must not outlive it.
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.by_id.invalidate(&id).await;
        }
        Ok(Some(found))
    }

    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn find_by_audience(
        &self,
        db: &Db,
        audience: &str,
    ) -> Result<Option<Arc<ResourceServer>>, DbErr> {
        if let Some(known) = self.by_audience.get(audience).await {
            return Ok(Some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let found = Box::pin(store::find_by_audience(db.reader(), audience)).await?;
        let Some(found) = found.map(Arc::new) else { return Ok(None) };
        self.by_audience.insert(audience.to_owned(), found.clone()).await;
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.by_audience.invalidate(audience).await;
        }
        Ok(Some(found))
    }

    /// The one resource server that every organization may use, beside the management API; none where there are more, or
    /// there is none. What an organization keeps to itself changes nothing for the others.
    ///
    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn find_only_shared(&self, db: &Db) -> Result<Option<Arc<ResourceServer>>, DbErr> {
        let only = match self.only_shared.get(&()).await {
            Some(only) => only,
            None => {
                let epoch = self.epoch.load(Ordering::SeqCst);
                let only = Box::pin(store::find_only_shared(db.reader())).await?;
                self.only_shared.insert((), only).await;
                if self.epoch.load(Ordering::SeqCst) != epoch {
                    self.only_shared.invalidate(&()).await;
                }
                only
            }
        };
        match only {
            Some(only) => self.find(db, only).await,
            None => Ok(None),
        }
    }

    /// The resource server whose credential has this digest.
    ///
    /// # Errors
    /// When it is not in memory and the database fails.
    pub(super) async fn find_by_credential(
        &self,
        db: &Db,
        now: Timestamp,
        digest: [u8; 32],
    ) -> Result<Option<Arc<ResourceServer>>, DbErr> {
        let is_good = |end: Option<Timestamp>| end.is_none_or(|end| end > now);
        if let Some((known, end)) = self.by_credential.get(&digest).await {
            return Ok(is_good(end).then_some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let found = Box::pin(store::find_id_by_credential(db.reader(), digest)).await?;
        let Some((id, end)) = found else { return Ok(None) };
        let found = Box::pin(store::find(db.reader(), id)).await?;
        let Some(found) = found.map(Arc::new) else { return Ok(None) };
        self.by_credential.insert(digest, (found.clone(), end)).await;
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.by_credential.invalidate(&digest).await;
        }
        Ok(is_good(end).then_some(found))
    }

    /// Forgets all of them; the next request reads anew.
    pub fn invalidate(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.by_id.invalidate_all();
        self.by_audience.invalidate_all();
        self.by_credential.invalidate_all();
        self.only_shared.invalidate_all();
    }
}

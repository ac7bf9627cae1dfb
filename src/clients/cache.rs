//! Clients in memory: no token request waits for the database to learn who asks.

use std::sync::Arc;
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
#[derive(Clone)]
pub struct Clients(Cache<ClientId, Arc<Client>>);

impl Default for Clients {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_live(LIFETIME).build())
    }
}

impl Clients {
    /// # Errors
    /// When it is not in memory and the database fails.
    pub async fn find(&self, db: &Db, id: ClientId) -> Result<Option<Arc<Client>>, DbErr> {
        if let Some(known) = self.0.get(&id).await {
            return Ok(Some(known));
        }
        let Some(found) = store::find(db.reader(), id).await?.map(Arc::new) else {
            return Ok(None);
        };
        self.0.insert(id, found.clone()).await;
        Ok(Some(found))
    }

    /// Forgets all of them; the next request reads anew.
    pub fn invalidate(&self) {
        self.0.invalidate_all();
    }
}

//! All events that there are at one moment, oldest first, some at a time: memory holds one batch, and no transaction
//! stays open between two.

use std::time::Duration;

use entity::{AuditEventId, Timestamp};
use sea_orm::DbErr;

use super::{Order, Recorded, Which, store};
use crate::platform::db::Db;

const BATCH: u64 = 500;

/// An export under way.
pub struct Export {
    which: Which,
    after: Option<AuditEventId>,
    is_done: bool,
}

impl Export {
    /// Begins an export of what has happened until now; what happens meanwhile would never let it end.
    #[must_use]
    pub fn new(now: Timestamp, mut which: Which) -> Self {
        let end = now + Duration::from_millis(1);
        which.to = Some(which.to.map_or(end, |to| to.min(end)));
        Self { which, after: None, is_done: false }
    }

    /// The next events; none at the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self, db: &Db) -> Result<Option<Vec<Recorded>>, DbErr> {
        if self.is_done {
            return Ok(None);
        }
        let order = Order::OldestFirst { after: self.after };
        let events = store::list(db.reader(), &self.which, order, BATCH).await?;
        self.is_done = (events.len() as u64) < BATCH;
        self.after = events.last().map(|event| event.id);
        Ok(Some(events).filter(|events| !events.is_empty()))
    }
}

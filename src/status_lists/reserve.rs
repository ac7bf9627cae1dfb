use std::collections::HashMap;
use std::sync::PoisonError;

use entity::{ResourceServerId, StatusListId, Timestamp};
use sea_orm::DbErr;

use super::places::Places;
use super::{CLOCK_SKEW, OPEN, Place, StatusLists, store};
use crate::platform::db::Db;
use crate::resource_servers::ResourceServer;
use crate::revocation::LONGEST_TOKEN_LIFETIME;
use crate::signing::Algorithm;

/// The lists that this process fills.
#[derive(Default)]
pub(super) struct Open(HashMap<(ResourceServerId, Algorithm), OpenList>);

struct OpenList {
    id: StatusListId,
    closes_at: Timestamp,
    places: Places,
}

impl Open {
    fn draw(&mut self, now: Timestamp, of: (ResourceServerId, Algorithm)) -> Option<Place> {
        let list = self.0.get_mut(&of).filter(|list| now < list.closes_at)?;
        Some(Place { list: list.id, idx: list.places.draw()? })
    }
}

impl StatusLists {
    /// A place for a token that is about to be issued; none where the resource server wants no status lists. Nobody
    /// else ever gets the same.
    ///
    /// Ask before the transaction of the issue begins: a list that is full makes this open another, by a statement of
    /// its own. A place that comes to nothing is lost, and there are enough.
    ///
    /// # Errors
    /// When a list is to be opened and the database fails.
    pub async fn reserve(
        &self,
        db: &Db,
        now: Timestamp,
        resource_server: &ResourceServer,
    ) -> Result<Option<Place>, DbErr> {
        if !resource_server.status_list {
            return Ok(None);
        }
        let of = (resource_server.id, resource_server.algorithm);
        if let Some(place) = self.draw(now, of) {
            return Ok(Some(place));
        }
        let _opening = self.opening.lock().await;
        // Whoever was here before has opened one.
        if let Some(place) = self.draw(now, of) {
            return Ok(Some(place));
        }
        let id = StatusListId::new(now);
        let closes_at = now + OPEN;
        let expires_at = closes_at + LONGEST_TOKEN_LIFETIME + CLOCK_SKEW;
        store::insert(db.writer(), id, of, now, expires_at).await?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0.retain(|_, list| now < list.closes_at);
        open.0.insert(of, OpenList { id, closes_at, places: Places::default() });
        Ok(open.draw(now, of))
    }

    fn draw(&self, now: Timestamp, of: (ResourceServerId, Algorithm)) -> Option<Place> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).draw(now, of)
    }
}

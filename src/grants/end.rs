use std::collections::HashMap;

use entity::{GrantId, Timestamp, TokenId};
use sea_orm::DbErr;

use super::store;
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::revocation::{self, About};

/// Something that is to be dead from the commit on.
#[derive(Debug)]
pub struct Ending {
    what: What,
    now: Timestamp,
    by: By,
}

#[derive(Debug)]
enum What {
    Grant {
        id: GrantId,
        reason: &'static str,
    },
    /// Its grant and its siblings live on.
    AccessToken {
        event: Event,
        about: About,
    },
}

impl Ending {
    /// Of a grant: its refresh token is dead, and every access token that descends from it.
    ///
    /// `reason` goes to the audit trail: `revoked`, `code_replayed`, `refresh_token_replayed`.
    #[must_use]
    pub fn of_grant(id: GrantId, reason: &'static str, now: Timestamp, by: &By) -> Self {
        Self { what: What::Grant { id, reason }, now, by: by.clone() }
    }

    /// Of one access token, which is entered into the log by its `jti`.
    #[must_use]
    pub fn of_access_token(token: TokenId, about: About, now: Timestamp, by: &By) -> Self {
        let mut event = Event::new("access_token.revoked", token);
        event.organization = about.organization();
        Self { what: What::AccessToken { event, about }, now, by: by.clone() }
    }
}

/// Ends all of them in one transaction; says which have ended by this, by their numbers. Not those grants that there
/// are not, or not any more.
pub(super) async fn end_all(db: &Db, endings: &[Ending]) -> Result<Vec<usize>, DbErr> {
    let Some(now) = endings.iter().map(|ending| ending.now).max() else { return Ok(Vec::new()) };
    let tx = db.begin().await?;
    let grants = endings.iter().filter_map(|ending| match ending.what {
        What::Grant { id, .. } => Some(id),
        What::AccessToken { .. } => None,
    });
    let ended = store::mark_all_ended(&tx, now, &grants.collect::<Vec<_>>()).await?;
    let mut ended: HashMap<_, _> = ended.into_iter().map(|grant| (grant.id, grant)).collect();
    let (mut events, mut abouts, mut won) = (Vec::new(), Vec::new(), Vec::new());
    for (at, Ending { what, now, by }) in endings.iter().enumerate() {
        let (event, about) = match what {
            What::AccessToken { event, about } => (event.clone(), *about),
            What::Grant { id, reason } => {
                // Of several who end the same, the first has done it.
                let Some(grant) = ended.remove(id) else { continue };
                let event = Event::new("grant.ended", *id)
                    .in_organization(grant.organization)
                    .with(serde_json::json!({ "reason": reason }));
                (event, grant.about())
            }
        };
        events.push((*now, by, event));
        abouts.push(about);
        won.push(at);
    }
    audit::record_each(&tx, events).await?;
    revocation::append_revoked(&tx, now, &abouts).await?;
    tx.commit().await?;
    Ok(won)
}

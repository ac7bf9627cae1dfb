use std::collections::BTreeSet;

use entity::{GrantId, Timestamp};
use sea_orm::DbErr;

use super::store::{self, EndedGrant, LivingGrants};
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::revocation::{self, About};

/// As many grants end in one transaction, so that other writers don't wait for long.
const CHUNK: u64 = 500;

/// Ends all these grants with their tokens, and the codes that would have become one; says how many there were, and
/// how many of them had a refresh token. What ended stays so if it fails halfway, and a further call does the rest.
///
/// # Errors
/// When the database fails.
pub async fn end_some(
    db: &Db,
    now: Timestamp,
    by: &By,
    which: LivingGrants,
) -> Result<(u64, u64), DbErr> {
    let (mut grants, mut refresh_tokens) = (0, 0);
    loop {
        let ended = end_once(db, now, by, which).await?;
        if ended.grants.is_empty() {
            return Ok((grants, refresh_tokens));
        }
        // What came up behind our back, of a code that was being redeemed, is found by another round.
        grants += ended.grants.len() as u64;
        refresh_tokens += ended.refresh_tokens;
    }
}

#[derive(Default)]
struct Round {
    grants: BTreeSet<GrantId>,
    refresh_tokens: u64,
}

async fn end_once(db: &Db, now: Timestamp, by: &By, which: LivingGrants) -> Result<Round, DbErr> {
    let mut round = Round::default();
    let mut after = None;
    loop {
        let tx = db.begin().await?;
        // The codes first: one that is being redeemed is waited for, and its grant is found by what follows.
        store::delete_codes(&tx, which).await?;
        let found = store::lock_living(&tx, which, after, CHUNK).await?;
        let ended = store::mark_all_ended(&tx, now, &found).await?;
        let events = ended.iter().map(|grant| {
            Event::new("grant.ended", grant.id)
                .in_organization(grant.organization)
                .with(serde_json::json!({ "reason": "revoked" }))
        });
        audit::record_many(&tx, now, by, events).await?;
        // Of the others no token is left to be killed.
        let subjects: Vec<About> = ended
            .iter()
            .filter(|grant| grant.may_have_a_token(now))
            .map(EndedGrant::about)
            .collect();
        revocation::append_revoked(&tx, now, &subjects).await?;
        tx.commit().await?;
        round.refresh_tokens += ended.iter().filter(|it| it.has_refresh_token).count() as u64;
        round.grants.extend(ended.iter().map(|grant| grant.id));
        after = found.last().copied();
        if (found.len() as u64) < CHUNK {
            return Ok(round);
        }
    }
}

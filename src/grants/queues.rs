//! What every code exchange, every refresh and every revocation asks of the database, asked together: those that come
//! while it is at work go into one statement, or one transaction, right after (group commit).
//!
//! Nobody is answered before the commit of what they took part in. So whoever lost a race to somebody of the same batch
//! finds, at a second look, what the winner left.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use entity::{GrantId, Timestamp};
use portcullis_verifier::key;
use sea_orm::DbErr;

use super::end::end_all;
use super::{Code, Ending, Grant, Standing, store};
use crate::audit::{self, By, Event};
use crate::platform::batch::Batcher;
use crate::platform::db::{Db, in_time};
use crate::status_lists::{self, Entry};

/// The SHA-256 of a code.
pub(super) type Digest = [u8; 32];

/// One step of a refresh token from its generation to the next.
#[derive(Debug)]
pub struct Step {
    pub grant: GrantId,
    pub from_generation: i64,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// What the presented token got, sealed under a key that only it yields.
    pub retry_answer: Vec<u8>,
    /// The place in a status list of the access token that comes with it.
    pub entry: Option<Entry>,
}

/// A code on its way to become a grant.
#[derive(Debug)]
pub struct Redemption {
    digest: Digest,
    grant: Grant,
    now: Timestamp,
    by: By,
    entry: Option<Entry>,
}

impl Redemption {
    /// `entry` is the place in a status list of the grant's first access token.
    #[must_use]
    pub fn of(code: &str, grant: Grant, now: Timestamp, by: &By, entry: Option<Entry>) -> Self {
        Self { digest: key::digest(code), grant, now, by: by.clone(), entry }
    }
}

type Found<T> = Result<Option<Arc<Standing<T>>>, DbErr>;

/// The queues to the grants and codes of one database.
#[derive(Debug)]
pub struct Grants {
    grants: Batcher<GrantId, Found<Grant>>,
    codes: Batcher<Digest, Found<Code>>,
    steps: Batcher<Step, Result<bool, DbErr>>,
    redemptions: Batcher<Redemption, Result<bool, DbErr>>,
    endings: Batcher<Ending, Result<bool, DbErr>>,
}

impl Grants {
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn new(db: &Db) -> Self {
        let (of_grants, of_codes) = (db.clone(), db.clone());
        let (of_steps, of_redemptions, of_endings) = (db.clone(), db.clone(), db.clone());
        Self {
            grants: Batcher::new(move |ids: Vec<GrantId>| {
                let db = of_grants.clone();
                async move {
                    let found = in_time(store::find_standing(db.reader(), &ids)).await;
                    each(&ids, found)
                }
            }),
            codes: Batcher::new(move |digests: Vec<Digest>| {
                let db = of_codes.clone();
                async move {
                    let found = in_time(store::find_standing_of_codes(db.reader(), &digests)).await;
                    each(&digests, found)
                }
            }),
            steps: Batcher::new(move |steps: Vec<Step>| {
                let db = of_steps.clone();
                async move { outcomes(steps.len(), in_time(take(&db, &steps)).await) }
            }),
            redemptions: Batcher::new(move |redemptions: Vec<Redemption>| {
                let db = of_redemptions.clone();
                async move { outcomes(redemptions.len(), in_time(redeem(&db, &redemptions)).await) }
            }),
            endings: Batcher::new(move |endings: Vec<Ending>| {
                let db = of_endings.clone();
                async move { outcomes(endings.len(), in_time(end_all(&db, &endings)).await) }
            }),
        }
    }

    /// The grant and what stands behind it, read after this was called.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, id: GrantId) -> anyhow::Result<Option<Arc<Standing<Grant>>>> {
        Ok(self.grants.ask(id).await??)
    }

    /// The code and what stands behind it, read after this was called.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_code(&self, text: &str) -> anyhow::Result<Option<Arc<Standing<Code>>>> {
        Ok(self.codes.ask(key::digest(text)).await??)
    }

    /// Takes the step if the grant still stands where it starts: true for exactly one caller, ever. It is on the disk,
    /// with the place of the token, by then.
    ///
    /// # Errors
    /// When the database fails; then no step of the batch was taken, unless it failed to tell.
    pub async fn take(&self, step: Step) -> anyhow::Result<bool> {
        Ok(self.steps.ask(step).await??)
    }

    /// Redeems the code: true for exactly one caller, ever. The grant, its event in the audit trail and the place of the
    /// token are on the disk by then; of whoever gets false nothing is.
    ///
    /// # Errors
    /// When the database fails; then no code of the batch was spent, unless it failed to tell.
    pub async fn redeem(&self, redemption: Redemption) -> anyhow::Result<bool> {
        Ok(self.redemptions.ask(redemption).await??)
    }

    /// Ends it; false where there is no such grant, or none any more. The event in the audit trail and the entry in the
    /// log are on the disk by then. Of several who end the same grant one gets true.
    ///
    /// # Errors
    /// When the database fails; then nothing of the batch has ended, unless it failed to tell.
    pub async fn end(&self, ending: Ending) -> anyhow::Result<bool> {
        Ok(self.endings.ask(ending).await??)
    }
}

/// The answer to each question, in their order; a failure is everybody's.
fn each<K: Eq + Hash, T>(
    asked: &[K],
    found: Result<HashMap<K, Result<Arc<T>, DbErr>>, DbErr>,
) -> Vec<Result<Option<Arc<T>>, DbErr>> {
    let found = match found {
        Ok(found) => found,
        Err(error) => return asked.iter().map(|_| Err(error.clone())).collect(),
    };
    asked.iter().map(|key| found.get(key).cloned().transpose()).collect()
}

/// Who won, by their numbers, as the answer to each of the batch.
fn outcomes(count: usize, won: Result<Vec<usize>, DbErr>) -> Vec<Result<bool, DbErr>> {
    match won {
        Ok(won) => {
            let mut answers: Vec<_> = (0..count).map(|_| Ok(false)).collect();
            for at in won {
                answers[at] = Ok(true);
            }
            answers
        }
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

/// Which of the steps were taken, by their numbers.
async fn take(db: &Db, steps: &[Step]) -> Result<Vec<usize>, DbErr> {
    let tried = worth_trying(steps);
    let tried_steps: Vec<&Step> = tried.values().map(|at| &steps[*at]).collect();
    // The tokens' places and the steps belong together. Where there are none, one statement needs no transaction.
    if tried_steps.iter().all(|step| step.entry.is_none()) {
        let taken = store::advance(db.writer(), &tried_steps).await?;
        return Ok(taken.iter().filter_map(|grant| tried.get(grant).copied()).collect());
    }
    let tx = db.begin().await?;
    let taken = store::advance(&tx, &tried_steps).await?;
    let won: Vec<usize> = taken.iter().filter_map(|grant| tried.get(grant).copied()).collect();
    let entries = won.iter().filter_map(|at| steps[*at].entry.as_ref());
    status_lists::record_all(&tx, entries).await?;
    tx.commit().await?;
    Ok(won)
}

/// One step for each grant, of which no two can be taken at once: the first of those that start the furthest on. A
/// generation never goes back, so the others have lost already.
fn worth_trying(steps: &[Step]) -> HashMap<GrantId, usize> {
    let mut tried: HashMap<GrantId, usize> = HashMap::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let best = tried.entry(step.grant).or_insert(at);
        if steps[*best].from_generation < step.from_generation {
            *best = at;
        }
    }
    tried
}

/// Which of the codes were redeemed, by their numbers.
async fn redeem(db: &Db, redemptions: &[Redemption]) -> Result<Vec<usize>, DbErr> {
    let mut first: HashMap<Digest, usize> = HashMap::with_capacity(redemptions.len());
    for (at, redemption) in redemptions.iter().enumerate() {
        first.entry(redemption.digest).or_insert(at);
    }
    let Some(now) = redemptions.iter().map(|redemption| redemption.now).max() else {
        return Ok(Vec::new());
    };
    let tx = db.begin().await?;
    let digests = first.keys().copied().collect();
    let redeemed = store::redeem_codes(&tx, now, digests).await?;
    let won: Vec<usize> = redeemed.iter().filter_map(|digest| first.get(digest).copied()).collect();
    let winners = || won.iter().map(|at| &redemptions[*at]);
    store::insert_all(&tx, winners().map(|it| &it.grant)).await?;
    let events = winners().map(|it| {
        let event = Event::new("grant.created", it.grant.id);
        (it.now, &it.by, event.in_organization(it.grant.organization))
    });
    audit::record_each(&tx, events).await?;
    status_lists::record_all(&tx, winners().filter_map(|it| it.entry.as_ref())).await?;
    tx.commit().await?;
    Ok(won)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(grant: GrantId, from_generation: i64) -> Step {
        let now = Timestamp(0);
        Step { grant, from_generation, now, expires_at: now, retry_answer: Vec::new(), entry: None }
    }

    #[test]
    fn of_the_steps_of_one_grant_the_first_of_the_latest_is_tried() {
        let (one, other) = (GrantId::new(Timestamp(1)), GrantId::new(Timestamp(2)));
        let steps = [step(one, 3), step(other, 1), step(one, 4), step(one, 4), step(one, 2)];
        assert_eq!(worth_trying(&steps), HashMap::from([(one, 2), (other, 1)]));
    }

    #[test]
    fn a_failure_is_everybodys() {
        let failed = outcomes(3, Err(DbErr::Custom("down".to_owned())));
        assert_eq!(failed.len(), 3);
        assert!(failed.iter().all(Result::is_err));
        let found: Vec<Result<Option<Arc<()>>, _>> =
            each(&[1, 2], Err(DbErr::Custom("down".into())));
        assert!(found.len() == 2 && found.iter().all(Result::is_err));
    }

    #[test]
    fn each_gets_its_own_answer() {
        let damaged = || DbErr::Type("damaged".to_owned());
        let found = HashMap::from([(1, Ok(Arc::new("one"))), (2, Err(damaged()))]);
        let answers = each(&[2, 3, 1, 1], Ok(found));
        assert_eq!(answers[0], Err(damaged()));
        assert_eq!(answers[1], Ok(None));
        assert!(answers[2..].iter().all(|it| *it == Ok(Some(Arc::new("one")))));
        assert_eq!(outcomes(3, Ok(vec![1])), [Ok(false), Ok(true), Ok(false)]);
    }
}

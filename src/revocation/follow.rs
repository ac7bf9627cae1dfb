//! The task that keeps this process's set true to the log.
//!
//! Woken by our own commits, by PostgreSQL's notifications, and in any case by the clock: losing a wake-up costs
//! time, never an entry.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sea_orm::DbErr;
use tokio::sync::{Notify, oneshot};

use super::{CatchUpRequests, Logged, Revocations, store};
use crate::platform::clock::Clock;
use crate::platform::db::Db;

/// How often the log is read when nothing wakes us. On SQLite the command line writes without a wake-up.
const POLL_SQLITE: Duration = Duration::from_millis(200);
const POLL_POSTGRES: Duration = Duration::from_secs(1);
const BATCH: u64 = 1000;
/// How often entries that have served their time leave the memory.
const SWEEP: Duration = Duration::from_secs(60);

/// Follows the log for as long as the future is polled. `on_entry` runs for each entry before `catch_up` returns.
pub async fn follow(
    db: Db,
    clock: Clock,
    revocations: Arc<Revocations>,
    mut requests: CatchUpRequests,
    mut on_entry: impl FnMut(&Logged) -> BoxFuture<'static, ()>,
) {
    let woken = Arc::new(Notify::new());
    let listener = listen(db.clone(), woken.clone());
    tokio::pin!(listener);
    let poll = if db.is_postgres() { POLL_POSTGRES } else { POLL_SQLITE };
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    let mut swept = clock.now();
    loop {
        // Whoever asked before the reading began is served by it; later ones wait for the next.
        while let Ok(request) = requests.0.try_recv() {
            waiting.push(request);
        }
        match read_new(&db, &revocations, &mut on_entry).await {
            Ok(()) => {
                revocations.note_read();
                if clock.now().since(swept) >= SWEEP {
                    swept = clock.now();
                    revocations.set.remove_expired(swept.unix_seconds());
                }
                for done in waiting.drain(..) {
                    // An error says that the asker has given up.
                    let _ = done.send(());
                }
            }
            Err(error) => {
                tracing::error!(%error, "the revocation log can't be read");
                tokio::time::sleep(POLL_SQLITE).await;
                continue;
            }
        }
        tokio::select! {
            request = requests.0.recv() => match request {
                Some(request) => waiting.push(request),
                None => return,
            },
            () = woken.notified() => {}
            () = tokio::time::sleep(poll) => {}
            () = &mut listener => {}
        }
    }
}

async fn read_new(
    db: &Db,
    revocations: &Revocations,
    on_entry: &mut impl FnMut(&Logged) -> BoxFuture<'static, ()>,
) -> Result<(), DbErr> {
    loop {
        let entries = store::list_after(db.reader(), revocations.applied(), BATCH).await?;
        let is_last = (entries.len() as u64) < BATCH;
        for entry in entries {
            on_entry(&entry).await;
            revocations.apply(&entry);
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Passes PostgreSQL's notifications on; never returns. On SQLite there are none.
async fn listen(db: Db, woken: Arc<Notify>) {
    while db.is_postgres() {
        if let Ok(mut listener) = db.listen(store::CHANNEL).await {
            while listener.hear().await.is_ok() {
                woken.notify_one();
            }
        }
        // The connection broke; polling serves until it is back.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    std::future::pending().await
}

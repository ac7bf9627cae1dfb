//! The task that keeps this process's set true to the log.
//!
//! Woken by our own commits, by PostgreSQL's notifications, and in any case by the clock: losing a wake-up costs
//! time, never an entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use sea_orm::DbErr;
use tokio::sync::{Notify, oneshot};

use super::{CatchUpRequests, Logged, Revocations, store};
use crate::platform::clock::Clock;
use crate::platform::db::Db;

/// How often the log is read while nobody would wake us: on SQLite, where the command line writes without a word, and
/// on PostgreSQL while nothing listens.
const POLL: Duration = Duration::from_millis(200);
/// How often it is read while PostgreSQL's notifications are heard.
const POLL_LISTENING: Duration = Duration::from_secs(1);
/// How long until PostgreSQL is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_millis(100);
const LISTEN_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(1);
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
    let is_listening = Arc::new(AtomicBool::new(false));
    let listener = listen(db.clone(), woken.clone(), is_listening.clone());
    tokio::pin!(listener);
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
                tokio::time::sleep(POLL).await;
                continue;
            }
        }
        let poll = if is_listening.load(Ordering::Relaxed) { POLL_LISTENING } else { POLL };
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
async fn listen(db: Db, woken: Arc<Notify>, is_listening: Arc<AtomicBool>) {
    while db.is_postgres() {
        let Ok(mut listener) = db.listen(store::CHANNEL).await else {
            tokio::time::sleep(LISTEN_AGAIN_AFTER_FAILURE).await;
            continue;
        };
        is_listening.store(true, Ordering::Relaxed);
        // For what was committed while nobody listened.
        woken.notify_one();
        while listener.hear().await.is_ok() {
            woken.notify_one();
        }
        is_listening.store(false, Ordering::Relaxed);
        // The wait for the next poll was meant for somebody who is woken.
        woken.notify_one();
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
    std::future::pending().await
}

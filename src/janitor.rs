//! Periodic work: what has served its time is removed. Every task is safe to run in several processes at once.

use std::time::Duration;

use entity::Timestamp;

use crate::app::App;
use crate::{
    alerts, api_keys, audit, grants, idempotency, identity, revocation, signing, status_lists,
};

const EVERY: Duration = Duration::from_secs(60);

/// Works until the server stops.
pub async fn run(app: App) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            _ = interval.tick() => sweep(&app).await,
        }
    }
}

/// One round of everything. A task that fails is logged and comes up again in the next round.
pub async fn sweep(app: &App) {
    let now = app.clock.now();
    app.limits.forget_the_quiet();
    app.key_limits.forget_the_quiet();
    // The log tells of new keys at once; this is for when reading them failed then.
    report("stale signing keys", app.signer.reload(&app.db).await.map(|()| 0));
    report("expired authorization codes", grants::delete_expired_codes(app.db.writer(), now).await);
    report("refresh retry answers", grants::clear_retry_answers(app.db.writer(), now).await);
    report("expired sessions", identity::delete_expired(app.db.writer(), now).await);
    report("expired revocations", in_transaction(app, now, Task::TrimRevocations).await);
    report("expired statuses", status_lists::remove_expired(app.db.writer(), now).await);
    report("old idempotent answers", idempotency::forget_old(app.db.writer(), now).await);
    report("old audit events", audit::remove_old(&app.db, now, &app.config.audit).await);
    report("delivered alerts", alerts::forget_old(app.db.writer(), now).await);
    report("retired signing keys", in_transaction(app, now, Task::RetireSigningKeys).await);
    tell(app, now).await;
}

/// What owners are told of their keys.
async fn tell(app: &App, now: Timestamp) {
    let told = [
        ("keys that expire soon", api_keys::tell_of_expiry(&app.db, &app.alerts, now).await),
        ("keys that nobody uses", api_keys::tell_of_disuse(&app.db, &app.alerts, now).await),
    ];
    for (what, result) in told {
        match result {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "told of {what}"),
            Err(error) => tracing::error!(%error, "could not tell of {what}"),
        }
    }
}

#[derive(Clone, Copy)]
enum Task {
    TrimRevocations,
    RetireSigningKeys,
}

async fn in_transaction(app: &App, now: Timestamp, task: Task) -> Result<u64, sea_orm::DbErr> {
    let tx = app.db.begin().await?;
    let count = match task {
        Task::TrimRevocations => revocation::trim(&tx, now).await?,
        Task::RetireSigningKeys => signing::retire_expired(&tx, now).await?,
    };
    tx.commit().await?;
    Ok(count)
}

fn report<E: std::fmt::Display>(what: &str, result: Result<u64, E>) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "removed {what}"),
        Err(error) => tracing::error!(%error, "could not remove {what}"),
    }
}

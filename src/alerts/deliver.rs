//! The task that delivers. It is woken by our own commits, and in any case by the clock: losing a wake-up costs a
//! second, never an alert.

use std::time::Duration;

use anyhow::{Context as _, Result};
use entity::Timestamp;
use futures::StreamExt as _;
use sea_orm::DbErr;
use tokio::sync::Notify;

use super::letter::letter;
use super::{Alerts, Channel, Queued, store};
use crate::identity;
use crate::platform::clock::Clock;
use crate::platform::db::Db;

/// How often the alerts are looked at when nothing wakes us: another process may have raised one.
const POLL: Duration = Duration::from_secs(1);
const BATCH: u64 = 100;
/// How many are on their way at once, so that a slow recipient keeps few others waiting.
const AT_ONCE: usize = 16;
/// How long to wait after each attempt that failed; after the last one an alert is given up.
const WAITS: [Duration; 7] = [
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(3 * 60 * 60),
];

/// Delivers for as long as the future is polled.
pub async fn deliver(db: Db, clock: Clock, alerts: Alerts) {
    let ways = &alerts.0;
    let mail = follow(&db, &clock, &alerts, Channel::Mail, &ways.mail_woken);
    let webhook = follow(&db, &clock, &alerts, Channel::Webhook, &ways.webhook_woken);
    tokio::join!(mail, webhook);
}

async fn follow(db: &Db, clock: &Clock, alerts: &Alerts, channel: Channel, woken: &Notify) {
    let is_configured = match channel {
        Channel::Mail => alerts.0.mailer.is_some(),
        Channel::Webhook => alerts.0.webhook.is_some(),
    };
    if !is_configured {
        return;
    }
    loop {
        match round(db, clock, alerts, channel).await {
            Ok(BATCH) => continue,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the alerts can't be read"),
        }
        tokio::select! {
            () = woken.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Tries everything that is due; says how many there were.
async fn round(db: &Db, clock: &Clock, alerts: &Alerts, channel: Channel) -> Result<u64, DbErr> {
    let due = store::list_due(db.reader(), channel, clock.now(), BATCH).await?;
    let count = due.len() as u64;
    futures::stream::iter(due)
        .for_each_concurrent(AT_ONCE, async |queued| {
            let (id, kind) = (queued.id, queued.kind);
            if let Err(error) = attempt(db, clock.now(), alerts, channel, queued).await {
                tracing::error!(%error, alert = %id, %kind, "the state of an alert can't be written");
            }
        })
        .await;
    Ok(count)
}

async fn attempt(
    db: &Db,
    now: Timestamp,
    alerts: &Alerts,
    channel: Channel,
    queued: Queued,
) -> Result<(), DbErr> {
    let wait = usize::try_from(queued.attempts).ok().and_then(|attempt| WAITS.get(attempt));
    let next = now + wait.copied().unwrap_or(WAITS[0]);
    if !store::claim(db.writer(), &queued, next).await? {
        return Ok(());
    }
    let sent = match channel {
        Channel::Mail => mail(db, alerts, &queued).await,
        Channel::Webhook => post(now, alerts, &queued).await,
    };
    let (id, kind, way) = (queued.id, queued.kind, channel.as_str());
    match sent {
        Ok(()) => store::mark_done(db.writer(), id, now).await,
        Err(error) if wait.is_some() => {
            let error = format!("{error:#}");
            tracing::warn!(error, alert = %id, %kind, way, "an alert was not taken; it is tried again");
            Ok(())
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, alert = %id, %kind, way, "an alert was given up");
            store::mark_done(db.writer(), id, now).await
        }
    }
}

async fn mail(db: &Db, alerts: &Alerts, queued: &Queued) -> Result<()> {
    let mailer = alerts.0.mailer.as_ref().context("no mail server is configured")?;
    let Some(recipient) = queued.recipient else { return Ok(()) };
    // The address of today; somebody who was suspended or erased meanwhile is told nothing.
    let user = identity::find_user(db.reader(), recipient).await?;
    let Some(user) = user.filter(|user| user.suspended_at.is_none()) else { return Ok(()) };
    let letter = letter(queued.kind, &queued.body, &alerts.0.host);
    mailer.send(&user.email, &letter.subject, &letter.text).await
}

async fn post(now: Timestamp, alerts: &Alerts, queued: &Queued) -> Result<()> {
    alerts.0.webhook.as_ref().context("no webhook is configured")?.post(now, queued).await
}

//! The task that ends what was reported. A report is worked on at least once; what it ends is ended once.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entity::Timestamp;
use sea_orm::{DatabaseTransaction, DbErr};
use serde_json::{Map, Value, json};

use super::store::{self, Waiting};
use super::{ReportedToken, Reports};
use crate::alerts::{Alert, AlertKind, Alerts};
use crate::api_keys::{self, Leak, Remedy};
use crate::audit::{self, Actor, By, Event};
use crate::platform::clock::Clock;
use crate::platform::db::Db;
use crate::revocation::{self, About, Revocations, Subject};
use crate::tenancy::LeakPolicy;
use crate::{clients, grants, resource_servers};

/// How often we look when nothing wakes us: another process may have taken a report and ended.
const POLL: Duration = Duration::from_secs(1);
const BATCH: u64 = 20;
/// How many credentials are ended in one transaction, so that other writers don't wait for long.
const CHUNK: usize = 50;
/// After how long a report that somebody began, and did not end, is begun anew.
const LEASE: Duration = Duration::from_secs(60);
/// Who reports by possession is told nothing of what became of it.
const POSSESSION: &str = "possession";

/// Works for as long as the future is polled.
pub async fn work(
    db: &Db,
    clock: &Clock,
    reports: &Reports,
    alerts: &Alerts,
    revocations: &Revocations,
) {
    loop {
        match round(db, clock.now(), alerts, revocations).await {
            Ok(BATCH) => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "the reports of leaked credentials can't be read")
            }
        }
        tokio::select! {
            () = reports.0.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Works on what is due; says how many reports there were.
async fn round(
    db: &Db,
    now: Timestamp,
    alerts: &Alerts,
    revocations: &Revocations,
) -> Result<u64, DbErr> {
    let due = store::list_due(db.reader(), now, BATCH).await?;
    for report in &due {
        if !store::claim(db.writer(), report, now + LEASE).await? {
            continue;
        }
        match end(db, now, alerts, report).await {
            Ok(has_changed) => {
                store::delete(db.writer(), report.id).await?;
                if has_changed {
                    alerts.wake();
                    revocations.catch_up().await;
                }
            }
            Err(error) => {
                let (id, attempts) = (report.id, report.attempts);
                tracing::error!(%error, report = %id, attempts, "a report could not be worked on");
            }
        }
    }
    Ok(due.len() as u64)
}

/// Ends everything that the report names; says whether there was anything to end.
async fn end(db: &Db, now: Timestamp, alerts: &Alerts, report: &Waiting) -> Result<bool, DbErr> {
    let reported = report.reported()?;
    let by = report.source.clone().by(Actor::Anonymous);
    let ending = Ending { alerts, now, by: &by };
    let digests: Vec<[u8; 32]> = reported
        .digests
        .iter()
        .filter_map(|text| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok())
        .collect();
    let mut has_changed = false;
    for digests in digests.chunks(CHUNK) {
        let tx = db.begin().await?;
        let log = ending.secrets(&tx, digests).await?;
        has_changed |= log.commit(tx, now).await?;
    }
    for grants in reported.grants.chunks(CHUNK) {
        let tx = db.begin().await?;
        let mut log = Log::default();
        for grant in grants {
            ending.grant(&tx, *grant, &mut log).await?;
        }
        has_changed |= log.commit(tx, now).await?;
    }
    for tokens in reported.access_tokens.chunks(CHUNK) {
        let tx = db.begin().await?;
        let mut log = Log::default();
        for token in tokens {
            ending.access_token(&tx, token, &mut log).await?;
        }
        has_changed |= log.commit(tx, now).await?;
    }
    Ok(has_changed)
}

/// What is to be appended to the log at the end of a transaction.
#[derive(Default)]
pub(super) struct Log {
    pub revoked: Vec<About>,
    pub changed: Vec<About>,
    pub narrowed: Vec<About>,
    /// Whether something else was written: an alert, perhaps.
    pub has_told: bool,
}

impl Log {
    /// Appends and commits; says whether there was anything to commit.
    pub(super) async fn commit(
        self,
        tx: DatabaseTransaction,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let has_entries =
            [&self.revoked, &self.changed, &self.narrowed].iter().any(|it| !it.is_empty());
        if !self.revoked.is_empty() {
            revocation::append_revoked(&tx, now, &self.revoked).await?;
        }
        if !self.changed.is_empty() {
            revocation::append_changed(&tx, now, &self.changed).await?;
        }
        if !self.narrowed.is_empty() {
            revocation::append_narrowed(&tx, now, &self.narrowed).await?;
        }
        if has_entries || self.has_told {
            tx.commit().await?;
        }
        Ok(has_entries || self.has_told)
    }
}

struct Ending<'a> {
    alerts: &'a Alerts,
    now: Timestamp,
    by: &'a By,
}

impl Ending<'_> {
    /// What has the form of an API key may be one, a client's secret, or a resource server's credential.
    async fn secrets(&self, tx: &DatabaseTransaction, digests: &[[u8; 32]]) -> Result<Log, DbErr> {
        let (now, by) = (self.now, self.by);
        let mut log = Log::default();
        let leak = Leak { reported_by: POSSESSION, url: "", source: "", place: [0; 32] };
        let mut others = digests.to_vec();
        for (digest, key) in api_keys::find_leaked(tx, digests, now).await? {
            others.retain(|other| *other != digest);
            let policy = LeakPolicy::Revoke;
            let remedy = api_keys::end_leaked(tx, self.alerts, now, by, &key, policy, leak).await?;
            log.has_told |= key.is_decoy;
            if remedy == Remedy::Revoked {
                log.revoked.push(Subject::ApiKey(key.id).of(key.organization));
            }
        }
        for leaked in clients::end_leaked_secrets(tx, now, by, &others).await? {
            log.changed.push(Subject::Client(leaked.client).of(leaked.organization));
            let alert = Alert {
                kind: AlertKind::ClientSecretLeaked,
                organization: Some(leaked.organization),
                owner: None,
                target: leaked.client.to_string(),
                name: leaked.name,
                hint: None,
                detail: by_possession([("secret", leaked.secret.to_string().into())]),
            };
            self.alerts.raise(tx, now, by, alert).await?;
        }
        for digest in others {
            let leaked = resource_servers::end_leaked_credential(tx, now, by, digest).await?;
            let Some(leaked) = leaked else { continue };
            log.changed.push(About::resource_server(leaked.resource_server));
            let alert = Alert {
                kind: AlertKind::ResourceServerCredentialLeaked,
                organization: leaked.organization,
                owner: None,
                target: leaked.resource_server.to_string(),
                name: leaked.name,
                hint: None,
                detail: by_possession([]),
            };
            self.alerts.raise(tx, now, by, alert).await?;
        }
        Ok(log)
    }

    async fn grant(
        &self,
        tx: &DatabaseTransaction,
        id: entity::GrantId,
        log: &mut Log,
    ) -> Result<(), DbErr> {
        let Some(grant) = grants::end_leaked(tx, self.now, self.by, id).await? else {
            return Ok(());
        };
        log.revoked.push(Subject::Grant(id).at(grant.organization, grant.resource_server));
        let alert = Alert {
            kind: AlertKind::GrantLeaked,
            organization: Some(grant.organization),
            owner: grant.user,
            target: id.to_string(),
            name: clients::find_name(tx, grant.client).await?.unwrap_or_default(),
            hint: None,
            detail: by_possession([("client", grant.client.to_string().into())]),
        };
        self.alerts.raise(tx, self.now, self.by, alert).await
    }

    async fn access_token(
        &self,
        tx: &DatabaseTransaction,
        reported: &ReportedToken,
        log: &mut Log,
    ) -> Result<(), DbErr> {
        let mut event =
            Event::new("access_token.revoked", reported.token).with(json!({ "reason": "leaked" }));
        event.organization = reported.organization;
        audit::record(tx, self.now, self.by, event).await?;
        log.revoked.push(About::token(reported.token, reported.organization, None));
        let name = match reported.client {
            Some(client) => clients::find_name(tx, client).await?,
            None => None,
        };
        let alert = Alert {
            kind: AlertKind::AccessTokenLeaked,
            organization: reported.organization,
            owner: reported.user,
            target: reported.token.to_string(),
            name: name.unwrap_or_default(),
            hint: None,
            detail: by_possession([("client", json!(reported.client))]),
        };
        self.alerts.raise(tx, self.now, self.by, alert).await
    }
}

fn by_possession<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let mut detail = Map::new();
    detail.insert("reported_by".to_owned(), POSSESSION.into());
    detail.extend(members.map(|(name, value)| (name.to_owned(), value)));
    detail
}

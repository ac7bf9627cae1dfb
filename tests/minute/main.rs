//! A minute in the life of an installation: three processes over one PostgreSQL, two APIs that check what is sent to
//! them, credentials that are made and revoked all the time, and processes and connections that die.
//!
//! No credential is accepted later than a second after its revocation was answered, and no good one is refused.
//!
//! A test binary of its own, since it measures time: nothing else runs beside it.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "../it/harness/services.rs"]
#[expect(dead_code, reason = "Redis isn't wanted here")]
mod services;

mod installation;
mod ledger;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_verifier::{RequestContext, Verifier};

use installation::{AUDIENCES, Installation};
use ledger::{Credential, Kind, Ledger};

const FOR: Duration = Duration::from_secs(60);
/// What was promised.
const WITHIN: Duration = Duration::from_secs(1);
/// How many credentials live at any time, more or less.
const ALIVE: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_refused_within_a_second_and_nothing_else_is() {
    let Some(installation) = Installation::open().await else { return };
    let installation = Arc::new(installation);
    let mut apis = Vec::new();
    for audience in AUDIENCES {
        let verifier = Verifier::discover(installation.issuer())
            .audience(audience)
            .credential(installation.credential(audience).to_owned())
            .build()
            .await
            .unwrap();
        apis.push(Api { audience, verifier });
    }
    let apis: Arc<[Api]> = apis.into();
    let ledger = Arc::new(Ledger::default());
    let over = Arc::new(AtomicBool::new(false));
    let (checks, trouble) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));

    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(tokio::spawn(make(installation.clone(), ledger.clone(), over.clone())));
        tasks.push(tokio::spawn(check(apis.clone(), ledger.clone(), over.clone(), checks.clone())));
    }
    tasks.push(tokio::spawn(recheck(apis.clone(), ledger.clone(), over.clone())));
    tasks.push(tokio::spawn(revoke(installation.clone(), ledger.clone(), over.clone())));
    tasks.push(tokio::spawn(trouble_them(installation.clone(), over.clone(), trouble.clone())));
    tokio::time::sleep(FOR).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }

    let report = ledger.report();
    eprintln!(
        "{} credentials made, {} revoked, {} checks, {} times something died; from the answer to the last acceptance: {}",
        report.made,
        report.revoked,
        checks.load(Ordering::Relaxed),
        trouble.load(Ordering::Relaxed),
        report.delays,
    );
    assert!(report.wrongs.is_empty(), "{} wrongs: {:#?}", report.wrongs.len(), report.wrongs);
    // A minute in which nothing happened would prove nothing.
    assert!(report.revoked > 200 && report.made > 300, "too little has happened");
    assert!(trouble.load(Ordering::Relaxed) >= 10, "too little has died");
}

/// One that accepts credentials.
struct Api {
    audience: &'static str,
    verifier: Verifier,
}

impl Api {
    async fn accepts(&self, credential: &Credential) -> Result<(), String> {
        let header = format!("Bearer {}", credential.text);
        let verified = self.verifier.verify(Some(&header), &RequestContext::default()).await;
        verified.map(|_| ()).map_err(|rejection| rejection.to_string())
    }
}

/// Keeps credentials coming: keys, tokens of an application for itself, and tokens that keys were exchanged for.
async fn make(installation: Arc<Installation>, ledger: Arc<Ledger>, over: Arc<AtomicBool>) {
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        if ledger.alive() >= ALIVE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        turn += 1;
        let audience = AUDIENCES[turn % AUDIENCES.len()];
        match turn % 3 {
            0 => {
                let Some((id, secret)) = installation.makes_a_key().await else { continue };
                let key = ledger.enters(Kind::ApiKey, secret.clone(), id.clone(), None);
                if let Some(token) = installation.exchanges(&secret, audience).await {
                    ledger.descends(&key, token, Some(audience));
                }
            }
            1 => {
                let Some((id, secret)) = installation.makes_a_key().await else { continue };
                ledger.enters(Kind::ApiKey, secret, id, None);
            }
            _ => {
                let Some(token) = installation.issues(audience).await else { continue };
                ledger.enters(Kind::AccessToken, token.clone(), token, Some(audience));
            }
        }
    }
}

/// Uses whatever there is at either API, and holds the answer against the ledger.
async fn check(
    apis: Arc<[Api]>,
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
    checks: Arc<AtomicU64>,
) {
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (Some(credential), Some(api)) = (ledger.any(), apis.get(random(apis.len()))) else {
            continue;
        };
        if credential.is_for(api.audience) {
            uses(api, &credential, &ledger).await;
            checks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Uses what was revoked just now again and again, so that the moment of its refusal is known well.
async fn recheck(apis: Arc<[Api]>, ledger: Arc<Ledger>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        for credential in ledger.revoked_lately() {
            for api in apis.iter().filter(|api| credential.is_for(api.audience)) {
                uses(api, &credential, &ledger).await;
            }
        }
    }
}

async fn uses(api: &Api, credential: &Credential, ledger: &Ledger) {
    let (before, began) = (credential.state(), Instant::now());
    let accepted = api.accepts(credential).await;
    ledger.judges(api.audience, credential, before, began, &accepted);
}

/// Revokes at random what lives, through whichever process the balancer chooses.
async fn revoke(installation: Arc<Installation>, ledger: Arc<Ledger>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random(100) as u64)).await;
        let Some(family) = ledger.begins_to_end() else { continue };
        // Where a process died over it nobody knows what has happened, and so it is asked for again.
        while !installation.revokes(family.kind, &family.id).await {
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
        ledger.has_ended(&family);
    }
}

/// Kills a process, a listening database session, or all connections of the moment.
async fn trouble_them(
    installation: Arc<Installation>,
    over: Arc<AtomicBool>,
    trouble: Arc<AtomicU64>,
) {
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(2000 + random(2000) as u64)).await;
        turn += 1;
        match turn % 3 {
            0 => installation.cuts_connections(),
            1 => installation.kills_listeners().await,
            _ => installation.kills_a_process().await,
        }
        trouble.fetch_add(1, Ordering::Relaxed);
    }
}

/// A number below `end`.
fn random(end: usize) -> usize {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    (u64::from_le_bytes(bytes) % end as u64) as usize
}

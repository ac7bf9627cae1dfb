use aws_lc_rs::digest::{SHA256, digest};
use entity::Timestamp;
use portcullis_verifier::key;
use sea_orm::{DatabaseTransaction, DbErr};

use super::work::Log;
use crate::alerts::Alerts;
use crate::api_keys::{self, ApiKey, Leak, Remedy};
use crate::audit::By;
use crate::platform::db::Db;
use crate::revocation::Subject;
use crate::tenancy;

/// How many findings share a look-up and a transaction.
const CHUNK: usize = 100;
/// What is kept of other people's texts, in characters.
const MAX_URL: usize = 2000;
const MAX_SOURCE: usize = 50;

/// Something that GitHub found.
pub struct Finding<'a> {
    pub token: &'a str,
    pub url: &'a str,
    /// Such as `content` or `commit`; there may be ones that we have never heard of.
    pub source: &'a str,
}

/// Whether a finding is a credential of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    TruePositive,
    FalsePositive,
}

/// What a finding was, by the SHA-256 of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled {
    pub digest: [u8; 32],
    pub label: Label,
}

/// Does with each API key that was found what its organization wants, and tells its owner; says of each finding, in
/// their order, whether it is one of ours. To hear of a finding again changes nothing.
///
/// # Errors
/// When the database fails; what was committed before stays so.
pub async fn end_found(
    db: &Db,
    alerts: &Alerts,
    now: Timestamp,
    by: &By,
    findings: &[Finding<'_>],
) -> Result<(Vec<Labelled>, bool), DbErr> {
    let mut labelled = Vec::with_capacity(findings.len());
    let mut has_changed = false;
    for findings in findings.chunks(CHUNK) {
        let digests: Vec<[u8; 32]> =
            findings.iter().map(|finding| key::digest(finding.token)).collect();
        // Garbage dies at its checksum.
        let plausible: Vec<[u8; 32]> = findings
            .iter()
            .zip(&digests)
            .filter(|(finding, _)| key::has_valid_checksum(finding.token))
            .map(|(_, digest)| *digest)
            .collect();
        let found = api_keys::find_leaked(db.reader(), &plausible, now).await?;
        if !found.is_empty() {
            let tx = db.begin().await?;
            let mut log = Log::default();
            // In the order of the keys' ids: two reports at once don't wait for each other crosswise.
            for (known, key) in &found {
                let of_it = findings.iter().zip(&digests).filter(|(_, digest)| *digest == known);
                for (finding, _) in of_it {
                    end(&tx, alerts, now, by, key, finding, &mut log).await?;
                }
            }
            has_changed |= log.commit(tx, now).await?;
        }
        labelled.extend(digests.into_iter().map(|digest| {
            let is_ours = found.iter().any(|(known, _)| *known == digest);
            let label = if is_ours { Label::TruePositive } else { Label::FalsePositive };
            Labelled { digest, label }
        }));
    }
    Ok((labelled, has_changed))
}

async fn end(
    tx: &DatabaseTransaction,
    alerts: &Alerts,
    now: Timestamp,
    by: &By,
    key: &ApiKey,
    finding: &Finding<'_>,
    log: &mut Log,
) -> Result<(), DbErr> {
    let url: String = finding.url.chars().take(MAX_URL).collect();
    let source: String = finding.source.to_lowercase().chars().take(MAX_SOURCE).collect();
    let mut place = [0; 32];
    place.copy_from_slice(digest(&SHA256, url.as_bytes()).as_ref());
    let leak = Leak { reported_by: "github", url: &url, source: &source, place };
    let policy = tenancy::find_leak_policy(tx, key.organization).await?;
    log.has_told = true;
    match api_keys::end_leaked(tx, alerts, now, by, key, policy, leak).await? {
        Remedy::Nothing => {}
        Remedy::Narrowed => log.narrowed.push(Subject::ApiKey(key.id).of(key.organization)),
        Remedy::Revoked => log.revoked.push(Subject::ApiKey(key.id).of(key.organization)),
    }
    Ok(())
}

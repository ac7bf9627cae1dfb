//! Revoking many keys at a time: by who made them, by project, by label, and those that nobody uses.

use std::time::Duration;

use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::labels::{check_label_name, check_label_value};
use super::revoke::{checked_reason, revoked_event};
use super::store::{self, Matching};
use crate::audit::{self, By};
use crate::platform::db::Db;
use crate::platform::{FieldError, Refused};
use crate::revocation::{self, About, Subject};

const DAY: u64 = 24 * 60 * 60;
/// As many keys one call revokes.
const MOST_KEYS: u64 = 10_000;
/// As many end in one transaction where there is no telling how many there are.
const CHUNK: u64 = 500;
const MOST_DAYS: u32 = 3650;

/// Which keys: all that is said must hold, and something must be said.
#[derive(Debug, Clone, Copy)]
pub struct Criteria<'a> {
    pub organization: OrganizationId,
    /// The project that whoever asks is confined to. That is not their wish, and so it does not count as said.
    pub confined_to: Option<ProjectId>,
    pub created_by: Option<UserId>,
    pub project: Option<ProjectId>,
    /// A label's name, and perhaps its value.
    pub label: Option<(&'a str, Option<&'a str>)>,
    /// For so many days nobody used them, and they have been here for as long.
    pub unused_days: Option<u32>,
}

/// What was revoked, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedMany {
    /// Oldest first.
    pub keys: Vec<ApiKeyId>,
    /// Whether there are more of the kind than one call revokes.
    pub has_more: bool,
}

/// Says which keys a call would revoke now, and revokes none.
///
/// # Errors
/// When the criteria are wrong or the database fails.
pub async fn would_revoke(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    criteria: Criteria<'_>,
    reason: Option<&str>,
) -> Result<RevokedMany, Refused> {
    checked_reason(reason)?;
    let Some(which) = criteria.checked(now)? else { return Ok(RevokedMany::none()) };
    let mut keys = store::list_matching(connection, which, MOST_KEYS + 1).await?;
    let has_more = keys.len() as u64 > MOST_KEYS;
    keys.truncate(usize::try_from(MOST_KEYS).unwrap_or(usize::MAX));
    Ok(RevokedMany { keys, has_more })
}

/// Revokes all keys that fit, up to 10,000, at once and for good: those made first if there are more.
///
/// # Errors
/// When the criteria are wrong or the database fails.
pub async fn revoke_many(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    criteria: Criteria<'_>,
    reason: Option<&str>,
) -> Result<RevokedMany, Refused> {
    let reason = checked_reason(reason)?;
    let Some(which) = criteria.checked(now)? else { return Ok(RevokedMany::none()) };
    let keys = store::mark_matching_revoked(tx, now, which, reason, MOST_KEYS).await?;
    let has_more = !store::list_matching(tx, which, 1).await?.is_empty();
    let events = keys.iter().map(|key| revoked_event(criteria.organization, *key, reason));
    audit::record_many(tx, now, by, events).await?;
    let of = criteria.organization;
    let subjects: Vec<About> = keys.iter().map(|key| Subject::ApiKey(*key).of(of)).collect();
    revocation::append_revoked(tx, now, &subjects).await?;
    Ok(RevokedMany { keys, has_more })
}

fn all_but(organization: OrganizationId, except: Option<ApiKeyId>) -> Matching<'static> {
    Matching {
        organization,
        created_by: None,
        project: None,
        label: None,
        unused_since: None,
        except,
    }
}

/// How many keys of the organization live beside that one; decoys don't count.
///
/// # Errors
/// When the database fails.
pub async fn count_all_but(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    except: Option<ApiKeyId>,
) -> Result<u64, DbErr> {
    store::count_matching(connection, all_but(organization, except)).await
}

/// Revokes every key of the organization but that one and decoys; says how many. What was revoked stays so if it fails
/// halfway.
///
/// # Errors
/// When the database fails.
pub async fn revoke_all_but(
    db: &Db,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    except: Option<ApiKeyId>,
) -> Result<u64, DbErr> {
    let which = all_but(organization, except);
    let mut revoked = 0;
    loop {
        let tx = db.begin().await?;
        let keys = store::mark_matching_revoked(&tx, now, which, None, CHUNK).await?;
        let events = keys.iter().map(|key| revoked_event(organization, *key, None));
        audit::record_many(&tx, now, by, events).await?;
        let subjects: Vec<About> =
            keys.iter().map(|key| Subject::ApiKey(*key).of(organization)).collect();
        revocation::append_revoked(&tx, now, &subjects).await?;
        tx.commit().await?;
        revoked += keys.len() as u64;
        if keys.is_empty() {
            return Ok(revoked);
        }
    }
}

impl RevokedMany {
    fn none() -> Self {
        Self { keys: Vec::new(), has_more: false }
    }
}

impl<'a> Criteria<'a> {
    /// What to look for; none where nothing can be meant: another project than that of whoever asks.
    fn checked(self, now: Timestamp) -> Result<Option<Matching<'a>>, Refused> {
        let mut errors = Vec::new();
        let is_said = self.created_by.is_some()
            || self.project.is_some()
            || self.label.is_some()
            || self.unused_days.is_some();
        if !is_said {
            let message = "must name created_by, project, label or unused_days: which keys?";
            errors.push(FieldError::new("body", message));
        }
        if let Some((name, value)) = self.label {
            check_label_name("label.name", name, &mut errors);
            check_label_value("label.value", value.unwrap_or_default(), &mut errors);
        }
        if self.unused_days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
            errors.push(FieldError::new("unused_days", format!("must be from 1 to {MOST_DAYS}")));
        }
        if !errors.is_empty() {
            return Err(Refused::Invalid(errors));
        }
        if self.confined_to.is_some() && self.project.is_some() && self.confined_to != self.project
        {
            return Ok(None);
        }
        let ago = |days| now - Duration::from_secs(u64::from(days) * DAY);
        Ok(Some(Matching {
            organization: self.organization,
            created_by: self.created_by,
            project: self.confined_to.or(self.project),
            label: self.label,
            unused_since: self.unused_days.map(ago),
            except: None,
        }))
    }
}

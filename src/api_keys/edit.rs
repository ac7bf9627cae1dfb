//! Editing a key, and telling beforehand what an edit would take away from whoever uses it.

use std::time::Duration;

use entity::{ApiKeyId, OrganizationId, Timestamp};
use portcullis_verifier::network::Network;
use portcullis_verifier::{Scope, ScopeSet};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::labels::check_labels;
use super::networks::Extent;
use super::scopes::ScopeCheck;
use super::{AllowedNetworks, ApiKey, Labels, Status, store};
use crate::audit::{self, By, Event};
use crate::platform::{
    FieldError, Refused, check_requests_per_minute, checked_description, checked_name,
};
use crate::resource_servers::ResourceServer;
use crate::revocation::{self, Subject};

/// How far an edit looks back for what was used.
const LOOKS_BACK: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// As many scopes and networks of a key are looked at, those used latest first.
const MOST_USES: u64 = 200;

/// What to change of a key; what is none stays, and some none takes away. A key stays in its project.
pub struct ApiKeyChanges<'a> {
    pub name: Option<&'a str>,
    pub description: Option<&'a str>,
    /// All of them.
    pub labels: Option<Labels>,
    /// All of them.
    pub scopes: Option<&'a [String]>,
    /// Networks in CIDR notation; some none for anywhere.
    pub allowed_ips: Option<Option<&'a [String]>>,
    pub requests_per_minute: Option<Option<u32>>,
    pub expires_at: Option<Option<Timestamp>>,
    /// What whoever changes it may do.
    pub reach: &'a ScopeSet,
    /// The APIs whose scopes the organization can put on a key.
    pub offered: &'a [ResourceServer],
}

/// A key as an edit leaves it, and what that takes away.
#[derive(Debug, Clone)]
pub struct Edited {
    pub key: ApiKey,
    /// Scopes that calls with it required in the last 30 days, and that it covers no more.
    pub lost_scopes: Vec<ScopeUse>,
    /// Networks from which it was used, and that are not allowed any more.
    pub lost_networks: Vec<LostNetwork>,
    /// Sentences for whoever edits.
    pub warnings: Vec<String>,
}

/// A scope that a call required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeUse {
    pub scope: Scope,
    pub last_used_at: Timestamp,
}

/// A network from which a key was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostNetwork {
    pub network: Network,
    pub extent: Extent,
}

/// Says what the edit would do, and does nothing.
///
/// # Errors
/// As `edit`.
pub async fn try_edit(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    organization: OrganizationId,
    id: ApiKeyId,
    expected: Option<i32>,
    changes: ApiKeyChanges<'_>,
) -> Result<Edited, Refused> {
    let before = store::find(connection, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    let is_other = expected.is_some_and(|version| version != before.version);
    if is_other && before.status(now) == Status::Active {
        return Err(Refused::Stale);
    }
    let version = before.version + 1;
    edited(connection, now, &ApiKey { version, ..before }, changes).await
}

/// Changes a key, at once and everywhere. Where it may do less than before, the access tokens that it was exchanged
/// for end.
///
/// Whoever narrows a key, or says something else of it, needs no more than the permission to change keys. Whoever
/// puts a scope on it must be able to do what that allows; and whoever widens where, how long or how often it works
/// must be able to do all that it is made for afterwards, for they may be the one who holds its secret.
///
/// # Errors
/// When the organization has no such key, it is not active any more or not of the expected version, a field is wrong,
/// the edit widens it beyond what whoever asks may do, or the database fails.
pub async fn edit(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ApiKeyId,
    expected: Option<i32>,
    changes: ApiKeyChanges<'_>,
) -> Result<Edited, Refused> {
    let is_ours = store::next_version(tx, organization, id, expected).await?;
    let before = store::find(tx, Some(organization), id).await?.ok_or(Refused::NotFound)?;
    if !is_ours && before.status(now) == Status::Active {
        return Err(Refused::Stale);
    }
    let edited = edited(tx, now, &before, changes).await?;
    store::update(tx, &before, &edited.key).await?;
    let event = Event::new("api_key.changed", id)
        .in_organization(organization)
        .with(difference(&before, &edited.key));
    audit::record(tx, now, by, event).await?;
    let subject = [Subject::ApiKey(id).of(organization)];
    match may_do_less(&before, &edited.key) {
        true => revocation::append_narrowed(tx, now, &subject).await?,
        false => revocation::append_changed(tx, now, &subject).await?,
    }
    Ok(edited)
}

async fn edited(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    before: &ApiKey,
    changes: ApiKeyChanges<'_>,
) -> Result<Edited, Refused> {
    if before.status(now) != Status::Active {
        return Err(Refused::Conflict("The key is not active any more.".to_owned()));
    }
    let mut warnings = AllowedNetworks::warnings(changes.allowed_ips.flatten());
    let key = changed(before, now, changes)?;
    let lost_scopes = lost_scopes(connection, now, before, &key).await?;
    let lost_networks = lost_networks(connection, now, before, &key).await?;
    warnings.extend(lost_scopes.iter().map(|lost| {
        format!("`{}`, which was used last at {}, is taken away", lost.scope, lost.last_used_at)
    }));
    warnings.extend(lost_networks.iter().map(|lost| {
        let part = if lost.extent == Extent::Part { "a part of " } else { "" };
        format!("{part}{}, from which it was used, is not allowed any more", lost.network)
    }));
    Ok(Edited { key, lost_scopes, lost_networks, warnings })
}

fn changed(before: &ApiKey, now: Timestamp, changes: ApiKeyChanges<'_>) -> Result<ApiKey, Refused> {
    let mut errors = Vec::new();
    let mut after = before.clone();
    if let Some(name) = changes.name {
        after.name = checked_name("name", name, &mut errors).to_owned();
    }
    if let Some(text) = changes.description {
        after.description = checked_description(text, &mut errors).to_owned();
    }
    if let Some(labels) = changes.labels {
        check_labels(&labels, &mut errors);
        after.labels = labels;
    }
    if let Some(texts) = changes.scopes {
        let mut check = ScopeCheck::of_an_edit(changes.offered, changes.reach, &before.scopes);
        after.scopes = check.check(texts, &mut errors);
    }
    if let Some(wanted) = changes.allowed_ips {
        after.allowed_networks = AllowedNetworks::checked(wanted, &mut errors);
    }
    if let Some(wanted) = changes.requests_per_minute {
        check_requests_per_minute("requests_per_minute", wanted, &mut errors);
        after.requests_per_minute = wanted;
    }
    if let Some(end) = changes.expires_at {
        if end.is_some_and(|end| end <= now) {
            errors.push(FieldError::new("expires_at", "must be in the future"));
        }
        after.expires_at = end;
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    if opens_up(before, &after) && !changes.reach.covers_all(&after.scopes) {
        let why = "The key is made for more than you may do yourself: you may narrow it, but not let it work from \
                   more places, for longer or more often.";
        return Err(Refused::Forbidden(why.to_owned()));
    }
    Ok(after)
}

/// Whether it works from more places, for longer or more often than before. A limit of its own where there was none
/// counts as one that may be higher.
fn opens_up(before: &ApiKey, after: &ApiKey) -> bool {
    let is_later = match (before.expires_at, after.expires_at) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before.is_some() && after.is_none(),
    };
    let is_more = match (before.requests_per_minute, after.requests_per_minute) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before != after,
    };
    is_later || is_more || !before.allowed_networks.cover(&after.allowed_networks)
}

fn may_do_less(before: &ApiKey, after: &ApiKey) -> bool {
    let ends_earlier =
        after.expires_at.is_some_and(|end| before.expires_at.is_none_or(|it| end < it));
    ends_earlier
        || !after.scopes.covers_all(&before.scopes)
        || !after.allowed_networks.cover(&before.allowed_networks)
}

async fn lost_scopes(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    before: &ApiKey,
    after: &ApiKey,
) -> Result<Vec<ScopeUse>, DbErr> {
    if after.scopes.covers_all(&before.scopes) {
        return Ok(Vec::new());
    }
    let used = store::list_scope_uses(connection, before.id, now - LOOKS_BACK, MOST_USES).await?;
    let is_lost = |scope: &Scope| before.scopes.covers(scope) && !after.scopes.covers(scope);
    let lost = used.into_iter().filter(|(scope, _)| is_lost(scope));
    Ok(lost.map(|(scope, last_used_at)| ScopeUse { scope, last_used_at }).collect())
}

/// The addresses that are known exactly, of the last 30 days, and the large networks from which it was ever used.
async fn lost_networks(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    before: &ApiKey,
    after: &ApiKey,
) -> Result<Vec<LostNetwork>, DbErr> {
    if after.allowed_networks.cover(&before.allowed_networks) {
        return Ok(Vec::new());
    }
    let latest = before.last_use.iter().chain(&before.older_secret_use);
    let latest = latest.filter(|it| it.at >= now - LOOKS_BACK);
    let mut used: Vec<Network> = latest.filter_map(|it| it.from.as_deref()?.parse().ok()).collect();
    used.extend(store::list_networks(connection, before.id, MOST_USES).await?);
    let mut lost: Vec<LostNetwork> = Vec::new();
    for network in used {
        let extent = before.allowed_networks.lost_of(&network, &after.allowed_networks);
        if let Some(extent) = extent
            && lost.iter().all(|known| known.network != network)
        {
            lost.push(LostNetwork { network, extent });
        }
    }
    Ok(lost)
}

/// What the audit trail keeps of an edit. Names and descriptions may speak of people, and stay out.
fn difference(before: &ApiKey, after: &ApiKey) -> serde_json::Value {
    let mut changed = serde_json::Map::new();
    let mut add = |member: &str, before: serde_json::Value, after: serde_json::Value| {
        if before != after {
            changed.insert(member.to_owned(), serde_json::json!({ "from": before, "to": after }));
        }
    };
    add("scopes", before.scopes.to_string().into(), after.scopes.to_string().into());
    let networks = |key: &ApiKey| key.allowed_networks.texts().join(" ").into();
    add("allowed_ips", networks(before), networks(after));
    add("requests_per_minute", before.requests_per_minute.into(), after.requests_per_minute.into());
    let end = |key: &ApiKey| key.expires_at.map(|end| end.to_string()).into();
    add("expires_at", end(before), end(after));
    for (member, differs) in [
        ("name", before.name != after.name),
        ("description", before.description != after.description),
        ("labels", before.labels != after.labels),
    ] {
        if differs {
            changed.insert(member.to_owned(), true.into());
        }
    }
    changed.into()
}

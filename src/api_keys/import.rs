//! Keys of another system: their hashes come here, and whoever holds them goes on using them.

use std::collections::{BTreeSet, HashMap, HashSet};

use entity::{ApiKeyId, OrganizationId, ProjectId, SecretId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use sea_orm::{DatabaseTransaction, DbErr};

use super::labels::check_labels;
use super::scopes::ScopeCheck;
use super::store::WithSecret;
use super::{AllowedNetworks, ApiKey, ApiKeySettings, Labels, store};
use crate::audit::{self, By, Event};
use crate::platform::{
    FieldError, Refused, check_requests_per_minute, checked_description, checked_name,
};
use crate::resource_servers::ResourceServer;
use crate::tenancy;

const MOST_KEYS: usize = 10_000;
/// As many mistakes are named.
const MOST_ERRORS: usize = 100;
const LONGEST_START: usize = 12;
const LONGEST_END: usize = 4;

/// Keys to be imported.
pub struct Import<'a> {
    pub organization: OrganizationId,
    pub created_by: UserId,
    /// The most that whoever imports them may do: no key reaches further.
    pub reach: &'a ScopeSet,
    /// The APIs whose scopes the organization can put on a key.
    pub offered: &'a [ResourceServer],
    /// What all of them begin with.
    pub prefix: &'a str,
    pub keys: Vec<ImportedKey<'a>>,
}

/// A key to be imported.
pub struct ImportedKey<'a> {
    /// SHA-256 of the whole key, in hexadecimal.
    pub sha256: &'a str,
    pub name: &'a str,
    pub description: &'a str,
    pub labels: &'a Labels,
    pub scopes: &'a [String],
    pub project: Option<ProjectId>,
    pub allowed_ips: Option<&'a [String]>,
    pub environment: Option<&'a str>,
    pub requests_per_minute: Option<u32>,
    pub expires_at: Option<Timestamp>,
    /// When the other system made it; now where it is left out.
    pub created_at: Option<Timestamp>,
    /// What people recognise it by: what it begins and ends with.
    pub start: Option<&'a str>,
    pub end: Option<&'a str>,
    /// The id of a member, or that of the organization; whoever imports it where it is left out.
    pub owner: Option<&'a str>,
}

/// Whether keys of another system may be said to begin like this.
pub(super) fn is_prefix(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Takes keys over, all or none of them.
///
/// # Errors
/// When a field of a key is wrong, a hash is known already, or the database fails.
pub async fn import(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    settings: &ApiKeySettings,
    import: Import<'_>,
) -> Result<Vec<ApiKeyId>, Refused> {
    let mut errors = check_prefix(settings, import.prefix);
    if import.keys.is_empty() || import.keys.len() > MOST_KEYS {
        errors.push(FieldError::new("keys", "must hold 1 to 10000 keys"));
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let mut check = Check {
        settings,
        now,
        of: &import,
        scopes: ScopeCheck::new(import.offered, import.reach),
        projects: held_projects(tx, &import).await?,
        members: members(tx, &import).await?,
    };
    let digests: Vec<Option<[u8; 32]>> = import.keys.iter().map(|key| digest(key.sha256)).collect();
    let taken = taken(tx, &digests).await?;
    let mut new = Vec::with_capacity(import.keys.len());
    for (at, (key, digest)) in import.keys.iter().zip(&digests).enumerate() {
        let mut own = Vec::new();
        match digest {
            None => own.push(FieldError::new("sha256", "must be 64 hexadecimal digits")),
            Some(_) if taken.contains(&at) => own.push(FieldError::new("sha256", "is taken")),
            Some(_) => {}
        }
        let made = check.made(key, &mut own);
        if let (Some(digest), true) = (digest, own.is_empty()) {
            new.push(WithSecret { key: made, secret: SecretId::new(now), digest: *digest });
        }
        errors
            .extend(own.into_iter().map(|error| {
                FieldError::new(format!("keys[{at}].{}", error.field), error.message)
            }));
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(shortened(errors)));
    }
    if !store::insert_with_secrets(tx, &new, now).await? {
        return Err(Refused::Invalid(shortened(taken_meanwhile(tx, &new).await?)));
    }
    let events = new.iter().map(|new| {
        Event::new("api_key.imported", new.key.id)
            .in_organization(new.key.organization)
            .with(serde_json::json!({ "scopes": new.key.scopes.to_string() }))
    });
    audit::record_many(tx, now, by, events).await?;
    Ok(new.into_iter().map(|new| new.key.id).collect())
}

fn check_prefix(settings: &ApiKeySettings, prefix: &str) -> Vec<FieldError> {
    if !is_prefix(prefix) {
        return vec![FieldError::new(
            "prefix",
            "must have 3 to 32 letters, digits, `-`, `_` or `.`",
        )];
    }
    let is_listed = settings.imported_prefixes.iter().any(|listed| prefix.starts_with(listed));
    if is_listed {
        return Vec::new();
    }
    let message = format!(
        "keys that begin with `{prefix}` would be refused unseen: the setting api_keys.imported_prefixes must list it"
    );
    vec![FieldError::new("prefix", message)]
}

/// The first mistakes, and how many there are beyond them.
fn shortened(mut errors: Vec<FieldError>) -> Vec<FieldError> {
    let more = errors.len().saturating_sub(MOST_ERRORS);
    errors.truncate(MOST_ERRORS);
    if more > 0 {
        errors.push(FieldError::new("keys", format!("and {more} more")));
    }
    errors
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Which rows bear a hash that an earlier row bears, or that is known here, whoever's it is.
async fn taken(
    tx: &DatabaseTransaction,
    digests: &[Option<[u8; 32]>],
) -> Result<HashSet<usize>, DbErr> {
    let all: Vec<[u8; 32]> = digests.iter().flatten().copied().collect();
    let known = store::find_by_digests(tx, &all).await?;
    let mut seen = HashSet::new();
    let mut taken = HashSet::new();
    for (at, digest) in digests.iter().enumerate() {
        let Some(digest) = digest else { continue };
        if !seen.insert(digest) || known.contains_key(digest.as_slice()) {
            taken.insert(at);
        }
    }
    Ok(taken)
}

/// Which rows somebody else was faster with.
async fn taken_meanwhile(
    tx: &DatabaseTransaction,
    new: &[WithSecret],
) -> Result<Vec<FieldError>, DbErr> {
    let digests: Vec<[u8; 32]> = new.iter().map(|new| new.digest).collect();
    let known = store::find_by_digests(tx, &digests).await?;
    let is_theirs = |new: &WithSecret| {
        known.get(new.digest.as_slice()).is_some_and(|secret| *secret != new.secret)
    };
    let rows = new.iter().enumerate().filter(|(_, new)| is_theirs(new));
    Ok(rows.map(|(at, _)| FieldError::new(format!("keys[{at}].sha256"), "is taken")).collect())
}

/// The projects that are named and the organization has; they are not deleted before the end of the transaction.
async fn held_projects(
    tx: &DatabaseTransaction,
    import: &Import<'_>,
) -> Result<HashSet<ProjectId>, DbErr> {
    // In one order, so that of two imports neither waits for the other in a circle.
    let named: BTreeSet<ProjectId> = import.keys.iter().filter_map(|key| key.project).collect();
    let mut held = HashSet::new();
    for project in named {
        if tenancy::hold_project(tx, import.organization, project).await? {
            held.insert(project);
        }
    }
    Ok(held)
}

/// What each owner that is named stands for: a member, or (none) the organization itself.
async fn members<'a>(
    tx: &DatabaseTransaction,
    import: &Import<'a>,
) -> Result<HashMap<&'a str, Option<UserId>>, DbErr> {
    let named: BTreeSet<&'a str> = import.keys.iter().filter_map(|key| key.owner).collect();
    let organization = import.organization.to_string();
    let mut members = HashMap::new();
    for name in named {
        if name == organization {
            members.insert(name, None);
        } else if let Ok(user) = name.parse::<UserId>()
            && tenancy::find_membership(tx, import.organization, user).await?.is_some()
        {
            members.insert(name, Some(user));
        }
    }
    Ok(members)
}

/// What a row is held against.
struct Check<'a, 'b> {
    settings: &'b ApiKeySettings,
    now: Timestamp,
    of: &'b Import<'a>,
    scopes: ScopeCheck<'a>,
    projects: HashSet<ProjectId>,
    members: HashMap<&'a str, Option<UserId>>,
}

impl Check<'_, '_> {
    /// The key as it would be; it counts for nothing where there are errors.
    fn made(&mut self, wanted: &ImportedKey<'_>, errors: &mut Vec<FieldError>) -> ApiKey {
        let now = self.now;
        let name = checked_name("name", wanted.name, errors).to_owned();
        let description = checked_description(wanted.description, errors).to_owned();
        check_labels(wanted.labels, errors);
        let scopes = self.scopes.check(wanted.scopes, errors);
        let allowed_networks = AllowedNetworks::checked(wanted.allowed_ips, errors);
        check_requests_per_minute("requests_per_minute", wanted.requests_per_minute, errors);
        let environment = self.settings.checked_environment(wanted.environment, errors).to_owned();
        if wanted.expires_at.is_some_and(|end| end <= now) {
            errors.push(FieldError::new("expires_at", "must be in the future"));
        }
        let created_at = wanted.created_at.unwrap_or(now);
        if created_at > now || created_at < Timestamp(0) {
            errors.push(FieldError::new("created_at", "must be in the past"));
        }
        if wanted.project.is_some_and(|project| !self.projects.contains(&project)) {
            errors.push(FieldError::new("project", "is no project of the organization"));
        }
        let owner = match wanted.owner.map(|name| self.members.get(name)) {
            None => Some(self.of.created_by),
            Some(Some(owner)) => *owner,
            Some(None) => {
                let message = "is neither a member nor the organization";
                errors.push(FieldError::new("owner", message));
                None
            }
        };
        let (start, end) = hint(self.of.prefix, wanted, errors);
        ApiKey {
            // Of the time when it came: lists are in the order in which keys came.
            id: ApiKeyId::new(now),
            organization: self.of.organization,
            project: wanted.project,
            name,
            description,
            labels: wanted.labels.clone(),
            scopes,
            allowed_networks,
            environment,
            created_by: self.of.created_by,
            owner,
            version: 1,
            created_at,
            expires_at: wanted.expires_at,
            revoked_at: None,
            start,
            end,
            rotating_until: None,
            revoked_reason: None,
            brand: None,
            requests_per_minute: wanted.requests_per_minute,
            is_decoy: false,
            last_use: None,
            older_secret_use: None,
        }
    }
}

/// What people recognise the key by.
fn hint(prefix: &str, wanted: &ImportedKey<'_>, errors: &mut Vec<FieldError>) -> (String, String) {
    let usual = || prefix.chars().take(LONGEST_START).collect();
    let start = wanted.start.map_or_else(usual, str::to_owned);
    let end = wanted.end.unwrap_or_default();
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if start.len() > LONGEST_START || !is_visible(&start) {
        errors.push(FieldError::new("start", "must have at most 12 visible ASCII characters"));
    } else if !start.starts_with(prefix) && !prefix.starts_with(&start) {
        errors.push(FieldError::new("start", format!("does not begin with `{prefix}`")));
    }
    if end.len() > LONGEST_END || !is_visible(end) {
        errors.push(FieldError::new("end", "must have at most 4 visible ASCII characters"));
    }
    (start, end.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(digest(&text).map(|it| [it[0], it[1], it[31]]), Some([0, 255, 255]));
        assert_eq!(digest(&text.to_uppercase()), digest(&text));
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace("ff", "+f")] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
        assert_eq!(digest(&"é".repeat(32)), None);
    }

    #[test]
    fn a_prefix_says_something_and_no_more_than_a_word() {
        for good in ["sk_", "sk_old_", "A-b", "SG.", &"x".repeat(32)] {
            assert!(is_prefix(good), "{good}");
        }
        for wrong in ["", "sk", "sk ", "sk:", "ské", &"x".repeat(33)] {
            assert!(!is_prefix(wrong), "{wrong}");
        }
    }

    #[test]
    fn of_many_mistakes_the_first_are_named() {
        let errors = |count| (0..count).map(|at| FieldError::new(format!("{at}"), "x")).collect();
        assert_eq!(shortened(errors(100)).len(), 100);
        let many = shortened(errors(250));
        assert_eq!((many.len(), many[100].message.as_str()), (101, "and 150 more"));
    }
}

use entity::{ApiKeyId, OrganizationId, ProjectId, SecretId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use portcullis_verifier::key::{self, Prefix};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::labels::check_labels;
use super::scopes::ScopeCheck;
use super::{AllowedNetworks, ApiKey, ApiKeySettings, Labels, store};
use crate::audit::{self, By, Event};
use crate::platform::{
    FieldError, Refused, check_requests_per_minute, checked_description, checked_name,
};
use crate::resource_servers::ResourceServer;
use crate::tenancy;

/// An API key to be.
pub struct NewApiKey<'a> {
    pub organization: OrganizationId,
    /// The project to confine it to, one of the organization's.
    pub project: Option<ProjectId>,
    pub created_by: UserId,
    /// The most that whoever makes the key may do: no key reaches further.
    pub reach: &'a ScopeSet,
    pub name: &'a str,
    pub description: &'a str,
    pub labels: Labels,
    pub scopes: &'a [String],
    /// Networks in CIDR notation; none for anywhere.
    pub allowed_ips: Option<&'a [String]>,
    /// One of the settings' environments; the first where none is named.
    pub environment: Option<&'a str>,
    /// One of the brands in force; none for the installation's first, whichever that is when the key is rotated.
    pub brand: Option<&'a str>,
    /// How often it may be used; none for what is usual.
    pub requests_per_minute: Option<u32>,
    pub expires_at: Option<Timestamp>,
    /// Whether it may do nothing, and its use is an alarm.
    pub is_decoy: bool,
}

/// Makes a key; its secret is told this once. `brands` are those in force, the usual one first.
///
/// # Errors
/// When a field is wrong or something of ours fails.
pub async fn issue(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brands: &[&str],
    settings: &ApiKeySettings,
    resource_servers: &[ResourceServer],
    new: NewApiKey<'_>,
) -> Result<(ApiKey, SecretString), Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", new.name, &mut errors).to_owned();
    let description = checked_description(new.description, &mut errors).to_owned();
    check_labels(&new.labels, &mut errors);
    let scopes = ScopeCheck::new(resource_servers, new.reach).check(new.scopes, &mut errors);
    let allowed_networks = AllowedNetworks::checked(new.allowed_ips, &mut errors);
    if new.expires_at.is_some_and(|end| end <= now) {
        errors.push(FieldError::new("expires_at", "must be in the future"));
    }
    check_requests_per_minute("requests_per_minute", new.requests_per_minute, &mut errors);
    let environment = settings.checked_environment(new.environment, &mut errors);
    if new.brand.is_some_and(|brand| !brands.contains(&brand)) {
        let message = format!("must be one of: {}", brands.join(", "));
        errors.push(FieldError::new("brand", message));
    }
    if let Some(project) = new.project
        && !tenancy::hold_project(tx, new.organization, project).await?
    {
        errors.push(FieldError::new("project", "is no project of the organization"));
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let secret = key::generate(&Prefix::new(brand_in_force(new.brand, brands), environment)?)?;
    let text = secret.expose_secret();
    let hint = store::Hint::of(text);
    let key = ApiKey {
        id: ApiKeyId::new(now),
        organization: new.organization,
        project: new.project,
        name,
        description,
        labels: new.labels,
        scopes,
        allowed_networks,
        environment: environment.to_owned(),
        created_by: new.created_by,
        owner: Some(new.created_by),
        version: 1,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
        start: hint.start.clone(),
        end: hint.end.clone(),
        rotating_until: None,
        revoked_reason: None,
        brand: new.brand.map(str::to_owned),
        requests_per_minute: new.requests_per_minute,
        is_decoy: new.is_decoy,
        last_use: None,
        older_secret_use: None,
    };
    store::insert(tx, &key).await?;
    store::insert_secret(tx, key.id, SecretId::new(now), key::digest(text), &hint, now).await?;
    let event = Event::new("api_key.created", key.id)
        .in_organization(key.organization)
        .with(serde_json::json!({ "scopes": key.scopes.to_string(), "is_decoy": key.is_decoy }));
    audit::record(tx, now, by, event).await?;
    Ok((key, secret))
}

/// The brand under which a key gets its next secret: its own while that is in force, else the first.
pub(super) fn brand_in_force<'a>(own: Option<&str>, brands: &[&'a str]) -> &'a str {
    let own = brands.iter().find(|brand| own == Some(**brand));
    own.or(brands.first()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_that_is_not_in_force_any_more_gives_way_to_the_first() {
        assert_eq!(brand_in_force(None, &["pc", "old"]), "pc");
        assert_eq!(brand_in_force(Some("old"), &["pc", "old"]), "old");
        assert_eq!(brand_in_force(Some("older"), &["pc", "old"]), "pc");
    }
}

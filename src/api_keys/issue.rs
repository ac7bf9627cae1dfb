use entity::{ApiKeyId, OrganizationId, ProjectId, SecretId, Timestamp, UserId};
use portcullis_verifier::key::{self, Prefix};
use portcullis_verifier::{Scope, ScopeSet};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::labels::check_labels;
use super::{AllowedNetworks, ApiKey, ApiKeySettings, Labels, store};
use crate::audit::{self, By, Event};
use crate::platform::{FieldError, Refused, checked_description, checked_name};
use crate::resource_servers::ResourceServer;
use crate::tenancy;

const MAX_SCOPES: usize = 100;

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
    pub expires_at: Option<Timestamp>,
    /// Whether it may do nothing, and its use is an alarm.
    pub is_decoy: bool,
}

/// Makes a key; its secret is told this once.
///
/// # Errors
/// When a field is wrong or something of ours fails.
pub async fn issue(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brand: &str,
    settings: &ApiKeySettings,
    resource_servers: &[ResourceServer],
    new: NewApiKey<'_>,
) -> Result<(ApiKey, SecretString), Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", new.name, &mut errors).to_owned();
    let description = checked_description(new.description, &mut errors).to_owned();
    check_labels(&new.labels, &mut errors);
    let scopes = checked_scopes(&new, resource_servers, &mut errors);
    let allowed_networks = AllowedNetworks::checked(new.allowed_ips, &mut errors);
    if new.expires_at.is_some_and(|end| end <= now) {
        errors.push(FieldError::new("expires_at", "must be in the future"));
    }
    let first = settings.environments.first().map(String::as_str).unwrap_or_default();
    let environment = new.environment.unwrap_or(first);
    if !settings.environments.iter().any(|known| known == environment) {
        let message = format!("must be one of: {}", settings.environments.join(", "));
        errors.push(FieldError::new("environment", message));
    }
    if let Some(project) = new.project
        && !tenancy::hold_project(tx, new.organization, project).await?
    {
        errors.push(FieldError::new("project", "is no project of the organization"));
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let secret = key::generate(&Prefix::new(brand, environment)?)?;
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
        brand: None,
        requests_per_minute: None,
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

/// Every scope must be one that some resource server offers, and within the maker's own reach.
fn checked_scopes(
    new: &NewApiKey<'_>,
    resource_servers: &[ResourceServer],
    errors: &mut Vec<FieldError>,
) -> ScopeSet {
    if new.scopes.is_empty() || new.scopes.len() > MAX_SCOPES {
        errors.push(FieldError::new("scopes", "must hold 1 to 100 scopes"));
        return ScopeSet::default();
    }
    let mut scopes = ScopeSet::default();
    for (at, text) in new.scopes.iter().enumerate() {
        let field = format!("scopes[{at}]");
        match text.parse::<Scope>() {
            Err(_) => {
                errors.push(FieldError::new(field, "is not a scope; one looks like read:tenants"))
            }
            Ok(scope) if !resource_servers.iter().any(|api| api.catalog.offers(&scope)) => {
                errors.push(FieldError::new(
                    field,
                    format!("no resource server offers the scope `{scope}`"),
                ));
            }
            Ok(scope) if !new.reach.covers(&scope) => {
                errors.push(FieldError::new(
                    field,
                    format!("`{scope}` is more than you may do yourself"),
                ));
            }
            Ok(scope) if needs_admin(resource_servers, &scope, new.reach) => {
                errors.push(FieldError::new(field, format!("`{scope}` needs an admin")));
            }
            Ok(scope) => scopes.insert(scope),
        }
    }
    scopes
}

/// Whether every API that offers the scope leaves it to admins.
fn needs_admin(resource_servers: &[ResourceServer], scope: &Scope, reach: &ScopeSet) -> bool {
    let wanted = ScopeSet::from_iter([scope.clone()]);
    resource_servers
        .iter()
        .filter(|api| api.catalog.offers(scope))
        .all(|api| api.catalog.within(&wanted, reach).is_empty())
}

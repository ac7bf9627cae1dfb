use std::time::Duration;

use entity::{OrganizationId, ResourceServerId, Timestamp};
use portcullis_verifier::key::{self, Prefix};
use sea_orm::{ConnectionTrait, DatabaseTransaction, SqlErr};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{Catalog, ResourceServer, store};
use crate::audit::{self, By, Event};
use crate::platform::{FieldError, Refused, checked_name};
use crate::revocation::LONGEST_TOKEN_LIFETIME;
use crate::signing::Algorithm;
use crate::tenancy;

const MAX_CATALOG: usize = 500;
const MAX_SENTENCE: usize = 200;

/// A resource server to be.
pub struct NewResourceServer<'a> {
    pub organization: OrganizationId,
    pub audience: &'a str,
    pub name: &'a str,
    pub algorithm: Algorithm,
    pub catalog: Catalog,
    /// How long its access tokens live, in seconds; none: as the setting says.
    pub access_token_seconds: Option<u64>,
    /// Whether every organization may use it, or its own alone.
    pub is_shared: bool,
    /// Whether its access tokens have a place in a status list.
    pub status_list: bool,
}

/// Registers an API; the credential with which it introspects and follows revocations is told this once.
///
/// # Errors
/// When a field is wrong, the audience is taken, or the database fails.
pub async fn create(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    brand: &str,
    new: NewResourceServer<'_>,
) -> Result<(ResourceServer, SecretString), Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", new.name, &mut errors).to_owned();
    check_audience(new.audience, &mut errors);
    let catalog = checked_catalog(new.catalog, &mut errors);
    check_lifetime(new.access_token_seconds, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    // Whoever deleted an API can register it again; nobody else takes over what its clients may still call.
    store::release_audience(tx, new.organization, new.audience).await?;
    let credential = key::generate(&Prefix::new(brand, "rs")?)?;
    let resource_server = ResourceServer {
        id: ResourceServerId::new(now),
        organization: Some(new.organization),
        audience: new.audience.to_owned(),
        name,
        algorithm: new.algorithm,
        access_token_lifetime: new.access_token_seconds.map(Duration::from_secs),
        catalog,
        is_management: false,
        is_shared: new.is_shared,
        unshared_at: None,
        status_list: new.status_list,
        older_credential_expires_at: None,
        created_at: now,
        version: 1,
    };
    let digest = key::digest(credential.expose_secret());
    if let Err(error) = store::insert(tx, &resource_server, Some(digest)).await {
        return Err(match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => {
                Refused::field("audience", "is taken by another resource server")
            }
            _ => error.into(),
        });
    }
    let event =
        Event::new("resource_server.created", resource_server.id).in_organization(new.organization);
    audit::record(tx, now, by, event).await?;
    Ok((resource_server, credential))
}

/// Whether the organization's API is to be shared: as it wants, or as is usual for it.
///
/// # Errors
/// When it wants to share and does not run the installation, or the database fails.
pub async fn may_be_shared(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    wanted: Option<bool>,
) -> Result<bool, Refused> {
    let is_operator = tenancy::find_operator(connection).await? == Some(organization);
    match wanted.unwrap_or(is_operator) {
        true if !is_operator => Err(Refused::Forbidden(
            "Only the organization that runs the installation may set is_shared.".to_owned(),
        )),
        is_shared => Ok(is_shared),
    }
}

/// An absolute URI without a fragment (RFC 8707 §2), in the spelling that tokens will carry.
fn check_audience(audience: &str, errors: &mut Vec<FieldError>) {
    match Url::parse(audience) {
        Ok(url)
            if url.fragment().is_none()
                && !audience.contains(char::is_whitespace)
                && audience.len() <= 200 => {}
        _ => errors.push(FieldError::new("audience", "must be an absolute URI without a fragment")),
    }
}

pub(super) fn check_lifetime(seconds: Option<u64>, errors: &mut Vec<FieldError>) {
    let longest = LONGEST_TOKEN_LIFETIME.as_secs();
    if seconds.is_some_and(|seconds| seconds == 0 || seconds > longest) {
        let message = format!("must be from 1 to {longest} seconds");
        errors.push(FieldError::new("access_token_seconds", message));
    }
}

/// What an API offers, with no space around what people read of it.
pub(super) fn checked_catalog(mut catalog: Catalog, errors: &mut Vec<FieldError>) -> Catalog {
    if catalog.0.is_empty() || catalog.0.len() > MAX_CATALOG {
        errors.push(FieldError::new("scopes", "must hold 1 to 500 scopes"));
    }
    // What is wrong stays as it was sent, and is refused below: some control characters count as space.
    let is_wrong = |sentence: &str| {
        sentence.chars().count() > MAX_SENTENCE || sentence.chars().any(char::is_control)
    };
    for entry in catalog.0.iter_mut().filter(|it| !is_wrong(&it.sentence)) {
        entry.sentence = entry.sentence.trim().to_owned();
    }
    for (at, entry) in catalog.0.iter().enumerate() {
        if entry.sentence.is_empty() || entry.sentence.chars().count() > MAX_SENTENCE {
            errors.push(FieldError::new(
                format!("scopes[{at}].sentence"),
                "must have 1 to 200 characters",
            ));
        } else if entry.sentence.chars().any(char::is_control) {
            errors.push(FieldError::new(
                format!("scopes[{at}].sentence"),
                "must not hold control characters",
            ));
        }
        if entry.scope.filter().is_some() {
            errors.push(FieldError::new(
                format!("scopes[{at}].scope"),
                "must have no filter in a catalog",
            ));
        }
        if catalog.0[..at].iter().any(|earlier| earlier.scope == entry.scope) {
            errors.push(FieldError::new(format!("scopes[{at}].scope"), "is in the catalog twice"));
        }
    }
    catalog
}

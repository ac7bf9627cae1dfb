//! What a client may be, whether it is new or changed.

use entity::{OrganizationId, ResourceServerId};
use portcullis_verifier::ScopeSet;
use sea_orm::DatabaseTransaction;

use super::redirect_uri::{check_redirect_uri, check_web_uri};
use super::{Client, GrantType};
use crate::platform::{FieldError, Refused, checked_name};
use crate::resource_servers::{self, ResourceServer};
use crate::tenancy;

const MAX_REDIRECT_URIS: usize = 20;
const MAX_AUDIENCES: usize = 50;
const LONGEST_REFRESH_RETRY: u64 = 60;
const USUAL_REFRESH_RETRY: u64 = 2;

/// A client to be.
pub struct NewClient<'a> {
    pub organization: OrganizationId,
    pub name: &'a str,
    pub is_confidential: bool,
    pub requires_pkce: bool,
    pub grant_types: Vec<GrantType>,
    pub redirect_uris: Vec<String>,
    pub audiences: Vec<NewAudience>,
    /// How long the same refresh token gets the same answer again.
    pub refresh_retry_seconds: u64,
    /// Whether people are not asked for their consent.
    pub is_first_party: bool,
    pub logo_uri: Option<String>,
    pub policy_uri: Option<String>,
    pub tos_uri: Option<String>,
    /// The most that whoever makes it may do: acting for itself it does no more.
    pub reach: &'a ScopeSet,
}

/// A resource server that the client may ask for.
pub struct NewAudience {
    pub resource_server: ResourceServerId,
    pub allowed: ScopeSet,
    pub default: ScopeSet,
}

impl<'a> NewClient<'a> {
    /// A confidential client that has to use PKCE and may do nothing yet.
    #[must_use]
    pub fn new(organization: OrganizationId, name: &'a str, reach: &'a ScopeSet) -> Self {
        Self {
            organization,
            name,
            is_confidential: true,
            requires_pkce: true,
            grant_types: Vec::new(),
            redirect_uris: Vec::new(),
            audiences: Vec::new(),
            refresh_retry_seconds: USUAL_REFRESH_RETRY,
            is_first_party: false,
            logo_uri: None,
            policy_uri: None,
            tos_uri: None,
            reach,
        }
    }

    pub(super) fn acts_for_itself(&self) -> bool {
        self.grant_types.contains(&GrantType::ClientCredentials)
    }
}

/// Whether there may be such a client. What it was before may stay as it is, also where it may no longer be chosen.
///
/// # Errors
/// What is wrong with it; when the database fails.
pub(super) async fn check(
    tx: &DatabaseTransaction,
    wanted: &NewClient<'_>,
    before: Option<&Client>,
) -> Result<(), Refused> {
    let mut errors = Vec::new();
    checked_name("name", wanted.name, &mut errors);
    if !wanted.is_confidential && !wanted.requires_pkce {
        errors.push(FieldError::new("requires_pkce", "a public client always needs PKCE"));
    }
    check_grant_types(wanted, &mut errors);
    check_redirect_uris(wanted, &mut errors);
    if wanted.refresh_retry_seconds > LONGEST_REFRESH_RETRY {
        errors.push(FieldError::new("refresh_retry_seconds", "must be from 0 to 60"));
    }
    for (field, uri) in [
        ("logo_uri", &wanted.logo_uri),
        ("policy_uri", &wanted.policy_uri),
        ("tos_uri", &wanted.tos_uri),
    ] {
        if let Some(Err(message)) = uri.as_deref().map(check_web_uri) {
            errors.push(FieldError::new(field, message));
        }
    }
    let offered = resource_servers::list_offered(tx, wanted.organization).await?;
    check_audiences(wanted, before, &offered, &mut errors);
    check_reach(wanted, before, &offered, &mut errors);
    let becomes_first_party =
        wanted.is_first_party && before.is_none_or(|before| !before.is_first_party);
    if becomes_first_party && tenancy::find_operator(tx).await? != Some(wanted.organization) {
        let message = "is for clients of the organization that runs the installation";
        errors.push(FieldError::new("is_first_party", message));
    }
    if errors.is_empty() { Ok(()) } else { Err(Refused::Invalid(errors)) }
}

fn check_grant_types(wanted: &NewClient<'_>, errors: &mut Vec<FieldError>) {
    let types = &wanted.grant_types;
    let has = |grant_type| types.contains(&grant_type);
    let mut refuse = |message| errors.push(FieldError::new("grant_types", message));
    if types.is_empty() {
        refuse("must hold at least one grant type");
    }
    if types.iter().enumerate().any(|(at, it)| types.iter().take(at).any(|other| other == it)) {
        refuse("must hold each grant type once only");
    }
    if has(GrantType::ClientCredentials) && !wanted.is_confidential {
        refuse("client_credentials needs a confidential client (RFC 6749 §4.4)");
    }
    if has(GrantType::RefreshToken) && !has(GrantType::AuthorizationCode) {
        refuse("refresh_token needs authorization_code beside it");
    }
}

fn check_redirect_uris(wanted: &NewClient<'_>, errors: &mut Vec<FieldError>) {
    let needs_one = wanted.grant_types.contains(&GrantType::AuthorizationCode);
    if needs_one && wanted.redirect_uris.is_empty() {
        errors.push(FieldError::new("redirect_uris", "authorization_code needs at least one"));
    }
    if wanted.redirect_uris.len() > MAX_REDIRECT_URIS {
        errors.push(FieldError::new("redirect_uris", "must hold at most 20"));
    }
    for (at, uri) in wanted.redirect_uris.iter().enumerate() {
        let field = || format!("redirect_uris[{at}]");
        if let Err(message) = check_redirect_uri(uri) {
            errors.push(FieldError::new(field(), message));
        } else if wanted.redirect_uris.iter().take(at).any(|other| other == uri) {
            errors.push(FieldError::new(field(), "is in the list twice"));
        }
    }
}

fn check_audiences(
    wanted: &NewClient<'_>,
    before: Option<&Client>,
    offered: &[ResourceServer],
    errors: &mut Vec<FieldError>,
) {
    let is_as_before = before.is_some_and(|before| {
        before.audiences.len() == wanted.audiences.len()
            && wanted.audiences.iter().all(|it| {
                before
                    .audience(it.resource_server)
                    .is_some_and(|known| known.allowed == it.allowed && known.default == it.default)
            })
    });
    if is_as_before {
        return;
    }
    if wanted.audiences.is_empty() || wanted.audiences.len() > MAX_AUDIENCES {
        errors.push(FieldError::new("audiences", "must hold 1 to 50 resource servers"));
    }
    for (at, audience) in wanted.audiences.iter().enumerate() {
        let mut refuse = |member: &str, message: String| {
            errors.push(FieldError::new(format!("audiences[{at}].{member}"), message));
        };
        let earlier = wanted.audiences.iter().take(at);
        if earlier.into_iter().any(|it| it.resource_server == audience.resource_server) {
            refuse("resource_server", "is in the list twice".to_owned());
        }
        let Some(api) = offered.iter().find(|api| api.id == audience.resource_server) else {
            let message = "is no resource server that the organization may use";
            refuse("resource_server", message.to_owned());
            continue;
        };
        if audience.allowed.is_empty() || audience.allowed.len() > ScopeSet::MAX_SCOPES {
            refuse("scopes", format!("must hold 1 to {} scopes", ScopeSet::MAX_SCOPES));
        }
        for scope in audience.allowed.iter().filter(|scope| !api.catalog.offers(scope)) {
            refuse("scopes", format!("{} offers no scope `{scope}`", api.audience));
        }
        if audience.default.len() > ScopeSet::MAX_SCOPES
            || !audience.allowed.covers_all(&audience.default)
        {
            refuse("default_scopes", "must be among the allowed scopes".to_owned());
        }
    }
}

/// A client that acts for itself has no person whose role bounds it: whoever allows it something must have that
/// themselves.
fn check_reach(
    wanted: &NewClient<'_>,
    before: Option<&Client>,
    offered: &[ResourceServer],
    errors: &mut Vec<FieldError>,
) {
    if !wanted.acts_for_itself() {
        return;
    }
    for (at, audience) in wanted.audiences.iter().enumerate() {
        let Some(api) = offered.iter().find(|api| api.id == audience.resource_server) else {
            continue;
        };
        let had = before
            .and_then(|before| before.audience(audience.resource_server))
            .filter(|had| had.own_grant.is_some());
        for scope in audience.allowed.iter() {
            let is_new = had.is_none_or(|had| !had.allowed.covers(scope));
            let asked = ScopeSet::from_iter([scope.clone()]);
            if is_new && !api.catalog.within(&asked, wanted.reach).covers(scope) {
                let message = format!(
                    "the client acts for itself, and `{scope}` is more than you may do yourself"
                );
                errors.push(FieldError::new(format!("audiences[{at}].scopes"), message));
            }
        }
    }
}

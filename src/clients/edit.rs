use std::time::Duration;

use entity::{ClientId, GrantId, OrganizationId, ResourceServerId, Timestamp};
use portcullis_verifier::ScopeSet;
use sea_orm::DatabaseTransaction;

use super::check::{NewAudience, NewClient, check};
use super::{Client, ClientAudience, GrantType, Status, store};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, About, Subject};

/// What to change of a client; what is none stays, and some none takes away.
pub struct ClientChanges<'a> {
    pub name: Option<&'a str>,
    pub requires_pkce: Option<bool>,
    pub grant_types: Option<Vec<GrantType>>,
    pub redirect_uris: Option<Vec<String>>,
    /// All of them.
    pub audiences: Option<Vec<NewAudience>>,
    pub refresh_retry_seconds: Option<u64>,
    pub is_first_party: Option<bool>,
    pub logo_uri: Option<Option<String>>,
    pub policy_uri: Option<Option<String>>,
    pub tos_uri: Option<Option<String>>,
    /// The most that whoever changes it may do. What the client did for itself before may reach further.
    pub reach: &'a ScopeSet,
}

/// Changes a client. Where it may do less than before, its access tokens end, and it refreshes.
///
/// # Errors
/// When the organization has no such client, it was deleted, it is not of the expected version, a field is wrong, or
/// the database fails.
pub async fn edit(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ClientId,
    expected: Option<i32>,
    changes: ClientChanges<'_>,
) -> Result<Client, Refused> {
    let before = begin(tx, organization, id, expected).await?;
    let name = changes.name.unwrap_or(&before.name).to_owned();
    let wanted = merged(&before, &name, changes);
    check(tx, &wanted, Some(&before)).await?;
    let after = changed(&before, wanted, now);
    let mut ended: Vec<(GrantId, ResourceServerId)> = own_grants(&before).collect();
    ended.retain(|(grant, _)| own_grants(&after).all(|(kept, _)| kept != *grant));
    store::update(tx, now, &after).await?;
    store::end_own_grants(tx, now, ended.iter().map(|(grant, _)| *grant)).await?;
    let event = Event::new("client.changed", id).in_organization(organization);
    audit::record(tx, now, by, event).await?;
    let subject = [Subject::Client(id).of(organization)];
    match may_do_less(&before, &after) {
        true => revocation::append_narrowed(tx, now, &subject).await?,
        false => revocation::append_changed(tx, now, &subject).await?,
    }
    let ended: Vec<About> =
        ended.into_iter().map(|(grant, api)| Subject::Grant(grant).at(organization, api)).collect();
    revocation::append_revoked(tx, now, &ended).await?;
    Ok(after)
}

/// The client under its new version, for this transaction alone to change.
pub(super) async fn begin(
    tx: &DatabaseTransaction,
    organization: OrganizationId,
    id: ClientId,
    expected: Option<i32>,
) -> Result<Client, Refused> {
    let is_ours = store::next_version(tx, organization, id, expected).await?;
    let found = store::find_of(tx, organization, id).await?;
    match found {
        Some(client) if is_ours => Ok(client),
        found => Err(refusal(found)),
    }
}

/// Why a change met no client, of which this is known.
pub(super) fn refusal(found: Option<Client>) -> Refused {
    match found {
        None => Refused::NotFound,
        Some(client) if client.status() == Status::Deleted => {
            Refused::Conflict("The client was deleted.".to_owned())
        }
        Some(_) => Refused::Stale,
    }
}

fn merged<'a>(before: &Client, name: &'a str, changes: ClientChanges<'a>) -> NewClient<'a> {
    let as_before = || {
        let audience = |it: &ClientAudience| NewAudience {
            resource_server: it.resource_server,
            allowed: it.allowed.clone(),
            default: it.default.clone(),
        };
        before.audiences.iter().map(audience).collect()
    };
    let refresh_retry = before.refresh_retry.as_secs();
    NewClient {
        organization: before.organization,
        name,
        is_confidential: before.is_confidential,
        requires_pkce: changes.requires_pkce.unwrap_or(before.requires_pkce),
        grant_types: changes.grant_types.unwrap_or_else(|| before.grant_types.clone()),
        redirect_uris: changes.redirect_uris.unwrap_or_else(|| before.redirect_uris.clone()),
        audiences: changes.audiences.unwrap_or_else(as_before),
        refresh_retry_seconds: changes.refresh_retry_seconds.unwrap_or(refresh_retry),
        is_first_party: changes.is_first_party.unwrap_or(before.is_first_party),
        logo_uri: changes.logo_uri.unwrap_or_else(|| before.logo_uri.clone()),
        policy_uri: changes.policy_uri.unwrap_or_else(|| before.policy_uri.clone()),
        tos_uri: changes.tos_uri.unwrap_or_else(|| before.tos_uri.clone()),
        reach: changes.reach,
    }
}

/// The client as it is wanted. A resource server that stays keeps the grant that the client's own tokens descend from.
fn changed(before: &Client, wanted: NewClient<'_>, now: Timestamp) -> Client {
    let acts_for_itself = wanted.acts_for_itself();
    let audience = |wanted: NewAudience| {
        let known = before.audience(wanted.resource_server).and_then(|known| known.own_grant);
        ClientAudience {
            resource_server: wanted.resource_server,
            allowed: wanted.allowed,
            default: wanted.default,
            own_grant: acts_for_itself.then(|| known.unwrap_or_else(|| GrantId::new(now))),
        }
    };
    Client {
        name: wanted.name.trim().to_owned(),
        requires_pkce: wanted.requires_pkce,
        grant_types: wanted.grant_types,
        redirect_uris: wanted.redirect_uris,
        audiences: wanted.audiences.into_iter().map(audience).collect(),
        refresh_retry: Duration::from_secs(wanted.refresh_retry_seconds),
        is_first_party: wanted.is_first_party,
        logo_uri: wanted.logo_uri,
        policy_uri: wanted.policy_uri,
        tos_uri: wanted.tos_uri,
        ..before.clone()
    }
}

fn own_grants(client: &Client) -> impl Iterator<Item = (GrantId, ResourceServerId)> {
    client.audiences.iter().filter_map(|it| Some((it.own_grant?, it.resource_server)))
}

fn may_do_less(before: &Client, after: &Client) -> bool {
    before.grant_types.iter().any(|grant_type| !after.may_use(*grant_type))
        || before.audiences.iter().any(|had| {
            after
                .audience(had.resource_server)
                .is_none_or(|has| !has.allowed.covers_all(&had.allowed))
        })
}

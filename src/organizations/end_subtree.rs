use entity::{ApiKeyId, ClientId, GrantId, OrganizationId, Timestamp, UserId};

use crate::api_keys;
use crate::audit::By;
use crate::clients;
use crate::grants::{self, ListGrants, LivingGrants};
use crate::platform::Refused;
use crate::platform::db::Db;
use crate::tenancy;

/// What everything that is to end descends from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    Grant(GrantId),
    ApiKey(ApiKeyId),
    /// What a person has allowed. The account and the keys that they own live on.
    User(UserId),
    /// What was allowed to an application, and what it allowed itself. The application lives on.
    Client(ClientId),
    /// Every grant and every key.
    Organization(OrganizationId),
}

/// How much ended, or would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subtree {
    pub grants: u64,
    /// How many of the grants had one.
    pub refresh_tokens: u64,
    pub api_keys: u64,
}

/// Says what would end, and ends nothing.
///
/// # Errors
/// When the organization knows of no such root, or the database fails.
pub async fn count_subtree(
    db: &Db,
    organization: OrganizationId,
    root: Root,
    spared: Option<ApiKeyId>,
) -> Result<Subtree, Refused> {
    find(db, organization, root).await?;
    let (grants, refresh_tokens) = match living(organization, root) {
        Some(which) => grants::count_living(db.reader(), which).await?,
        None => (0, 0),
    };
    let api_keys = match root {
        Root::ApiKey(id) => {
            let key = api_keys::find(db.reader(), Some(organization), id).await?;
            u64::from(key.is_some_and(|key| key.revoked_at.is_none()))
        }
        Root::Organization(_) => api_keys::count_all_but(db.reader(), organization, spared).await?,
        Root::Grant(_) | Root::User(_) | Root::Client(_) => 0,
    };
    Ok(Subtree { grants, refresh_tokens, api_keys })
}

/// Ends all that descends from the root within the organization, at once and for good, and leaves what stands beside
/// it alone: of an organization every grant and every key but `spared`. What ended stays so if it fails halfway, and
/// a further call does the rest.
///
/// # Errors
/// When the organization knows of no such root, or the database fails.
pub async fn end_subtree(
    db: &Db,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    root: Root,
    spared: Option<ApiKeyId>,
) -> Result<Subtree, Refused> {
    find(db, organization, root).await?;
    let api_keys = match root {
        Root::ApiKey(id) => {
            let tx = db.begin().await?;
            let is_ours = api_keys::revoke_in(&tx, now, by, Some(organization), id, None).await?;
            tx.commit().await?;
            u64::from(is_ours)
        }
        Root::Organization(_) => {
            api_keys::revoke_all_but(db, now, by, organization, spared).await?
        }
        Root::Grant(_) | Root::User(_) | Root::Client(_) => 0,
    };
    let (grants, refresh_tokens) = match living(organization, root) {
        Some(which) => grants::end_some(db, now, by, which).await?,
        None => (0, 0),
    };
    Ok(Subtree { grants, refresh_tokens, api_keys })
}

/// The grants that descend from the root; none where none do.
fn living(organization: OrganizationId, root: Root) -> Option<LivingGrants> {
    let all = LivingGrants::of(organization);
    match root {
        Root::Grant(id) => Some(LivingGrants { id: Some(id), ..all }),
        Root::User(user) => Some(LivingGrants { user: Some(user), ..all }),
        Root::Client(client) => Some(LivingGrants { client: Some(client), ..all }),
        Root::Organization(_) => Some(all),
        Root::ApiKey(_) => None,
    }
}

/// Whether the organization may know of the root: it is its own, or somebody of it has dealt with it.
async fn find(db: &Db, organization: OrganizationId, root: Root) -> Result<(), Refused> {
    let connection = db.reader();
    let of = async |user, client| {
        let which = ListGrants {
            organization,
            user,
            client,
            project: None,
            status: None,
            before: None,
            limit: 1,
        };
        grants::list(connection, which).await.map(|found| !found.is_empty())
    };
    let is_there = match root {
        Root::Grant(id) => {
            let found = grants::find(connection, id).await?;
            found.is_some_and(|grant| grant.organization == organization)
        }
        Root::ApiKey(id) => api_keys::find(connection, Some(organization), id).await?.is_some(),
        Root::User(id) => {
            tenancy::find_membership(connection, organization, id).await?.is_some()
                || of(Some(id), None).await?
        }
        Root::Client(id) => {
            clients::belongs_to(connection, organization, id).await? || of(None, Some(id)).await?
        }
        Root::Organization(id) => id == organization,
    };
    if is_there { Ok(()) } else { Err(Refused::NotFound) }
}

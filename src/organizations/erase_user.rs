use std::collections::BTreeSet;

use entity::{OrganizationId, Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use crate::audit::{self, By, Event};
use crate::grants::{self, EndedGrant};
use crate::platform::{Refused, password};
use crate::revocation::{self, Subject};
use crate::{idempotency, identity, tenancy};

const NAME: &str = "Erased user";

/// Erases an account for good: what names its person, their sessions, memberships and consents are gone, what they have
/// allowed has ended, and the keys that they own reach nothing. The audit trail keeps the id. Erasing it again changes
/// nothing.
///
/// # Errors
/// When there is no such account, it is that of whoever asks or of an organization's last owner, or the database fails.
pub async fn erase_user(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    asking: Option<UserId>,
    id: UserId,
) -> Result<(), Refused> {
    if asking == Some(id) {
        return Err(Refused::Conflict("You can't erase yourself.".to_owned()));
    }
    let locked = lock_organizations(tx, id).await?;
    let Some(user) = identity::find_user(tx, id).await? else { return Err(Refused::NotFound) };
    // An address that nobody can have, for no mail goes to `invalid` (RFC 2606 §2).
    let email = format!("erased-{id}@invalid");
    let hash = password::never_matching();
    if !identity::mark_erased(tx, id, now, &email, NAME, &hash).await? {
        return Ok(());
    }
    if organizations_of(tx, id).await? != locked {
        let why = "The person has just joined or left an organization; try again.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    if !tenancy::sole_ownerships(tx, id).await?.is_empty() {
        let why = "This is the last owner of an organization; make somebody else an owner first.";
        return Err(Refused::Conflict(why.to_owned()));
    }
    identity::delete_sessions(tx, id).await?;
    tenancy::delete_memberships(tx, id).await?;
    tenancy::erase_invitations_to(tx, now, &user.email, &email).await?;
    idempotency::erase_from_answers(tx, &user.email, &email).await?;
    let ended = grants::end_of_user(tx, now, id, None).await?;
    grants::forget_consents(tx, id, None).await?;
    let event =
        Event::new("user.erased", id).with(serde_json::json!({ "grants_ended": ended.len() }));
    audit::record(tx, now, by, event).await?;
    // The user for good: what they made and handed over lives on, for it descends from another.
    let mut subjects = vec![Subject::User(id).for_everybody()];
    subjects.extend(ended.iter().map(EndedGrant::about));
    Ok(revocation::append_revoked(tx, now, &subjects).await?)
}

/// Locks the organizations that the person belongs to, in an order that everybody keeps.
async fn lock_organizations(
    tx: &DatabaseTransaction,
    user: UserId,
) -> Result<BTreeSet<OrganizationId>, Refused> {
    let organizations = organizations_of(tx, user).await?;
    for organization in &organizations {
        tenancy::lock_organization(tx, *organization).await?;
    }
    Ok(organizations)
}

async fn organizations_of(
    tx: &DatabaseTransaction,
    user: UserId,
) -> Result<BTreeSet<OrganizationId>, Refused> {
    let memberships = tenancy::list_memberships(tx, user).await?;
    Ok(memberships.into_iter().map(|membership| membership.organization).collect())
}

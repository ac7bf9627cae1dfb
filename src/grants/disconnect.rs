use entity::{ClientId, Timestamp, UserId};
use sea_orm::DatabaseTransaction;

use super::store::{self, EndedGrant};
use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, About};

/// Ends all that a person has allowed an application, in every organization: its grants with their tokens, the codes
/// on their way to it, and the consents, so that it has to ask again.
///
/// # Errors
/// When there is nothing to end or the database fails.
pub async fn disconnect(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    user: UserId,
    client: ClientId,
) -> Result<(), Refused> {
    // The codes first: what is being redeemed at this moment is a grant by the time that the grants are ended.
    let codes = store::spend_codes(tx, now, user, client).await?;
    let ended = store::end_of_person(tx, now, user, client).await?;
    let forgotten = store::forget_consents_to(tx, user, client).await?;
    if codes == 0 && ended.is_empty() && forgotten.is_empty() {
        return Err(Refused::NotFound);
    }
    for grant in &ended {
        let event = Event::new("grant.ended", grant.id)
            .in_organization(grant.organization)
            .with(serde_json::json!({ "reason": "disconnected" }));
        audit::record(tx, now, by, event).await?;
    }
    for organization in forgotten {
        let event = Event::new("consent.withdrawn", client).in_organization(organization);
        audit::record(tx, now, by, event).await?;
    }
    let subjects: Vec<About> = ended.iter().map(EndedGrant::about).collect();
    if !subjects.is_empty() {
        revocation::append_revoked(tx, now, &subjects).await?;
    }
    Ok(())
}

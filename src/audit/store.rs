use entity::{AuditEventId, Timestamp, audit_event};
use sea_orm::{ActiveModelTrait as _, ConnectionTrait, DbErr, Set};

use super::{By, Event};

/// Writes an event.
///
/// # Errors
/// When the database fails.
pub async fn record(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    by: &By,
    event: Event,
) -> Result<(), DbErr> {
    let row = audit_event::ActiveModel {
        id: Set(AuditEventId::new(now)),
        at: Set(now),
        actor: Set(by.actor.to_string()),
        action: Set(event.action.to_owned()),
        target: Set(event.target),
        organization_id: Set(event.organization),
        address: Set(by.source.address.clone()),
        user_agent: Set(by.source.user_agent.clone()),
        request_id: Set(by.source.request_id.clone()),
        detail: Set(event.detail.map(|detail| detail.to_string())),
    };
    row.insert(connection).await?;
    Ok(())
}

use entity::{OrganizationId, Timestamp, UserId};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{Alert, Alerts, Body, Channel, store};
use crate::audit::{self, By, Event};
use crate::tenancy::{self, ListMembers, Role, RoleRef};

/// How many owners of an organization are told of what is the organization's own.
const MOST_OWNERS: usize = 10;

impl Alerts {
    /// Writes the audit event, and an alert for each way and everybody who is to be told. It goes out once the
    /// transaction is committed; `wake` makes that soon.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn raise(
        &self,
        tx: &DatabaseTransaction,
        now: Timestamp,
        by: &By,
        alert: Alert,
    ) -> Result<(), DbErr> {
        let mut event = Event::new(alert.kind.as_str(), &alert.target)
            .with(serde_json::Value::Object(alert.detail.clone()));
        event.organization = alert.organization;
        audit::record(tx, now, by, event).await?;
        self.tell(tx, now, alert).await
    }

    /// Writes an alert alone, where the audit trail has what it tells of.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tell(
        &self,
        tx: &DatabaseTransaction,
        now: Timestamp,
        alert: Alert,
    ) -> Result<(), DbErr> {
        let mut ways = Vec::new();
        if self.0.mailer.is_some() {
            let recipients = recipients(tx, alert.organization, alert.owner).await?;
            ways.extend(recipients.into_iter().map(|user| (Channel::Mail, Some(user))));
        }
        if self.0.webhook.is_some() {
            ways.push((Channel::Webhook, None));
        }
        if ways.is_empty() {
            return Ok(());
        }
        let organization_name = match alert.organization {
            Some(id) => tenancy::find_organization(tx, id).await?.map(|found| found.name),
            None => None,
        };
        let body = Body {
            id: alert.target,
            name: alert.name,
            hint: alert.hint,
            organization: alert.organization,
            organization_name: organization_name.unwrap_or_default(),
            owner: alert.owner,
            detail: alert.detail,
        };
        store::insert(tx, now, alert.kind, &body, &ways).await
    }
}

/// The owner, while they are an active member; else the owners of the organization.
async fn recipients(
    tx: &DatabaseTransaction,
    organization: Option<OrganizationId>,
    owner: Option<UserId>,
) -> Result<Vec<UserId>, DbErr> {
    let Some(organization) = organization else { return Ok(owner.into_iter().collect()) };
    if let Some(owner) = owner {
        let member = tenancy::find_member(tx, organization, owner).await?;
        if member.is_some_and(|member| member.suspended_at.is_none()) {
            return Ok(vec![owner]);
        }
    }
    let owners = ListMembers {
        role: Some(RoleRef::BuiltIn(Role::Owner)),
        limit: 100,
        ..ListMembers::default()
    };
    let owners = tenancy::list_members(tx, organization, owners).await?;
    let active = owners.into_iter().filter(|owner| owner.suspended_at.is_none());
    Ok(active.map(|owner| owner.user).take(MOST_OWNERS).collect())
}

use entity::{OrganizationId, ProjectId, Timestamp};
use sea_orm::DatabaseTransaction;

use crate::audit::{self, By, Event};
use crate::platform::Refused;
use crate::revocation::{self, Subject};
use crate::{api_keys, grants, tenancy};

/// What ended with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub api_keys: u64,
    pub grants: u64,
}

/// Deletes a project, and with it ends every key and grant that is confined to it, at once and for good.
///
/// # Errors
/// When there is no such project or the database fails.
pub async fn delete_project(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<Ended, Refused> {
    if !tenancy::mark_project_deleted(tx, organization, id, now).await? {
        return Err(Refused::NotFound);
    }
    let ended = Ended {
        api_keys: api_keys::revoke_of_project(tx, now, id).await?,
        grants: grants::end_of_project(tx, now, id).await?,
    };
    let event = Event::new("project.deleted", id).in_organization(organization).with(
        serde_json::json!({ "api_keys_revoked": ended.api_keys, "grants_ended": ended.grants }),
    );
    audit::record(tx, now, by, event).await?;
    revocation::append_revoked(tx, now, &[Subject::Project(id).of(organization)]).await?;
    Ok(ended)
}

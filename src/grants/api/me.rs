//! `/v1/me`: who the caller is.

use entity::{OrganizationId, ProjectId, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Anybody, Caller};

/// Who is calling, as we understand the credential.
#[derive(Serialize, ToSchema)]
#[schema(as = Me)]
pub struct Representation {
    /// Whom the audit trail names: the id of a user, an application or an API key.
    actor: String,
    organization: OrganizationId,
    /// The project that the credential is confined to.
    #[schema(required)]
    project: Option<ProjectId>,
    /// The person behind the credential; null where an application acts for itself or a key is the organization's own.
    #[schema(required)]
    user: Option<UserId>,
    /// All that the credential may do here.
    scopes: Vec<String>,
}

/// See who you are
#[utoipa::path(
    get, path = "/v1/me", tag = "Me",
    responses((status = 200, description = "The caller", body = Representation)),
    security(("bearer" = []), ("session" = []))
)]
pub async fn read(caller: Caller<Anybody>) -> axum::Json<Representation> {
    axum::Json(Representation {
        actor: caller.by.actor.to_string(),
        organization: caller.organization,
        project: caller.project,
        user: caller.user,
        scopes: caller.scopes.iter().map(ToString::to_string).collect(),
    })
}

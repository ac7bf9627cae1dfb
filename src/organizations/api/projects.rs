//! `/v1/projects`: subdivisions of the caller's organization.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{OrganizationId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadProjects, WriteProjects};
use crate::app::App;
use crate::http::{
    Beginning, Creation, IfMatch, Json, Limit, PageOf, PathId, Problem, Query, Versioned,
};
use crate::organizations::delete_project;
use crate::tenancy::{self, NewProject, Project, ProjectChanges};

/// A project as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Project)]
pub struct Representation {
    pub id: ProjectId,
    pub organization: OrganizationId,
    pub name: String,
    pub description: String,
    pub created_at: Timestamp,
    /// Grows with every change.
    pub version: i32,
}

impl From<Project> for Representation {
    fn from(project: Project) -> Self {
        Self {
            id: project.id,
            organization: project.organization,
            name: project.name,
            description: project.description,
            created_at: project.created_at,
            version: project.version,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<ProjectId>,
}

/// List projects
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/projects", tag = "Projects", params(ListQuery),
    responses((status = 200, description = "A page of projects", body = PageOf<Representation>)),
    security(("bearer" = ["read:projects"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadProjects>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let (organization, only, rows) = (caller.organization, caller.project, query.limit.rows());
    let projects =
        tenancy::list_projects(app.db.reader(), organization, only, query.cursor, rows).await?;
    Ok(axum::Json(PageOf::new(projects, query.limit, |project| project.id, Into::into)))
}

/// A project to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 500)]
    description: String,
}

/// Create a project
#[utoipa::path(
    post, path = "/v1/projects", tag = "Projects", request_body = CreateProject,
    responses((status = 201, description = "The project", body = Representation)),
    security(("bearer" = ["write:projects"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteProjects>,
    creation: Creation<CreateProject>,
) -> Result<Response, Problem> {
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let new = NewProject {
        organization: caller.organization,
        name: &creation.wanted.name,
        description: &creation.wanted.description,
    };
    let project = tenancy::create_project(begun.tx(), now, &caller.by, new).await?;
    let made = Representation::from(project);
    begun.created(Some(made.version), &made, None).await
}

/// Read a project
#[utoipa::path(
    get, path = "/v1/projects/{id}", tag = "Projects", params(("id" = ProjectId, Path)),
    responses((status = 200, description = "The project", body = Representation)),
    security(("bearer" = ["read:projects"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadProjects>,
    PathId(id): PathId<ProjectId>,
) -> Result<Versioned<Representation>, Problem> {
    let project = tenancy::find_project(app.db.reader(), caller.organization, id)
        .await?
        .filter(|project| caller.project.is_none_or(|only| only == project.id))
        .ok_or_else(Problem::not_found)?;
    Ok(Versioned(project.version, project.into()))
}

/// What to change of a project; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditProject {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
}

/// Edit a project
#[utoipa::path(
    patch, path = "/v1/projects/{id}", tag = "Projects", params(("id" = ProjectId, Path)),
    responses((status = 200, description = "The project", body = Representation)),
    security(("bearer" = ["write:projects"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteProjects>,
    PathId(id): PathId<ProjectId>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<EditProject>,
) -> Result<Versioned<Representation>, Problem> {
    let now = app.clock.now();
    let changes =
        ProjectChanges { name: wanted.name.as_deref(), description: wanted.description.as_deref() };
    let tx = app.db.begin().await?;
    let (by, organization) = (&caller.by, caller.organization);
    let project = tenancy::edit_project(&tx, now, by, organization, id, expected, changes).await?;
    tx.commit().await?;
    Ok(Versioned(project.version, project.into()))
}

/// Delete a project
///
/// Every API key and grant that is confined to it ends with it, at once and for good.
#[utoipa::path(
    delete, path = "/v1/projects/{id}", tag = "Projects", params(("id" = ProjectId, Path)),
    responses((status = 204, description = "It is gone")),
    security(("bearer" = ["write:projects"]), ("session" = []))
)]
pub async fn delete(
    State(app): State<App>,
    caller: Caller<WriteProjects>,
    PathId(id): PathId<ProjectId>,
) -> Result<StatusCode, Problem> {
    let tx = app.db.begin().await?;
    delete_project(&tx, app.clock.now(), &caller.by, caller.organization, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

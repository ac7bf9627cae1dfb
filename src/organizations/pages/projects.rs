//! `/o/{organization}/projects`: listing, making, changing and deleting projects.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::ProjectId;

use super::super::delete_project;
use crate::access::{ReadProjects, WriteProjects};
use crate::app::App;
use crate::console::{Asked, Day, FormState, Frame, Named, Once, Section, Sent, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::tenancy::{self, NewProject, Project, ProjectChanges};

/// How many are on a page.
const ROWS: u64 = 50;

#[derive(Template)]
#[template(path = "organizations/pages/projects.html")]
struct ProjectsPage {
    frame: Frame,
    /// The address of this list.
    here: String,
    notice: Option<&'static str>,
    projects: Vec<Project>,
    may_write: bool,
    is_first_page: bool,
    older: Option<ProjectId>,
}

/// `GET /o/{organization}/projects?before=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadProjects>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let organization = visitor.membership.organization;
    let rows = ROWS + 1;
    let mut projects =
        tenancy::list_projects(app.db.reader(), organization, None, before, rows).await?;
    let has_more = projects.len() > ROWS as usize;
    projects.truncate(ROWS as usize);
    let template = ProjectsPage {
        frame: visitor.frame(Section::Projects),
        here: visitor.path("/projects"),
        notice: match asked.first("done") {
            "created" => Some("The project is made. Keys can be confined to it now."),
            "deleted" => Some("The project is deleted, and everything that was confined to it."),
            _ => None,
        },
        may_write: visitor.caller.may::<WriteProjects>(),
        is_first_page: before.is_none(),
        older: projects.last().map(|project| project.id).filter(|_| has_more),
        projects,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "organizations/pages/project_new.html")]
struct NewProjectPage<'a> {
    frame: Frame,
    list: String,
    form: FormState,
    name: &'a str,
    description: &'a str,
}

fn new_page(visitor: &Visitor<WriteProjects>, form: FormState, sent: &Parameters) -> Response {
    let status = form.status();
    let template = NewProjectPage {
        frame: visitor.frame(Section::Projects),
        list: visitor.path("/projects"),
        form,
        name: sent.first("name"),
        description: sent.first("description"),
    };
    page(template, status)
}

/// `GET /o/{organization}/projects/new`
pub async fn new(visitor: Visitor<WriteProjects>) -> Response {
    new_page(&visitor, FormState::new(&visitor.person), &Parameters::default())
}

/// `POST /o/{organization}/projects/new`
pub async fn create(
    State(app): State<App>,
    visitor: Visitor<WriteProjects>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    match make(&app, &visitor, &sent).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/projects?done=created")).into_response()),
        Err(Refused::Invalid(problems)) => {
            Ok(new_page(&visitor, FormState::refused(&visitor.person, problems), &sent))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn make(
    app: &App,
    visitor: &Visitor<WriteProjects>,
    sent: &Parameters,
) -> Result<(), Refused> {
    let now = visitor.person.now;
    let once = match Once::begin(&app.db, now, &visitor.caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(_) => return Ok(()),
    };
    let new = NewProject {
        organization: visitor.membership.organization,
        name: sent.first("name"),
        description: &sent.text("description"),
    };
    let project = tenancy::create_project(once.tx(), now, &visitor.caller.by, new).await?;
    Ok(once.made(project.id).await?)
}

#[derive(Template)]
#[template(path = "organizations/pages/project.html")]
struct ProjectPage<'a> {
    frame: Frame,
    list: String,
    here: String,
    notice: Option<&'static str>,
    form: FormState,
    project: &'a Project,
    name: &'a str,
    description: &'a str,
    version: i32,
    may_write: bool,
}

async fn found<P>(app: &App, visitor: &Visitor<P>, id: ProjectId) -> Result<Project, PageError> {
    let organization = visitor.membership.organization;
    let project = tenancy::find_project(app.db.reader(), organization, id).await?;
    project.ok_or_else(PageError::not_found)
}

/// `GET /o/{organization}/projects/{id}`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadProjects>,
    Named(id): Named<ProjectId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let project = found(&app, &visitor, id).await?;
    let template = ProjectPage {
        frame: visitor.frame(Section::Projects),
        list: visitor.path("/projects"),
        here: visitor.path(&format!("/projects/{id}")),
        notice: (asked.first("done") == "changed").then_some("Saved."),
        form: FormState::new(&visitor.person),
        name: &project.name,
        description: &project.description,
        version: project.version,
        may_write: visitor.caller.may::<WriteProjects>(),
        project: &project,
    };
    Ok(page(template, StatusCode::OK))
}

/// `POST /o/{organization}/projects/{id}`
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteProjects>,
    Named(id): Named<ProjectId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let here = visitor.path(&format!("/projects/{id}"));
    let problems = match change(&app, &visitor, id, &sent).await {
        Ok(()) => return Ok(Redirect::to(&format!("{here}?done=changed")).into_response()),
        Err(Refused::Invalid(problems)) => problems,
        Err(refused) => return Err(refused.into()),
    };
    let project = found(&app, &visitor, id).await?;
    let form = FormState::refused(&visitor.person, problems);
    let status = form.status();
    let template = ProjectPage {
        frame: visitor.frame(Section::Projects),
        list: visitor.path("/projects"),
        here,
        notice: None,
        form,
        name: sent.first("name"),
        description: sent.first("description"),
        // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
        version: sent.first("version").parse().unwrap_or_default(),
        may_write: true,
        project: &project,
    };
    Ok(page(template, status))
}

async fn change(
    app: &App,
    visitor: &Visitor<WriteProjects>,
    id: ProjectId,
    sent: &Parameters,
) -> Result<(), Refused> {
    let tx = app.db.begin().await?;
    let description = sent.text("description");
    let changes =
        ProjectChanges { name: Some(sent.first("name")), description: Some(&description) };
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let expected = Some(sent.first("version").parse().unwrap_or_default());
    let organization = visitor.membership.organization;
    tenancy::edit_project(&tx, now, by, organization, id, expected, changes).await?;
    Ok(tx.commit().await?)
}

#[derive(Template)]
#[template(path = "organizations/pages/project_delete.html")]
struct DeleteProjectPage<'a> {
    frame: Frame,
    project_path: String,
    form: FormState,
    project: &'a Project,
}

fn delete_page(visitor: &Visitor<WriteProjects>, form: FormState, project: &Project) -> Response {
    let status = form.status();
    let template = DeleteProjectPage {
        frame: visitor.frame(Section::Projects),
        project_path: visitor.path(&format!("/projects/{}", project.id)),
        form,
        project,
    };
    page(template, status)
}

/// `GET /o/{organization}/projects/{id}/delete`
pub async fn delete(
    State(app): State<App>,
    visitor: Visitor<WriteProjects>,
    Named(id): Named<ProjectId>,
) -> Result<Response, PageError> {
    let project = found(&app, &visitor, id).await?;
    Ok(delete_page(&visitor, FormState::new(&visitor.person), &project))
}

/// `POST /o/{organization}/projects/{id}/delete`
pub async fn post_delete(
    State(app): State<App>,
    visitor: Visitor<WriteProjects>,
    Named(id): Named<ProjectId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let project = found(&app, &visitor, id).await?;
    match remove(&app, &visitor, &project, &sent).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/projects?done=deleted")).into_response()),
        Err(Refused::Invalid(problems)) => {
            Ok(delete_page(&visitor, FormState::refused(&visitor.person, problems), &project))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn remove(
    app: &App,
    visitor: &Visitor<WriteProjects>,
    project: &Project,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != project.name {
        return Err(Refused::field("name", "must be the name of the project, letter by letter"));
    }
    let tx = app.db.begin().await?;
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    delete_project(&tx, now, by, project.organization, project.id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

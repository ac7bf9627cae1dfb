use entity::{OrganizationId, ProjectId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::{Project, store};
use crate::audit::{self, By, Event};
use crate::platform::{Refused, checked_description, checked_name};

/// A project to be.
pub struct NewProject<'a> {
    pub organization: OrganizationId,
    pub name: &'a str,
    pub description: &'a str,
}

/// Makes a project.
///
/// # Errors
/// When a field is wrong or the database fails.
pub async fn create_project(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    new: NewProject<'_>,
) -> Result<Project, Refused> {
    let mut errors = Vec::new();
    let name = checked_name("name", new.name, &mut errors).to_owned();
    let description = checked_description(new.description, &mut errors).to_owned();
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let project = Project {
        id: ProjectId::new(now),
        organization: new.organization,
        name,
        description,
        created_at: now,
        version: 1,
    };
    store::insert_project(tx, &project).await?;
    let event = Event::new("project.created", project.id).in_organization(project.organization);
    audit::record(tx, now, by, event).await?;
    Ok(project)
}

/// What to change of a project; what is none stays.
pub struct ProjectChanges<'a> {
    pub name: Option<&'a str>,
    pub description: Option<&'a str>,
}

/// Changes a project.
///
/// # Errors
/// When there is no such project, it is not of the expected version, a field is wrong, or the database fails.
pub async fn edit_project(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: ProjectId,
    expected: Option<i32>,
    changes: ProjectChanges<'_>,
) -> Result<Project, Refused> {
    let mut errors = Vec::new();
    let name = changes.name.map(|name| checked_name("name", name, &mut errors).to_owned());
    let description =
        changes.description.map(|text| checked_description(text, &mut errors).to_owned());
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let edited = store::update_project(tx, organization, id, expected, name, description).await?;
    let Some(project) = edited else {
        let is_there = store::find_project(tx, organization, id).await?.is_some();
        return Err(Refused::absent_or_stale(is_there));
    };
    let event = Event::new("project.changed", id).in_organization(organization);
    audit::record(tx, now, by, event).await?;
    Ok(project)
}

//! `/o/{organization}/api-keys`: the pages about API keys.

mod choices;
mod create;
mod edit;
mod hand_over;
mod list;
mod one;
mod revoke;
mod revoke_many;
mod rotate;
mod secret;
mod typed;

use std::collections::HashMap;

use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{ApiKeyId, ProjectId, UserId};

use super::{ApiKey, ApiKeySettings, Status, store};
use crate::access::{AdminDecoys, Permission};
use crate::app::App;
use crate::console::{Visitor, grouped};
use crate::http::PageError;
use crate::platform::Refused;
use crate::{identity, tenancy};

pub use create::{create, new};
pub use edit::{edit, post_edit};
pub use hand_over::{hand_over, post_hand_over};
pub use list::list;
pub use one::one;
pub use revoke::{post_revoke, revoke};
pub use revoke_many::{post_revoke_many, revoke_many};
pub use rotate::{post_rotate, rotate};

/// How many projects there are to choose from, the newest.
const PROJECTS: u64 = 200;

/// One line of a list to choose from.
struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

impl Choice {
    fn new(value: impl Into<String>, label: impl Into<String>, chosen: &str) -> Self {
        let value = value.into();
        Self { is_chosen: value == chosen, label: label.into(), value }
    }
}

/// What a key is now, in a word and with its colour.
#[derive(Debug, Clone, Copy)]
struct Standing {
    word: &'static str,
    tone: &'static str,
}

impl From<Status> for Standing {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self { word: "Active", tone: "good" },
            Status::Expired => Self { word: "Expired", tone: "" },
            Status::Revoked => Self { word: "Revoked", tone: "alarm" },
        }
    }
}

/// The key, if whoever visits may know of it.
async fn found<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    id: ApiKeyId,
) -> Result<ApiKey, PageError> {
    let key = store::find(app.db.reader(), Some(visitor.membership.organization), id).await?;
    key.filter(|key| !key.is_decoy || visitor.caller.may::<AdminDecoys>())
        .ok_or_else(PageError::not_found)
}

/// The same, for a page on which something is done to it.
async fn found_active<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    id: ApiKeyId,
) -> Result<ApiKey, PageError> {
    let key = found(app, visitor, id).await?;
    match key.status(visitor.person.now) {
        Status::Active => Ok(key),
        _ => Err(Refused::Conflict("The key is not active any more.".to_owned()).into()),
    }
}

/// The projects to choose from, and the one that is chosen, whichever it is.
async fn projects<P>(
    app: &App,
    visitor: &Visitor<P>,
    chosen: &str,
) -> Result<Vec<Choice>, PageError> {
    let (db, organization) = (app.db.reader(), visitor.membership.organization);
    let mut projects = tenancy::list_projects(db, organization, None, None, PROJECTS).await?;
    if let Ok(id) = chosen.parse::<ProjectId>()
        && projects.iter().all(|project| project.id != id)
    {
        projects.extend(tenancy::find_project(db, organization, id).await?);
    }
    let choice = |it: tenancy::Project| Choice::new(it.id.to_string(), it.name, chosen);
    Ok(projects.into_iter().map(choice).collect())
}

/// What the people and projects of these keys are called.
struct Names {
    people: HashMap<UserId, String>,
    projects: HashMap<ProjectId, String>,
}

impl Names {
    async fn of<P>(app: &App, visitor: &Visitor<P>, keys: &[ApiKey]) -> Result<Self, PageError> {
        let (db, organization) = (app.db.reader(), visitor.membership.organization);
        let mut people: Vec<UserId> = keys.iter().map(|key| key.created_by).collect();
        people.extend(keys.iter().filter_map(|key| key.owner));
        people.sort_unstable();
        people.dedup();
        let mut projects: Vec<ProjectId> = keys.iter().filter_map(|key| key.project).collect();
        projects.sort_unstable();
        projects.dedup();
        let people = identity::find_users(db, people).await?;
        let people = people.into_iter().map(|(id, user)| (id, user.name)).collect();
        let projects = match projects.is_empty() {
            true => HashMap::new(),
            false => tenancy::project_names(db, organization, projects).await?,
        };
        Ok(Self { people, projects })
    }

    fn person(&self, id: UserId) -> String {
        self.people.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn project(&self, id: ProjectId) -> String {
        self.projects.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// What stands below the field of a key's own limit.
fn limit_hint(settings: &ApiKeySettings) -> String {
    let usual = grouped(u64::from(settings.requests_per_minute));
    format!("How often it may be used. {usual} where it is empty.")
}

/// The address of a key's page; `rest` is empty, or begins with a slash or a question mark.
fn path_of<P: Permission>(visitor: &Visitor<P>, id: ApiKeyId, rest: &str) -> String {
    visitor.path(&format!("/api-keys/{id}{rest}"))
}

/// 303.
fn to(address: &str) -> Response {
    Redirect::to(address).into_response()
}

//! The list.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ApiKeyId, ProjectId, Timestamp};

use super::{Choice, Names, Standing, projects, to};
use crate::access::{AdminDecoys, ReadApiKeys, WriteApiKeys};
use crate::api_keys::{self, ApiKey, ListApiKeys, Order, Overview, Status, store};
use crate::app::App;
use crate::console::{
    Asked, Day, Frame, Moment, Remaining, Section, Visitor, grouped, page, query_of,
};
use crate::http::{PageError, Parameters};

/// How many are on a page.
const ROWS: u64 = 40;
/// Of a key's scopes as many are shown in its line.
const SCOPES: usize = 3;
const LONGEST_NAME: usize = 100;

#[derive(Template)]
#[template(path = "api_keys/pages/list.html")]
struct ListPage<'a> {
    frame: Frame,
    here: String,
    notice: Option<&'static str>,
    /// Whether the organization has no key at all.
    is_empty: bool,
    may_write: bool,
    name: &'a str,
    statuses: Vec<Choice>,
    projects: Vec<Choice>,
    orders: Vec<Choice>,
    rows: Vec<Row>,
    /// Such as `1–50 of 10,000`.
    place: String,
    earlier: Option<String>,
    later: Option<String>,
}

/// A key as a line of the list.
struct Row {
    id: ApiKeyId,
    name: String,
    hint: String,
    project: Option<String>,
    scopes: Vec<String>,
    further_scopes: usize,
    created_at: Timestamp,
    created_by: String,
    last_used_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    standing: Standing,
    is_active: bool,
    rotating: Option<Remaining>,
    is_decoy: bool,
}

impl Row {
    fn new(key: ApiKey, now: Timestamp, names: &Names) -> Self {
        let scopes = key.scopes.iter().take(SCOPES).map(ToString::to_string).collect();
        let status = key.status(now);
        let rotating = key.rotating_until.filter(|end| *end > now && status == Status::Active);
        Self {
            id: key.id,
            hint: format!("{}…{}", key.start, key.end),
            project: key.project.map(|id| names.project(id)),
            scopes,
            further_scopes: key.scopes.len().saturating_sub(SCOPES),
            created_at: key.created_at,
            created_by: names.person(key.created_by),
            last_used_at: key.last_use.map(|used| used.at),
            expires_at: key.expires_at,
            standing: status.into(),
            is_active: status == Status::Active,
            rotating: rotating.map(|end| Remaining::until(end, now)),
            is_decoy: key.is_decoy,
            name: key.name,
        }
    }
}

/// What is looked for, as the address says it. What can't be understood counts as not said.
struct Filter<'a> {
    name: &'a str,
    status: &'a str,
    project: &'a str,
    sort: &'a str,
    page: u32,
}

impl<'a> Filter<'a> {
    fn of(asked: &'a Parameters) -> Self {
        let name = asked.first("name").trim();
        let end = name.char_indices().nth(LONGEST_NAME).map_or(name.len(), |(at, _)| at);
        Self {
            name: &name[..end],
            status: asked.first("status"),
            project: asked.first("project"),
            sort: asked.first("sort"),
            page: asked.first("page").parse().unwrap_or(1).max(1),
        }
    }

    fn status(&self) -> Option<Status> {
        match self.status {
            "all" => None,
            "expired" => Some(Status::Expired),
            "revoked" => Some(Status::Revoked),
            _ => Some(Status::Active),
        }
    }

    fn order(&self) -> Order {
        match self.sort {
            "oldest" => Order::Oldest,
            "name" => Order::Name,
            "used" => Order::LastUsed,
            "expiry" => Order::Expiry,
            _ => Order::Newest,
        }
    }

    fn project(&self) -> Option<ProjectId> {
        self.project.parse().ok()
    }

    fn skip(&self) -> u64 {
        u64::from(self.page - 1) * ROWS
    }

    /// Whether nothing is left out but what has ended.
    fn is_usual(&self) -> bool {
        self.name.is_empty() && self.project().is_none()
    }

    /// The same on another page, as a query.
    fn query(&self, page: u32) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        query_of([
            ("name", self.name),
            ("status", self.status),
            ("project", self.project),
            ("sort", self.sort),
            ("page", &page),
        ])
    }
}

/// `GET /o/{organization}/api-keys?name=&status=&project=&sort=&page=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadApiKeys>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let filter = Filter::of(&asked);
    let (here, now) = (visitor.path("/api-keys"), visitor.person.now);
    let include_decoys = visitor.caller.may::<AdminDecoys>();
    let which = Overview {
        organization: visitor.membership.organization,
        project: filter.project(),
        status: filter.status(),
        name: Some(filter.name),
        include_decoys,
        order: filter.order(),
        skip: filter.skip(),
        limit: ROWS,
    };
    let found = api_keys::overview(app.db.reader(), now, which).await?;
    if found.keys.is_empty() && filter.page > 1 {
        // There are fewer by now.
        return Ok(to(&format!("{here}?{}", filter.query(1))));
    }
    let is_empty = found.keys.is_empty()
        && filter.is_usual()
        && !has_any(&app, &visitor, include_decoys).await?;
    let names = Names::of(&app, &visitor, &found.keys).await?;
    let (first, last) = (filter.skip() + 1, filter.skip() + found.keys.len() as u64);
    let link = |page| format!("{here}?{}", filter.query(page));
    let template = ListPage {
        frame: visitor.frame(Section::ApiKeys),
        notice: match asked.first("done") {
            "revoked" => Some("The keys are revoked. Nobody can use them any more."),
            _ => None,
        },
        is_empty,
        may_write: visitor.caller.may::<WriteApiKeys>(),
        name: filter.name,
        statuses: [("", "Active"), ("all", "All"), ("expired", "Expired"), ("revoked", "Revoked")]
            .map(|(value, label)| Choice::new(value, label, filter.status))
            .into(),
        projects: projects(&app, &visitor, filter.project).await?,
        orders: [
            ("", "Newest first"),
            ("oldest", "Oldest first"),
            ("name", "Name"),
            ("used", "Last used"),
            ("expiry", "Expires soonest"),
        ]
        .map(|(value, label)| Choice::new(value, label, filter.sort))
        .into(),
        place: format!("{}–{} of {}", grouped(first), grouped(last), grouped(found.total)),
        earlier: (filter.page > 1).then(|| link(filter.page - 1)),
        later: (last < found.total).then(|| link(filter.page + 1)),
        rows: found.keys.into_iter().map(|key| Row::new(key, now, &names)).collect(),
        here,
    };
    Ok(page(template, StatusCode::OK))
}

/// Whether the organization has a key, whatever became of it.
async fn has_any(
    app: &App,
    visitor: &Visitor<ReadApiKeys>,
    include_decoys: bool,
) -> Result<bool, PageError> {
    let organization = Some(visitor.membership.organization);
    let any = ListApiKeys { organization, include_decoys, limit: 1, ..ListApiKeys::default() };
    Ok(!store::list(app.db.reader(), visitor.person.now, any).await?.is_empty())
}

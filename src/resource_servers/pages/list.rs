use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{OrganizationId, ResourceServerId, Timestamp};

use super::super::{ResourceServer, store};
use crate::access::{ReadResourceServers, WriteResourceServers};
use crate::app::App;
use crate::console::{Asked, Day, Frame, Section, Visitor, grouped, page};
use crate::http::PageError;

/// How many are on a page.
const ROWS: u64 = 50;

#[derive(Template)]
#[template(path = "resource_servers/pages/list.html")]
struct ResourceServersPage {
    frame: Frame,
    /// The address of this list.
    here: String,
    notice: Option<&'static str>,
    rows: Vec<Row>,
    /// Whether there is one of the organization's own on this page.
    has_own: bool,
    may_write: bool,
    is_first_page: bool,
    older: Option<ResourceServerId>,
}

struct Row {
    id: ResourceServerId,
    name: String,
    audience: String,
    scopes: String,
    whose: &'static str,
    created_at: Timestamp,
}

impl Row {
    fn new(api: ResourceServer, organization: OrganizationId) -> Self {
        Self {
            id: api.id,
            scopes: grouped(api.catalog.0.len() as u64),
            whose: whose(&api, organization),
            created_at: api.created_at,
            name: api.name,
            audience: api.audience,
        }
    }
}

/// Whose an API is, in words.
pub(super) fn whose(api: &ResourceServer, organization: OrganizationId) -> &'static str {
    match api.organization == Some(organization) {
        _ if api.is_management => "Portcullis itself",
        true if api.is_shared => "Ours, for every organization",
        true => "Ours",
        false => "Shared with everybody",
    }
}

/// `GET /o/{organization}/resource-servers?before=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadResourceServers>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let organization = visitor.membership.organization;
    let mut apis = store::list_page(app.db.reader(), organization, before, ROWS + 1).await?;
    let has_more = apis.len() > ROWS as usize;
    apis.truncate(ROWS as usize);
    let template = ResourceServersPage {
        frame: visitor.frame(Section::ResourceServers),
        here: visitor.path("/resource-servers"),
        notice: (asked.first("done") == "deleted").then_some(
            "The resource server is deleted, with its credential and everything that was allowed there.",
        ),
        has_own: apis.iter().any(|api| api.organization == Some(organization)),
        may_write: visitor.caller.may::<WriteResourceServers>(),
        is_first_page: before.is_none(),
        older: apis.last().map(|api| api.id).filter(|_| has_more),
        rows: apis.into_iter().map(|api| Row::new(api, organization)).collect(),
    };
    Ok(page(template, StatusCode::OK))
}

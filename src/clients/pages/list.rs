use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ClientId, Timestamp};

use super::super::store::{self, ListClients};
use super::super::{Client, Status};
use super::in_words;
use crate::access::{ReadClients, WriteClients};
use crate::app::App;
use crate::console::{Asked, Day, Frame, Section, Visitor, page};
use crate::http::{PageError, Parameters};

/// How many are on a page.
const ROWS: u64 = 50;
/// The longest name that there can be.
const LONGEST_NAME: usize = 100;

#[derive(Template)]
#[template(path = "clients/pages/list.html")]
struct ApplicationsPage {
    frame: Frame,
    /// The address of this list.
    here: String,
    notice: Option<&'static str>,
    rows: Vec<Row>,
    may_write: bool,
    /// What is looked for.
    name: String,
    status: String,
    is_filtered: bool,
    is_first_page: bool,
    /// What to ask for the page after this one, and for the first one.
    older: Option<String>,
    newest: String,
}

struct Row {
    id: ClientId,
    name: String,
    is_confidential: bool,
    grant_types: Vec<&'static str>,
    status: Status,
    created_at: Timestamp,
}

impl From<Client> for Row {
    fn from(client: Client) -> Self {
        Self {
            id: client.id,
            is_confidential: client.is_confidential,
            grant_types: client.grant_types.iter().map(|it| in_words(*it)).collect(),
            status: client.status(),
            created_at: client.created_at,
            name: client.name,
        }
    }
}

/// `GET /o/{organization}/applications?name=&status=&before=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadClients>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let name = looked_for(&asked);
    let status = match asked.first("status") {
        "active" => Some(Status::Active),
        "disabled" => Some(Status::Disabled),
        "deleted" => Some(Status::Deleted),
        _ => None,
    };
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let which = ListClients {
        organization: visitor.membership.organization,
        status,
        leaves_out_deleted: true,
        name: Some(name.as_str()).filter(|name| !name.is_empty()),
        before,
        limit: ROWS + 1,
    };
    let mut clients = store::list_page(app.db.reader(), which).await?;
    let has_more = clients.len() > ROWS as usize;
    clients.truncate(ROWS as usize);
    let last = clients.last().map(|client| client.id).filter(|_| has_more);
    let chosen = if status.is_some() { asked.first("status") } else { "" };
    let template = ApplicationsPage {
        frame: visitor.frame(Section::Applications),
        here: visitor.path("/applications"),
        notice: (asked.first("done") == "deleted").then_some(
            "The application is deleted. Its tokens have ended, and what people had allowed it too.",
        ),
        rows: clients.into_iter().map(Into::into).collect(),
        may_write: visitor.caller.may::<WriteClients>(),
        is_filtered: status.is_some() || !name.is_empty(),
        is_first_page: before.is_none(),
        older: last.map(|last| query(&name, chosen, Some(last))),
        newest: query(&name, chosen, None),
        status: chosen.to_owned(),
        name,
    };
    Ok(page(template, StatusCode::OK))
}

/// How the name begins that is looked for: as much of it as a name can have.
fn looked_for(asked: &Parameters) -> String {
    let letters = asked.first("name").trim().chars().filter(|letter| !letter.is_control());
    letters.take(LONGEST_NAME).collect()
}

fn query(name: &str, status: &str, before: Option<ClientId>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in [("name", name), ("status", status)] {
        if !value.is_empty() {
            query.append_pair(key, value);
        }
    }
    if let Some(before) = before {
        query.append_pair("before", &before.to_string());
    }
    query.finish()
}

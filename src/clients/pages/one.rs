use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ClientId, ResourceServerId};
use portcullis_verifier::ScopeSet;

use super::super::{Client, ClientAudience};
use super::{Head, found, in_words};
use crate::access::ReadClients;
use crate::app::App;
use crate::console::{Asked, Frame, Moment, Named, Section, Visitor, page};
use crate::http::PageError;
use crate::resource_servers::{self, ResourceServer};

#[derive(Template)]
#[template(path = "clients/pages/one.html")]
struct ApplicationPage {
    frame: Frame,
    head: Head,
    notice: Option<&'static str>,
    client: Client,
    /// How it gets tokens: in words, and by its name.
    grant_types: Vec<(&'static str, &'static str)>,
    /// Addresses of its own, with what is there.
    links: Vec<(&'static str, String)>,
    audiences: Vec<Audience>,
}

/// What it may ask of an API.
struct Audience {
    id: ResourceServerId,
    name: String,
    audience: String,
    /// Each scope with its sentence.
    scopes: Vec<(String, String)>,
    /// What a request without `scope` gets, where it is not all of it.
    default: Option<String>,
    /// Whether the organization may still use the API.
    is_offered: bool,
}

impl Audience {
    fn new(it: &ClientAudience, offered: &[ResourceServer]) -> Self {
        let api = offered.iter().find(|api| api.id == it.resource_server);
        let sentence = |scope| api.map_or_else(String::new, |api| api.catalog.sentence(scope));
        let scopes = it.allowed.iter().map(|scope| (scope.to_string(), sentence(scope)));
        Self {
            id: it.resource_server,
            name: api.map_or_else(|| it.resource_server.to_string(), |api| api.name.clone()),
            audience: api.map(|api| api.audience.clone()).unwrap_or_default(),
            scopes: scopes.collect(),
            default: (it.default != it.allowed).then(|| in_text(&it.default)),
            is_offered: api.is_some(),
        }
    }
}

fn in_text(scopes: &ScopeSet) -> String {
    if scopes.is_empty() { "nothing".to_owned() } else { scopes.to_string() }
}

/// `GET /o/{organization}/applications/{id}?done=`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadClients>,
    Named(id): Named<ClientId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let client = found(&app, &visitor, id).await?;
    let organization = visitor.membership.organization;
    let offered = resource_servers::list_offered(app.db.reader(), organization).await?;
    let template = ApplicationPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(&visitor, &client, ""),
        notice: match asked.first("done") {
            "created" => {
                Some("The application is registered. Under “Connect” is what to paste into it.")
            }
            "changed" => Some("Saved."),
            "disabled" => Some(
                "The application is disabled: it gets no tokens, and those that it had have ended.",
            ),
            "enabled" => Some("The application is enabled."),
            _ => None,
        },
        grant_types: client.grant_types.iter().map(|it| (in_words(*it), it.as_str())).collect(),
        links: links(&client),
        audiences: client.audiences.iter().map(|it| Audience::new(it, &offered)).collect(),
        client,
    };
    Ok(page(template, StatusCode::OK))
}

fn links(client: &Client) -> Vec<(&'static str, String)> {
    let all = [
        ("Logo", &client.logo_uri),
        ("Privacy policy", &client.policy_uri),
        ("Terms of service", &client.tos_uri),
    ];
    all.into_iter().filter_map(|(label, uri)| Some((label, uri.clone()?))).collect()
}

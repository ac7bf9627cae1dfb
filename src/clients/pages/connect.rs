use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ClientId, ResourceServerId};

use super::super::{Client, GrantType};
use super::snippets::{PLACEHOLDER, Snippet, Values};
use super::{Head, living};
use crate::access::ReadClients;
use crate::app::App;
use crate::console::{Asked, Frame, Named, Section, Visitor, page};
use crate::http::PageError;
use crate::resource_servers::{self, ResourceServer};

#[derive(Template)]
#[template(path = "clients/pages/connect.html")]
struct ConnectPage {
    frame: Frame,
    head: Head,
    issuer: String,
    client: Client,
    requires_pkce: bool,
    acts_for_people: bool,
    /// The APIs that it may ask for.
    apis: Vec<ResourceServer>,
    /// The one that the code asks for.
    chosen: Option<ResourceServerId>,
    /// Code that acts for people, and code that acts for itself.
    flows: Vec<Flow>,
    placeholder: &'static str,
}

struct Flow {
    title: &'static str,
    snippets: Vec<Snippet>,
}

/// `GET /o/{organization}/applications/{id}/connect?resource_server=`
pub async fn connect(
    State(app): State<App>,
    visitor: Visitor<ReadClients>,
    Named(id): Named<ClientId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let client = living(&app, &visitor, id).await?;
    let organization = visitor.membership.organization;
    let mut apis = resource_servers::list_offered(app.db.reader(), organization).await?;
    apis.retain(|api| client.audience(api.id).is_some());
    let wanted = asked.first("resource_server").parse().ok();
    let chosen = apis.iter().find(|api| Some(api.id) == wanted).or_else(|| usual(&apis));
    let acts_for_people = client.may_use(GrantType::AuthorizationCode);
    let template = ConnectPage {
        frame: visitor.frame(Section::Applications),
        head: Head::new(&visitor, &client, "connect"),
        issuer: app.config.issuer.clone(),
        requires_pkce: client.requires_pkce,
        acts_for_people,
        chosen: chosen.map(|api| api.id),
        flows: match chosen {
            Some(api) => flows(&app.config.issuer, &client, api, apis.len() > 1)?,
            None => Vec::new(),
        },
        apis,
        client,
        placeholder: PLACEHOLDER,
    };
    Ok(page(template, StatusCode::OK))
}

/// The API that is meant mostly: the first that is not our own.
fn usual(apis: &[ResourceServer]) -> Option<&ResourceServer> {
    apis.iter().find(|api| !api.is_management).or_else(|| apis.first())
}

fn flows(
    issuer: &str,
    client: &Client,
    api: &ResourceServer,
    names_resource: bool,
) -> askama::Result<Vec<Flow>> {
    let allowed = client.audience(api.id).map(|it| api.catalog.relevant(&it.allowed));
    let values = Values {
        issuer,
        client,
        scope: allowed.unwrap_or_default().to_string(),
        resource: names_resource.then_some(api.audience.as_str()),
    };
    let mut flows = Vec::new();
    if client.may_use(GrantType::AuthorizationCode) {
        flows.push(Flow { title: "For people", snippets: values.for_people()? });
    }
    if client.may_use(GrantType::ClientCredentials) {
        flows.push(Flow { title: "For itself", snippets: values.for_itself()? });
    }
    Ok(flows)
}

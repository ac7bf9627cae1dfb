//! Making a key.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use secrecy::SecretString;

use super::choices::{Group, groups};
use super::secret::secret_page;
use super::typed::{Read, Typed};
use super::{Choice, limit_hint, path_of, projects, to};
use crate::access::WriteApiKeys;
use crate::api_keys::{self, AllowedNetworks, ApiKey, NewApiKey};
use crate::app::App;
use crate::console::{Asked, FormState, Frame, Once, Section, Sent, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::{FieldError, Refused};
use crate::resource_servers::{self, ResourceServer};

#[derive(Template)]
#[template(path = "api_keys/pages/create.html")]
struct CreatePage<'a> {
    frame: Frame,
    list: String,
    /// Where scripts of this page are.
    base: &'a str,
    form: FormState,
    typed: &'a Typed,
    groups: Vec<Group>,
    projects: Vec<Choice>,
    environments: Vec<Choice>,
    brands: Vec<Choice>,
    expiries: Vec<Choice>,
    own_address: Option<&'a str>,
    /// Whether a network that holds every address has to be confirmed.
    asks_any_address: bool,
    limit_hint: String,
}

/// `GET /o/{organization}/api-keys/new?project=`
pub async fn new(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let typed = Typed::new(asked.first("project"));
    form_page(&app, &visitor, FormState::new(&visitor.person), &typed).await
}

async fn form_page(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    form: FormState,
    typed: &Typed,
) -> Result<Response, PageError> {
    let apis =
        resource_servers::list_offered(app.db.reader(), visitor.membership.organization).await?;
    let settings = &app.config.api_keys;
    let choice = |word: &str, chosen: &str| {
        let label = if word.is_empty() { "None" } else { word };
        Choice::new(word, label, chosen)
    };
    let status = form.status();
    let template = CreatePage {
        frame: visitor.frame(Section::ApiKeys),
        list: visitor.path("/api-keys"),
        base: &visitor.person.base,
        asks_any_address: typed.has_any_address || form.problem("any_address").is_some(),
        form,
        groups: groups(&apis, &visitor.caller.scopes, &typed.scopes),
        projects: projects(app, visitor, &typed.project).await?,
        environments: settings
            .environments
            .iter()
            .map(|word| choice(word, &typed.environment))
            .collect(),
        brands: app.config.brands().iter().map(|word| choice(word, &typed.brand)).collect(),
        expiries: typed.expiries(None),
        own_address: visitor.person.source.address.as_deref(),
        limit_hint: limit_hint(settings),
        typed,
    };
    Ok(page(template, status))
}

/// What sending the form came to.
enum Outcome {
    Made(Vec<ResourceServer>, Box<ApiKey>, SecretString),
    /// It was sent before, and made what has this id.
    Before(String),
}

/// `POST /o/{organization}/api-keys/new`
pub async fn create(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let typed = Typed::of(&sent);
    match make(&app, &visitor, &typed, &sent).await {
        Ok(Outcome::Made(apis, key, secret)) => {
            Ok(secret_page(&app, &visitor, &apis, &key, &secret, true))
        }
        Ok(Outcome::Before(id)) => Ok(match id.parse() {
            Ok(id) => to(&path_of(&visitor, id, "?done=made")),
            Err(_) => to(&visitor.path("/api-keys")),
        }),
        Err(refused) => {
            let form = FormState::returned(&visitor.person, typed.placed(refused))?;
            form_page(&app, &visitor, form, &typed).await
        }
    }
}

async fn make(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    typed: &Typed,
    sent: &Parameters,
) -> Result<Outcome, Refused> {
    let now = visitor.person.now;
    let wanted = checked(visitor, typed)?;
    visitor.person.confirm(app, sent).await?;
    let once = match Once::begin(&app.db, now, &visitor.caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(id) => return Ok(Outcome::Before(id)),
    };
    let organization = visitor.membership.organization;
    let apis = resource_servers::list_offered(once.tx(), organization).await?;
    let is_said = |text: &&str| !text.is_empty();
    let project = Some(typed.project.as_str()).filter(is_said).map(str::parse).transpose();
    let project =
        project.map_err(|_| Refused::field("project", "is no project of the organization"))?;
    let new = NewApiKey {
        organization,
        project,
        created_by: visitor.person.session.user,
        reach: &visitor.caller.scopes,
        name: &typed.name,
        description: &typed.description,
        labels: wanted.labels,
        scopes: &wanted.scopes,
        allowed_ips: wanted.allowed_ips.as_deref(),
        environment: Some(typed.environment.as_str()).filter(is_said),
        brand: Some(typed.brand.as_str()).filter(is_said),
        requests_per_minute: wanted.requests_per_minute,
        expires_at: wanted.expires_at,
        is_decoy: false,
    };
    let (brands, settings) = (app.config.brands(), &app.config.api_keys);
    let by = &visitor.caller.by;
    let (key, secret) = api_keys::issue(once.tx(), now, by, &brands, settings, &apis, new).await?;
    once.made(key.id).await?;
    Ok(Outcome::Made(apis, Box::new(key), secret))
}

/// What can be said before anything is begun.
fn checked(visitor: &Visitor<WriteApiKeys>, typed: &Typed) -> Result<Read, Refused> {
    let mut errors = Vec::new();
    let own_address = visitor.person.source.address.as_deref();
    let wanted = typed.read(visitor.person.now, None, own_address, &mut errors);
    let warnings = AllowedNetworks::warnings(wanted.allowed_ips.as_deref());
    if !warnings.is_empty() && !typed.has_any_address {
        let message = format!("must be ticked if it is meant: {}", warnings.join(", "));
        errors.push(FieldError::new("any_address", message));
    }
    if errors.is_empty() { Ok(wanted) } else { Err(Refused::Invalid(errors)) }
}

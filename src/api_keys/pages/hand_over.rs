//! Handing a key over.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use entity::{ApiKeyId, UserId};

use super::{Names, found_active, path_of, to};
use crate::access::AdminApiKeys;
use crate::api_keys::{self, ApiKey};
use crate::app::App;
use crate::console::{FormState, Frame, Named, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::identity::normalized_email;
use crate::platform::Refused;
use crate::tenancy::{self, ListMembers};

/// As many members are looked through whose addresses begin like the one that is meant.
const ALIKE: u64 = 50;

#[derive(Template)]
#[template(path = "api_keys/pages/hand_over.html")]
struct HandOverPage<'a> {
    frame: Frame,
    here: String,
    form: FormState,
    key: &'a ApiKey,
    /// Who owns it now; none for the organization.
    owner: Option<String>,
    organization: &'a str,
    to: &'a str,
    email: &'a str,
}

async fn form_page(
    app: &App,
    visitor: &Visitor<AdminApiKeys>,
    form: FormState,
    key: &ApiKey,
    sent: &Parameters,
) -> Result<Response, PageError> {
    let names = Names::of(app, visitor, std::slice::from_ref(key)).await?;
    let status = form.status();
    let template = HandOverPage {
        frame: visitor.frame(Section::ApiKeys),
        here: path_of(visitor, key.id, ""),
        form,
        key,
        owner: key.owner.map(|id| names.person(id)),
        organization: &visitor.membership.organization_name,
        to: sent.first("to"),
        email: sent.first("email"),
    };
    Ok(page(template, status))
}

/// `GET /o/{organization}/api-keys/{id}/hand-over`
pub async fn hand_over(
    State(app): State<App>,
    visitor: Visitor<AdminApiKeys>,
    Named(id): Named<ApiKeyId>,
) -> Result<Response, PageError> {
    let key = found_active(&app, &visitor, id).await?;
    let form = FormState::new(&visitor.person);
    form_page(&app, &visitor, form, &key, &Parameters::default()).await
}

/// `POST /o/{organization}/api-keys/{id}/hand-over`
pub async fn post_hand_over(
    State(app): State<App>,
    visitor: Visitor<AdminApiKeys>,
    Named(id): Named<ApiKeyId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let key = found_active(&app, &visitor, id).await?;
    match give(&app, &visitor, &key, &sent).await {
        Ok(()) => Ok(to(&path_of(&visitor, id, "?done=handed-over"))),
        Err(refused) => {
            form_page(&app, &visitor, FormState::returned(&visitor.person, refused)?, &key, &sent)
                .await
        }
    }
}

async fn give(
    app: &App,
    visitor: &Visitor<AdminApiKeys>,
    key: &ApiKey,
    sent: &Parameters,
) -> Result<(), Refused> {
    let owner = match sent.first("to") {
        "organization" => None,
        "member" => Some(member(app, visitor, sent.first("email")).await?),
        _ => return Err(Refused::field("to", "must be chosen")),
    };
    let tx = app.db.begin().await?;
    let (now, by, reach) = (visitor.person.now, &visitor.caller.by, &visitor.caller.scopes);
    api_keys::hand_over(&tx, now, by, key.organization, key.id, owner, reach).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

/// The member with this e-mail address.
async fn member(
    app: &App,
    visitor: &Visitor<AdminApiKeys>,
    email: &str,
) -> Result<UserId, Refused> {
    let unknown = || Refused::field("email", "is no member's address");
    let email = normalized_email(email).ok_or_else(unknown)?;
    let which = ListMembers { email: Some(&email), limit: ALIKE, ..ListMembers::default() };
    let organization = visitor.membership.organization;
    let alike = tenancy::list_members(app.db.reader(), organization, which).await?;
    let found = alike.into_iter().find(|member| member.email == email);
    found.map(|member| member.user).ok_or_else(unknown)
}

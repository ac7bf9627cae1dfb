//! `/o/{organization}/invitations`: who is invited, inviting somebody, and taking it back.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{InvitationId, UserId};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{
    Invitation, ListInvitations, NewInvitation, Power, Status, api, find_open, invite, link,
    revoke, store,
};
use crate::access::{ReadMembers, WriteMembers};
use crate::app::App;
use crate::console::{
    Asked, FormState, Frame, Moment, Named, Once, Section, Sent, Visitor, page, query_of,
};
use crate::http::{Form, PageError, Parameters};
use crate::identity;
use crate::organizations::pages::{RoleChoice, role_choices, role_options};
use crate::platform::Refused;

/// How many are on a page.
const ROWS: u64 = 50;
/// More of an address than this is none.
const LONGEST_SEARCH: usize = 254;
/// The states to choose from, with their words.
const STATES: [(&str, &str); 5] = [
    ("", "Open"),
    ("accepted", "Accepted"),
    ("expired", "Expired"),
    ("revoked", "Revoked"),
    ("all", "All"),
];

/// An invitation as a page shows it.
struct Shown {
    invitation: Invitation,
    status: Status,
    role: String,
    /// Who invites; none where no person does.
    inviter: Option<String>,
}

/// Adds the names of roles and people, all of them together.
async fn shown<P>(
    app: &App,
    visitor: &Visitor<P>,
    invitations: Vec<Invitation>,
) -> Result<Vec<Shown>, PageError> {
    let reader = app.db.reader();
    let options = role_options(app, visitor.membership.organization).await?;
    let mut roles: HashMap<String, String> =
        options.into_iter().map(|role| (role.value, role.name)).collect();
    let inviters: BTreeSet<UserId> = invitations.iter().filter_map(|it| it.invited_by).collect();
    let inviters = identity::find_users(reader, inviters.into_iter().collect()).await?;
    let inviters: HashMap<UserId, String> =
        inviters.into_iter().map(|(id, user)| (id, user.name)).collect();
    let show = |invitation: Invitation| {
        let role = invitation.role.to_string();
        Shown {
            status: invitation.status(visitor.person.now),
            role: roles.entry(role.clone()).or_insert(role).clone(),
            inviter: invitation.invited_by.and_then(|user| inviters.get(&user).cloned()),
            invitation,
        }
    };
    Ok(invitations.into_iter().map(show).collect())
}

#[derive(Template)]
#[template(path = "invitations/pages/list.html")]
struct ListPage {
    frame: Frame,
    here: String,
    members: String,
    notice: Option<&'static str>,
    status: String,
    states: [(&'static str, &'static str); 5],
    email: String,
    invitations: Vec<Shown>,
    may_write: bool,
    is_filtered: bool,
    is_first_page: bool,
    /// The filters as a query.
    query: String,
    older: Option<InvitationId>,
}

/// `GET /o/{organization}/invitations?status=&email=&before=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadMembers>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let letters = asked.only("email")?.trim().chars().filter(|letter| *letter != '\0');
    let email: String = letters.take(LONGEST_SEARCH).collect();
    let status = asked.only("status")?;
    let status = STATES.iter().map(|(value, _)| *value).find(|value| *value == status);
    let status = status.unwrap_or_default();
    let which = ListInvitations {
        organization: Some(visitor.membership.organization),
        status: match status {
            "accepted" => Some(Status::Accepted),
            "expired" => Some(Status::Expired),
            "revoked" => Some(Status::Revoked),
            "all" => None,
            _ => Some(Status::Open),
        },
        email: Some(email.as_str()).filter(|email| !email.is_empty()),
        before,
        limit: ROWS + 1,
    };
    let mut invitations = store::list(app.db.reader(), visitor.person.now, which).await?;
    let has_more = invitations.len() > ROWS as usize;
    invitations.truncate(ROWS as usize);
    let template = ListPage {
        frame: visitor.frame(Section::Members),
        here: visitor.path("/invitations"),
        members: visitor.path("/members"),
        notice: match asked.first("done") {
            "revoked" => Some("The invitation is revoked. Its link is dead."),
            _ => None,
        },
        is_filtered: !email.is_empty() || !status.is_empty(),
        status: status.to_owned(),
        states: STATES,
        may_write: visitor.caller.may::<WriteMembers>(),
        is_first_page: before.is_none(),
        query: query_of([("status", status), ("email", &email)]),
        older: invitations.last().map(|it| it.id).filter(|_| has_more),
        invitations: shown(&app, &visitor, invitations).await?,
        email,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "invitations/pages/new.html")]
struct NewPage<'a> {
    frame: Frame,
    list: String,
    form: FormState,
    email: &'a str,
    role: &'a str,
    choices: Vec<RoleChoice>,
    mails: bool,
}

async fn new_page(
    app: &App,
    visitor: &Visitor<WriteMembers>,
    form: FormState,
    sent: &Parameters,
) -> Result<Response, PageError> {
    let status = form.status();
    let template = NewPage {
        frame: visitor.frame(Section::Members),
        list: visitor.path("/invitations"),
        form,
        email: sent.first("email"),
        role: sent.first("role"),
        choices: role_choices(app, &visitor.membership).await?,
        mails: app.mailer.is_some(),
    };
    Ok(page(template, status))
}

/// `GET /o/{organization}/invitations/new`
pub async fn new(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
) -> Result<Response, PageError> {
    new_page(&app, &visitor, FormState::new(&visitor.person), &Parameters::default()).await
}

#[derive(Template)]
#[template(path = "invitations/pages/made.html")]
struct MadePage {
    frame: Frame,
    list: String,
    new: String,
    invitation: Invitation,
    link: SecretString,
    mailed: bool,
}

/// What came of a form that invites.
enum Made {
    Now(Invitation, SecretString),
    /// It was sent before, and made this one.
    Before(String),
}

/// `POST /o/{organization}/invitations/new`
pub async fn create(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let (invitation, link) = match make(&app, &visitor, &sent).await {
        Ok(Made::Now(invitation, link)) => (invitation, link),
        Ok(Made::Before(id)) => {
            let path = visitor.path(&format!("/invitations/{id}"));
            return Ok(Redirect::to(&path).into_response());
        }
        Err(refused) => {
            let form = FormState::returned(&visitor.person, refused)?;
            return new_page(&app, &visitor, form, &sent).await;
        }
    };
    let template = MadePage {
        frame: visitor.frame(Section::Members),
        list: visitor.path("/invitations"),
        new: visitor.path("/invitations/new"),
        invitation,
        link,
        mailed: app.mailer.is_some(),
    };
    Ok(page(template, StatusCode::CREATED))
}

async fn make(
    app: &App,
    visitor: &Visitor<WriteMembers>,
    sent: &Parameters,
) -> Result<Made, Refused> {
    visitor.person.confirm(app, sent).await?;
    let (now, caller) = (visitor.person.now, &visitor.caller);
    let once = match Once::begin(&app.db, now, &caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(id) => return Ok(Made::Before(id)),
    };
    let is_owner = visitor.membership.role.is_owner();
    let new = NewInvitation {
        organization: visitor.membership.organization,
        email: sent.first("email"),
        role: sent.first("role"),
        invited_by: Some(visitor.person.session.user),
        power: Power::Within { reach: &caller.scopes, is_owner },
    };
    let (invitation, token) = invite(once.tx(), now, &caller.by, new).await?;
    let mail = match app.mailer {
        Some(_) => find_open(once.tx(), now, &token).await?,
        None => None,
    };
    let link = link(&app.config.issuer, &token);
    once.made(invitation.id).await?;
    if let Some(open) = mail {
        api::send(app, &open, &link);
    }
    Ok(Made::Now(invitation, link))
}

#[derive(Template)]
#[template(path = "invitations/pages/one.html")]
struct OnePage {
    frame: Frame,
    list: String,
    here: String,
    it: Shown,
    may_revoke: bool,
}

async fn found<P>(
    app: &App,
    visitor: &Visitor<P>,
    id: InvitationId,
) -> Result<Invitation, PageError> {
    let organization = Some(visitor.membership.organization);
    store::find(app.db.reader(), organization, id).await?.ok_or_else(PageError::not_found)
}

/// `GET /o/{organization}/invitations/{id}`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadMembers>,
    Named(id): Named<InvitationId>,
) -> Result<Response, PageError> {
    let invitation = found(&app, &visitor, id).await?;
    let mut shown = shown(&app, &visitor, vec![invitation]).await?;
    let it = shown.pop().ok_or_else(PageError::not_found)?;
    let template = OnePage {
        frame: visitor.frame(Section::Members),
        list: visitor.path("/invitations"),
        here: visitor.path(&format!("/invitations/{id}")),
        may_revoke: it.status == Status::Open && visitor.caller.may::<WriteMembers>(),
        it,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "invitations/pages/revoke.html")]
struct RevokePage {
    frame: Frame,
    here: String,
    form: FormState,
    invitation: Invitation,
}

fn revoke_page(
    visitor: &Visitor<WriteMembers>,
    form: FormState,
    invitation: Invitation,
) -> Response {
    let status = form.status();
    let template = RevokePage {
        frame: visitor.frame(Section::Members),
        here: visitor.path(&format!("/invitations/{}", invitation.id)),
        form,
        invitation,
    };
    page(template, status)
}

/// `GET /o/{organization}/invitations/{id}/revoke`
pub async fn revocation(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
    Named(id): Named<InvitationId>,
) -> Result<Response, PageError> {
    let invitation = found(&app, &visitor, id).await?;
    Ok(revoke_page(&visitor, FormState::new(&visitor.person), invitation))
}

/// `POST /o/{organization}/invitations/{id}/revoke`
pub async fn post_revocation(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
    Named(id): Named<InvitationId>,
) -> Result<Response, PageError> {
    let invitation = found(&app, &visitor, id).await?;
    match take_back(&app, &visitor, id).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/invitations?done=revoked")).into_response()),
        Err(refused) => {
            let form = FormState::returned(&visitor.person, refused)?;
            Ok(revoke_page(&visitor, form, invitation))
        }
    }
}

async fn take_back(
    app: &App,
    visitor: &Visitor<WriteMembers>,
    id: InvitationId,
) -> Result<(), Refused> {
    let organization = Some(visitor.membership.organization);
    let tx = app.db.begin().await?;
    revoke(&tx, visitor.person.now, &visitor.caller.by, organization, id).await?;
    Ok(tx.commit().await?)
}

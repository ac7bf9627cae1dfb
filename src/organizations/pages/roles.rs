//! `/o/{organization}/roles`: the built-in roles, and those that the organization makes for itself.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::RoleId;
use portcullis_verifier::ScopeSet;

use super::RoleChoice;
use super::offered_scopes::{Described, Group, Offer, described, offer};
use super::role_choice::{meaning, title};
use crate::access::{Permission, ReadMembers, ReadRoles, WriteRoles};
use crate::app::App;
use crate::console::{
    Asked, Day, FormState, Frame, Named, Once, Section, Sent, Visitor, chosen, grouped, page, words,
};
use crate::http::{Form, PageError, Parameters};
use crate::platform::{FieldError, Refused};
use crate::resource_servers;
use crate::tenancy::{self, ListMembers, Member, NewRole, OwnRole, Role, RoleChanges, RoleRef};

/// How many are on a page.
const ROWS: u64 = 50;
/// How many of those who have a role are on its page.
const SHOWN_MEMBERS: u64 = 10;

/// A line of the list.
struct Line {
    path: String,
    name: String,
    meaning: String,
    is_own: bool,
    members: String,
}

#[derive(Template)]
#[template(path = "organizations/pages/roles.html")]
struct RolesPage {
    frame: Frame,
    here: String,
    notice: Option<&'static str>,
    lines: Vec<Line>,
    has_own: bool,
    may_write: bool,
    is_first_page: bool,
    older: Option<RoleId>,
}

/// `GET /o/{organization}/roles?before=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadRoles>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let organization = visitor.membership.organization;
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let reader = app.db.reader();
    let mut own = tenancy::list_roles(reader, organization, before, ROWS + 1).await?;
    let has_more = own.len() > ROWS as usize;
    own.truncate(ROWS as usize);
    let older = own.last().map(|role| role.id).filter(|_| has_more);
    let counts = tenancy::count_members_by_role(reader, organization).await?;
    let here = visitor.path("/roles");
    let line = |id: String, name: String, meaning: String, is_own| Line {
        path: format!("{here}/{id}"),
        name,
        meaning,
        is_own,
        members: grouped(counts.get(&id).copied().unwrap_or_default().unsigned_abs()),
    };
    let built_in = Role::ALL.into_iter().filter(|_| before.is_none());
    let mut lines: Vec<Line> = built_in
        .map(|role| line(role.to_string(), title(role).to_owned(), meaning(role).to_owned(), false))
        .collect();
    let has_own = !own.is_empty() || before.is_some();
    lines.extend(own.into_iter().map(|role| {
        let choice = RoleChoice::from(role);
        line(choice.value, choice.name, choice.meaning, true)
    }));
    let template = RolesPage {
        frame: visitor.frame(Section::Roles),
        notice: match asked.first("done") {
            "deleted" => Some("The role is deleted."),
            _ => None,
        },
        lines,
        has_own,
        may_write: visitor.caller.may::<WriteRoles>(),
        is_first_page: before.is_none(),
        older,
        here,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "organizations/pages/role_new.html")]
struct NewRolePage<'a> {
    frame: Frame,
    list: String,
    form: FormState,
    name: &'a str,
    groups: Vec<Group>,
    further: String,
}

async fn new_page(
    app: &App,
    visitor: &Visitor<WriteRoles>,
    form: FormState,
    sent: &Parameters,
) -> Result<Response, PageError> {
    let status = form.status();
    let ticked = chosen(sent, "scopes").into_iter().collect();
    let template = NewRolePage {
        frame: visitor.frame(Section::Roles),
        list: visitor.path("/roles"),
        form,
        name: sent.first("name"),
        groups: offered(app, visitor, &ticked).await?.groups,
        further: sent.text("further_scopes"),
    };
    Ok(page(template, status))
}

async fn offered<P>(
    app: &App,
    visitor: &Visitor<P>,
    ticked: &BTreeSet<String>,
) -> Result<Offer, PageError> {
    let organization = visitor.membership.organization;
    let apis = resource_servers::list_offered(app.db.reader(), organization).await?;
    Ok(offer(&apis, &visitor.caller.scopes, ticked))
}

/// The scopes that were ticked or written down.
fn wanted_scopes(sent: &Parameters) -> Vec<String> {
    let mut wanted = chosen(sent, "scopes");
    wanted.extend(words(sent.first("further_scopes")));
    wanted
}

/// What a verb says of the scopes by their place in one list, said of the two fields that they come from.
fn in_their_fields(refused: Refused, sent: &Parameters) -> Refused {
    let Refused::Invalid(problems) = refused else { return refused };
    let ticked = chosen(sent, "scopes").len();
    let place =
        |field: &str| field.strip_prefix("scopes[")?.strip_suffix(']')?.parse::<usize>().ok();
    let moved = problems.into_iter().map(|problem| match place(&problem.field) {
        Some(at) if at >= ticked => {
            FieldError::new(format!("further_scopes[{}]", at - ticked), problem.message)
        }
        Some(_) | None => problem,
    });
    Refused::Invalid(moved.collect())
}

/// `GET /o/{organization}/roles/new`
pub async fn new(
    State(app): State<App>,
    visitor: Visitor<WriteRoles>,
) -> Result<Response, PageError> {
    new_page(&app, &visitor, FormState::new(&visitor.person), &Parameters::default()).await
}

/// `POST /o/{organization}/roles/new`
pub async fn create(
    State(app): State<App>,
    visitor: Visitor<WriteRoles>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    match make(&app, &visitor, &sent).await {
        Ok(id) => {
            let path = visitor.path(&format!("/roles/{id}?done=created"));
            Ok(Redirect::to(&path).into_response())
        }
        Err(refused) => {
            let refused = in_their_fields(refused, &sent);
            let form = FormState::returned(&visitor.person, refused)?;
            new_page(&app, &visitor, form, &sent).await
        }
    }
}

async fn make(
    app: &App,
    visitor: &Visitor<WriteRoles>,
    sent: &Parameters,
) -> Result<String, Refused> {
    visitor.person.confirm(app, sent).await?;
    let now = visitor.person.now;
    let once = match Once::begin(&app.db, now, &visitor.caller.name(), sent).await? {
        Sent::First(once) => once,
        Sent::Before(id) => return Ok(id),
    };
    let new = NewRole {
        organization: visitor.membership.organization,
        name: sent.first("name"),
        scopes: &wanted_scopes(sent),
        reach: &visitor.caller.scopes,
    };
    let role = tenancy::create_role(once.tx(), now, &visitor.caller.by, new).await?;
    once.made(role.id).await?;
    Ok(role.id.to_string())
}

#[derive(Template)]
#[template(path = "organizations/pages/role.html")]
struct RolePage<'a> {
    frame: Frame,
    list: String,
    here: String,
    members_path: String,
    notice: Option<&'static str>,
    form: FormState,
    title: &'a str,
    id: &'a str,
    /// Of a built-in role.
    meaning: Option<&'static str>,
    own: Option<&'a OwnRole>,
    plain: Vec<Described>,
    powerful: Vec<Described>,
    /// Those who have it; none where the visitor may not see members.
    members: Option<Vec<Member>>,
    has_more_members: bool,
    name: &'a str,
    groups: Vec<Group>,
    further: String,
    version: i32,
    may_edit: bool,
}

/// A role of either kind.
enum Found {
    BuiltIn(Role),
    Own(OwnRole),
}

impl Found {
    fn reference(&self) -> RoleRef {
        match self {
            Self::BuiltIn(role) => RoleRef::BuiltIn(*role),
            Self::Own(role) => RoleRef::Own(role.id),
        }
    }

    fn scopes(&self) -> &ScopeSet {
        match self {
            Self::BuiltIn(role) => role.scopes(),
            Self::Own(role) => &role.scopes,
        }
    }
}

async fn found_own<P>(app: &App, visitor: &Visitor<P>, id: RoleRef) -> Result<OwnRole, PageError> {
    // A built-in role has a page, but none to change it.
    let RoleRef::Own(id) = id else { return Err(PageError::not_found()) };
    let organization = visitor.membership.organization;
    let role = tenancy::find_role(app.db.reader(), organization, id).await?;
    role.ok_or_else(PageError::not_found)
}

/// `GET /o/{organization}/roles/{id}`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadRoles>,
    Named(id): Named<RoleRef>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let role = match id {
        RoleRef::BuiltIn(role) => Found::BuiltIn(role),
        RoleRef::Own(_) => Found::Own(found_own(&app, &visitor, id).await?),
    };
    let notice = match asked.first("done") {
        "created" => Some("The role is made. It can be given to members now."),
        "changed" => Some("Saved. It is in force for everybody who has the role."),
        _ => None,
    };
    let form = FormState::new(&visitor.person);
    role_page(&app, &visitor, &role, form, None, notice).await
}

/// The page about a role, with what stands in its form.
async fn role_page<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    role: &Found,
    form: FormState,
    filled_in: Option<&Parameters>,
    notice: Option<&'static str>,
) -> Result<Response, PageError> {
    let status = form.status();
    let organization = visitor.membership.organization;
    let (reader, id) = (app.db.reader(), role.reference().to_string());
    let apis = resource_servers::list_offered(reader, organization).await?;
    let (powerful, plain) =
        described(&apis, role.scopes()).into_iter().partition(|it: &Described| it.is_powerful);
    let own = match role {
        Found::Own(role) => Some(role),
        Found::BuiltIn(_) => None,
    };
    let present: BTreeSet<String> = role.scopes().iter().map(ToString::to_string).collect();
    let ticked = match filled_in {
        Some(sent) => chosen(sent, "scopes").into_iter().collect(),
        None => present,
    };
    let offer = offer(&apis, &visitor.caller.scopes, &ticked);
    let mut members = match visitor.caller.may::<ReadMembers>() {
        true => {
            let role = Some(role.reference());
            let which = ListMembers { role, limit: SHOWN_MEMBERS + 1, ..ListMembers::default() };
            Some(tenancy::list_members(reader, organization, which).await?)
        }
        false => None,
    };
    let has_more_members = members.as_ref().is_some_and(|it| it.len() > SHOWN_MEMBERS as usize);
    if let Some(members) = &mut members {
        members.truncate(SHOWN_MEMBERS as usize);
    }
    let name = own.map_or("", |role| role.name.as_str());
    let template = RolePage {
        frame: visitor.frame(Section::Roles),
        list: visitor.path("/roles"),
        here: visitor.path(&format!("/roles/{id}")),
        members_path: visitor.path("/members"),
        notice,
        form,
        title: match role {
            Found::BuiltIn(role) => title(*role),
            Found::Own(role) => &role.name,
        },
        id: &id,
        meaning: match role {
            Found::BuiltIn(role) => Some(meaning(*role)),
            Found::Own(_) => None,
        },
        own,
        plain,
        powerful,
        members,
        has_more_members,
        name: filled_in.map_or(name, |sent| sent.first("name")),
        further: match filled_in {
            Some(sent) => sent.text("further_scopes"),
            None => offer.further.join("\n"),
        },
        groups: offer.groups,
        // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
        version: match filled_in {
            Some(sent) => sent.first("version").parse().unwrap_or_default(),
            None => own.map_or(1, |role| role.version),
        },
        may_edit: own.is_some() && visitor.caller.may::<WriteRoles>(),
    };
    Ok(page(template, status))
}

/// `POST /o/{organization}/roles/{id}`
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteRoles>,
    Named(id): Named<RoleRef>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let role = found_own(&app, &visitor, id).await?;
    let form = match change(&app, &visitor, role.id, &sent).await {
        Ok(()) => {
            let here = visitor.path(&format!("/roles/{id}?done=changed"));
            return Ok(Redirect::to(&here).into_response());
        }
        Err(refused) => FormState::returned(&visitor.person, in_their_fields(refused, &sent))?,
    };
    role_page(&app, &visitor, &Found::Own(role), form, Some(&sent), None).await
}

async fn change(
    app: &App,
    visitor: &Visitor<WriteRoles>,
    id: RoleId,
    sent: &Parameters,
) -> Result<(), Refused> {
    visitor.person.confirm(app, sent).await?;
    let scopes = wanted_scopes(sent);
    let changes = RoleChanges {
        name: Some(sent.first("name")),
        scopes: Some(&scopes),
        reach: &visitor.caller.scopes,
    };
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let expected = Some(sent.first("version").parse().unwrap_or_default());
    let organization = visitor.membership.organization;
    let tx = app.db.begin().await?;
    tenancy::edit_role(&tx, now, by, organization, id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

#[derive(Template)]
#[template(path = "organizations/pages/role_delete.html")]
struct DeleteRolePage<'a> {
    frame: Frame,
    role_path: String,
    form: FormState,
    role: &'a OwnRole,
}

fn delete_page(visitor: &Visitor<WriteRoles>, form: FormState, role: &OwnRole) -> Response {
    let status = form.status();
    let template = DeleteRolePage {
        frame: visitor.frame(Section::Roles),
        role_path: visitor.path(&format!("/roles/{}", role.id)),
        form,
        role,
    };
    page(template, status)
}

/// `GET /o/{organization}/roles/{id}/delete`
pub async fn delete(
    State(app): State<App>,
    visitor: Visitor<WriteRoles>,
    Named(id): Named<RoleRef>,
) -> Result<Response, PageError> {
    let role = found_own(&app, &visitor, id).await?;
    Ok(delete_page(&visitor, FormState::new(&visitor.person), &role))
}

/// `POST /o/{organization}/roles/{id}/delete`
pub async fn post_delete(
    State(app): State<App>,
    visitor: Visitor<WriteRoles>,
    Named(id): Named<RoleRef>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let role = found_own(&app, &visitor, id).await?;
    match remove(&app, &visitor, &role, &sent).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/roles?done=deleted")).into_response()),
        Err(refused) => {
            Ok(delete_page(&visitor, FormState::returned(&visitor.person, refused)?, &role))
        }
    }
}

async fn remove(
    app: &App,
    visitor: &Visitor<WriteRoles>,
    role: &OwnRole,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != role.name {
        return Err(Refused::field("name", "must be the name of the role, letter by letter"));
    }
    visitor.person.confirm(app, sent).await?;
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let tx = app.db.begin().await?;
    tenancy::delete_role(&tx, now, by, role.organization, role.id).await?;
    Ok(tx.commit().await?)
}

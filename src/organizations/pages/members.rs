//! `/o/{organization}/members`: who is in the organization, what they may do there, and how they go.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::UserId;

use super::super::{Authority, change_member_role, may_give, remove_member};
use super::{RoleChoice, role_choices, role_options};
use crate::access::{Leave, Permission, ReadMembers, ReadRoles, WriteMembers};
use crate::app::App;
use crate::console::{Asked, Day, FormState, Frame, Named, Section, Visitor, page, query_of};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;
use crate::tenancy::{self, ListMembers, Member, RoleRef};

/// How many are on a page.
const ROWS: u64 = 50;
/// More of an address than this is none.
const LONGEST_SEARCH: usize = 254;

#[derive(Template)]
#[template(path = "organizations/pages/members.html")]
struct MembersPage {
    frame: Frame,
    /// The address of this list.
    here: String,
    invitations: String,
    leave: String,
    notice: Option<&'static str>,
    email: String,
    role: String,
    roles: Vec<RoleChoice>,
    members: Vec<Member>,
    own: UserId,
    may_write: bool,
    is_filtered: bool,
    is_first_page: bool,
    /// The filters as a query.
    query: String,
    older: Option<UserId>,
}

/// `GET /o/{organization}/members?email=&role=&before=&done=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadMembers>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let organization = visitor.membership.organization;
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let letters = asked.only("email")?.trim().chars().filter(|letter| *letter != '\0');
    let email: String = letters.take(LONGEST_SEARCH).collect();
    let role: Option<RoleRef> = asked.get("role")?.and_then(|text| text.parse().ok());
    let rows = ROWS + 1;
    let searched = Some(email.as_str()).filter(|email| !email.is_empty());
    let which = ListMembers { role, email: searched, before, limit: rows };
    let mut members = tenancy::list_members(app.db.reader(), organization, which).await?;
    let has_more = members.len() > ROWS as usize;
    members.truncate(ROWS as usize);
    let role = role.map(|role| role.to_string()).unwrap_or_default();
    let template = MembersPage {
        frame: visitor.frame(Section::Members),
        here: visitor.path("/members"),
        invitations: visitor.path("/invitations"),
        leave: visitor.path("/leave"),
        notice: match asked.first("done") {
            "removed" => Some("They are removed. What they had allowed here has ended."),
            _ => None,
        },
        is_filtered: !email.is_empty() || !role.is_empty(),
        query: query_of([("email", email.as_str()), ("role", &role)]),
        email,
        role,
        roles: role_options(&app, organization).await?,
        own: visitor.person.session.user,
        may_write: visitor.caller.may::<WriteMembers>(),
        is_first_page: before.is_none(),
        older: members.last().map(|member| member.user).filter(|_| has_more),
        members,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "organizations/pages/member.html")]
struct MemberPage<'a> {
    frame: Frame,
    list: String,
    here: String,
    leave: String,
    role_path: Option<String>,
    notice: Option<&'static str>,
    form: FormState,
    member: &'a Member,
    is_self: bool,
    /// The roles that the visitor may give; none where they may not take the present one away.
    choices: Vec<RoleChoice>,
    /// The one that is chosen.
    role: &'a str,
    version: i32,
    may_remove: bool,
}

async fn found<P>(app: &App, visitor: &Visitor<P>, user: UserId) -> Result<Member, PageError> {
    let organization = visitor.membership.organization;
    let member = tenancy::find_member(app.db.reader(), organization, user).await?;
    member.ok_or_else(PageError::not_found)
}

/// Whether the verbs will let the visitor change what this member is.
async fn may_change<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    member: &Member,
) -> Result<bool, PageError> {
    if !visitor.caller.may::<WriteMembers>() {
        return Ok(false);
    }
    let organization = visitor.membership.organization;
    let scopes = tenancy::scopes_of_role(app.db.reader(), organization, member.role).await?;
    Ok(scopes.is_some_and(|scopes| may_give(&visitor.membership, member.role, &scopes)))
}

/// The page about a member, with what stands in its form.
async fn member_page<P: Permission>(
    app: &App,
    visitor: &Visitor<P>,
    member: &Member,
    form: FormState,
    filled_in: Option<&Parameters>,
    notice: Option<&'static str>,
) -> Result<Response, PageError> {
    let status = form.status();
    let may_change = may_change(app, visitor, member).await?;
    let present = member.role.to_string();
    let is_self = member.user == visitor.person.session.user;
    let may_see_roles = visitor.caller.may::<ReadRoles>();
    let template = MemberPage {
        frame: visitor.frame(Section::Members),
        list: visitor.path("/members"),
        here: visitor.path(&format!("/members/{}", member.user)),
        leave: visitor.path("/leave"),
        role_path: may_see_roles.then(|| visitor.path(&format!("/roles/{present}"))),
        notice,
        form,
        member,
        is_self,
        choices: match may_change {
            true => role_choices(app, &visitor.membership).await?,
            false => Vec::new(),
        },
        role: filled_in.map_or(&present, |sent| sent.first("role")),
        // What was read when the form was opened, so that a second try does not overwrite what it has not seen.
        version: filled_in.map_or(member.version, read_version),
        may_remove: may_change && !is_self,
    };
    Ok(page(template, status))
}

fn read_version(sent: &Parameters) -> i32 {
    sent.first("version").parse().unwrap_or_default()
}

/// `GET /o/{organization}/members/{id}`
pub async fn one(
    State(app): State<App>,
    visitor: Visitor<ReadMembers>,
    Named(id): Named<UserId>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let member = found(&app, &visitor, id).await?;
    let notice = (asked.first("done") == "changed").then_some("They have this role from now on.");
    let form = FormState::new(&visitor.person);
    member_page(&app, &visitor, &member, form, None, notice).await
}

/// `POST /o/{organization}/members/{id}`: give them another role.
pub async fn edit(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
    Named(id): Named<UserId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let member = found(&app, &visitor, id).await?;
    let form = match change(&app, &visitor, id, &sent).await {
        Ok(()) => {
            let here = visitor.path(&format!("/members/{id}?done=changed"));
            return Ok(Redirect::to(&here).into_response());
        }
        Err(refused) => FormState::returned(&visitor.person, refused)?,
    };
    member_page(&app, &visitor, &member, form, Some(&sent), None).await
}

async fn change(
    app: &App,
    visitor: &Visitor<WriteMembers>,
    user: UserId,
    sent: &Parameters,
) -> Result<(), Refused> {
    let role = sent.first("role").parse();
    let role: RoleRef = role.map_err(|_| Refused::field("role", "must be chosen"))?;
    visitor.person.confirm(app, sent).await?;
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let (organization, expected) = (visitor.membership.organization, Some(read_version(sent)));
    let tx = app.db.begin().await?;
    let authority = authority(visitor);
    change_member_role(&tx, now, by, authority, organization, user, expected, role).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

fn authority<P>(visitor: &Visitor<P>) -> Authority<'_> {
    let scopes = &visitor.caller.scopes;
    Authority::Caller { user: Some(visitor.person.session.user), scopes }
}

#[derive(Template)]
#[template(path = "organizations/pages/member_remove.html")]
struct RemovePage<'a> {
    frame: Frame,
    member_path: String,
    form: FormState,
    member: &'a Member,
}

fn remove_page(visitor: &Visitor<WriteMembers>, form: FormState, member: &Member) -> Response {
    let status = form.status();
    let template = RemovePage {
        frame: visitor.frame(Section::Members),
        member_path: visitor.path(&format!("/members/{}", member.user)),
        form,
        member,
    };
    page(template, status)
}

/// `GET /o/{organization}/members/{id}/remove`
pub async fn remove(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
    Named(id): Named<UserId>,
) -> Result<Response, PageError> {
    if id == visitor.person.session.user {
        return Ok(Redirect::to(&visitor.path("/leave")).into_response());
    }
    let member = found(&app, &visitor, id).await?;
    Ok(remove_page(&visitor, FormState::new(&visitor.person), &member))
}

/// `POST /o/{organization}/members/{id}/remove`
pub async fn post_remove(
    State(app): State<App>,
    visitor: Visitor<WriteMembers>,
    Named(id): Named<UserId>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let member = found(&app, &visitor, id).await?;
    match take_out(&app, &visitor, &member, &sent).await {
        Ok(()) => Ok(Redirect::to(&visitor.path("/members?done=removed")).into_response()),
        Err(refused) => {
            Ok(remove_page(&visitor, FormState::returned(&visitor.person, refused)?, &member))
        }
    }
}

async fn take_out(
    app: &App,
    visitor: &Visitor<WriteMembers>,
    member: &Member,
    sent: &Parameters,
) -> Result<(), Refused> {
    let typed = sent.first("email").trim();
    let is_their_name = !typed.is_empty() && typed == member.name.trim();
    if !typed.eq_ignore_ascii_case(&member.email) && !is_their_name {
        return Err(Refused::field("email", "must be their e-mail address, or their whole name"));
    }
    visitor.person.confirm(app, sent).await?;
    goes(app, visitor, member.user).await
}

async fn goes<P>(app: &App, visitor: &Visitor<P>, user: UserId) -> Result<(), Refused> {
    let (now, by, organization) =
        (visitor.person.now, &visitor.caller.by, visitor.membership.organization);
    let tx = app.db.begin().await?;
    remove_member(&tx, now, by, authority(visitor), organization, user).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

#[derive(Template)]
#[template(path = "organizations/pages/leave.html")]
struct LeavePage {
    frame: Frame,
    here: String,
    home: String,
    form: FormState,
    organization: String,
}

fn leave_page(visitor: &Visitor<Leave>, form: FormState) -> Response {
    let status = form.status();
    let template = LeavePage {
        frame: visitor.frame(Section::Members),
        here: visitor.path("/leave"),
        home: visitor.path(""),
        form,
        organization: visitor.membership.organization_name.clone(),
    };
    page(template, status)
}

/// `GET /o/{organization}/leave`
pub async fn leave(visitor: Visitor<Leave>) -> Response {
    leave_page(&visitor, FormState::new(&visitor.person))
}

/// `POST /o/{organization}/leave`
pub async fn post_leave(
    State(app): State<App>,
    visitor: Visitor<Leave>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    match take_oneself_out(&app, &visitor, &sent).await {
        Ok(()) => Ok(Redirect::to(&format!("{}/", visitor.person.base)).into_response()),
        Err(refused) => Ok(leave_page(&visitor, FormState::returned(&visitor.person, refused)?)),
    }
}

async fn take_oneself_out(
    app: &App,
    visitor: &Visitor<Leave>,
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("name").trim() != visitor.membership.organization_name.trim() {
        let message = "must be the name of the organization, letter by letter";
        return Err(Refused::field("name", message));
    }
    visitor.person.confirm(app, sent).await?;
    goes(app, visitor, visitor.person.session.user).await
}

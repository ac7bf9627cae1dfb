//! `/v1/invitations`: asking people into an organization.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{InvitationId, OrganizationId, Timestamp, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::{
    Invitation, ListInvitations, NewInvitation, OpenInvitation, Power, Status, find_open, invite,
    letter, link, store,
};
use crate::access::{Caller, ReadMembers, WriteMembers};
use crate::app::App;
use crate::http::{Beginning, Creation, Limit, PageOf, PathId, Problem, Query, SearchText};
use crate::resource_servers::scopes::WRITE_ORGANIZATIONS;
use crate::tenancy;

/// An invitation as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
pub struct Representation {
    pub id: InvitationId,
    pub organization: OrganizationId,
    pub email: String,
    /// The name of a built-in role, or the id of one of the organization's own.
    pub role: String,
    pub status: Status,
    /// The person who invites; null where a key of the organization's own does, or the command line.
    #[schema(required)]
    pub invited_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    #[schema(required)]
    pub accepted_at: Option<Timestamp>,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
}

impl Representation {
    #[must_use]
    pub fn new(invitation: Invitation, now: Timestamp) -> Self {
        Self {
            status: invitation.status(now),
            id: invitation.id,
            organization: invitation.organization,
            email: invitation.email,
            role: invitation.role.to_string(),
            invited_by: invitation.invited_by,
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
            accepted_at: invitation.accepted_at,
            revoked_at: invitation.revoked_at,
        }
    }
}

/// An invitation that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedInvitation)]
pub struct Created {
    #[serde(flatten)]
    invitation: Representation,
    /// Whether a mail server is configured, so that the link goes out by mail too.
    mailed: bool,
    /// The link that lets its holder join, shown this once: a repeated request with the same Idempotency-Key does not
    /// get it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Created {
    /// For the command line, which mails nothing.
    #[must_use]
    pub fn new(invitation: Invitation, link: &SecretString, now: Timestamp) -> Self {
        let link = Some(link.expose_secret().to_owned());
        Self { invitation: Representation::new(invitation, now), mailed: false, link }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<InvitationId>,
    status: Option<Status>,
    /// How the address begins, in whatever case.
    #[param(inline)]
    email: Option<SearchText>,
}

/// List invitations
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/invitations", tag = "Invitations", params(ListQuery),
    responses((status = 200, description = "A page of invitations", body = PageOf<Representation>)),
    security(("bearer" = ["read:members"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadMembers>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let now = app.clock.now();
    let which = ListInvitations {
        organization: Some(caller.organization),
        status: query.status,
        email: query.email.as_ref().map(|email| email.0.as_str()),
        before: query.cursor,
        limit: query.limit.rows(),
    };
    let invitations = store::list(app.db.reader(), now, which).await?;
    let show = |invitation| Representation::new(invitation, now);
    Ok(axum::Json(PageOf::new(invitations, query.limit, |it: &Invitation| it.id, show)))
}

/// An invitation to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvitation {
    #[schema(min_length = 3, max_length = 254, example = "grace@example.com")]
    email: String,
    /// `owner`, `admin`, `member`, `viewer`, or the id of one of the organization's own roles; nothing that reaches
    /// further than you do yourself.
    #[schema(min_length = 5, max_length = 30, pattern = "^[a-z0-9_]+$", example = "member")]
    role: String,
    /// Another organization than your own: only for the organization that runs the installation, with the scope
    /// `write:organizations`, and only for the first owner of an organization.
    organization: Option<OrganizationId>,
}

/// Invite somebody
///
/// The link is in the answer, good once within 7 days; where a mail server is configured it is mailed as well. An open
/// invitation of the same address ends.
#[utoipa::path(
    post, path = "/v1/invitations", tag = "Invitations",
    request_body = CreateInvitation,
    responses((status = 201, description = "The invitation and its link", body = Created)),
    security(("bearer" = ["write:members"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteMembers>,
    creation: Creation<CreateInvitation>,
) -> Result<Response, Problem> {
    let now = app.clock.now();
    let wanted = &creation.wanted;
    let (organization, power) = power(&app, &caller, wanted.organization).await?;
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let (email, role, invited_by) = (&*wanted.email, &*wanted.role, caller.user);
    let new = NewInvitation { organization, email, role, invited_by, power };
    let (invitation, token) = invite(begun.tx(), now, &caller.by, new).await?;
    let mail = match app.mailer {
        Some(_) => find_open(begun.tx(), now, &token).await?,
        None => None,
    };
    let link = link(&app.config.issuer, &token);
    let mailed = app.mailer.is_some();
    let invitation = Representation::new(invitation, now);
    let made = Created { invitation, mailed, link: None };
    let answer = begun.created(None, &made, Some(("link", &link))).await?;
    if let Some(open) = mail {
        send(&app, &open, &link);
    }
    Ok(answer)
}

/// Where to, and which roles, the caller may invite.
async fn power<'a>(
    app: &App,
    caller: &'a Caller<WriteMembers>,
    wanted: Option<OrganizationId>,
) -> Result<(OrganizationId, Power<'a>), Problem> {
    let Some(other) = wanted.filter(|wanted| *wanted != caller.organization) else {
        let is_owner = caller.is_owner(app).await?;
        return Ok((caller.organization, Power::Within { reach: &caller.scopes, is_owner }));
    };
    let operator = tenancy::find_operator(app.db.reader()).await?;
    let founds = caller.scopes.covers(&WRITE_ORGANIZATIONS.parse()?);
    match operator == Some(caller.organization) && founds {
        true => Ok((other, Power::FirstOwner)),
        false => Err(super::invite::foreign_organization().into()),
    }
}

/// Sends the letter, for which nobody waits.
pub(super) fn send(app: &App, open: &OpenInvitation, link: &SecretString) {
    let Some(mailer) = app.mailer.clone() else { return };
    let host = Url::parse(&app.config.issuer).ok();
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    let letter = letter(open, host, link);
    let (id, to) = (open.invitation.id, open.invitation.email.clone());
    let sending = async move {
        if let Err(error) = mailer.send(&to, &letter.subject, letter.text.expose_secret()).await {
            let error = format!("{error:#}");
            tracing::error!(invitation = %id, error, "an invitation could not be mailed");
        }
    };
    tokio::spawn(sending.in_current_span());
}

/// Read an invitation
#[utoipa::path(
    get, path = "/v1/invitations/{id}", tag = "Invitations", params(("id" = InvitationId, Path)),
    responses((status = 200, description = "The invitation, without its link", body = Representation)),
    security(("bearer" = ["read:members"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadMembers>,
    PathId(id): PathId<InvitationId>,
) -> Result<axum::Json<Representation>, Problem> {
    let found = store::find(app.db.reader(), Some(caller.organization), id).await?;
    let invitation = found.ok_or_else(Problem::not_found)?;
    Ok(axum::Json(Representation::new(invitation, app.clock.now())))
}

/// Revoke an invitation
///
/// Its link is dead; once more changes nothing. One that was accepted can't be revoked any more.
#[utoipa::path(
    delete, path = "/v1/invitations/{id}", tag = "Invitations", params(("id" = InvitationId, Path)),
    responses((status = 204, description = "It is revoked")),
    security(("bearer" = ["write:members"]), ("session" = []))
)]
pub async fn revoke(
    State(app): State<App>,
    caller: Caller<WriteMembers>,
    PathId(id): PathId<InvitationId>,
) -> Result<StatusCode, Problem> {
    let tx = app.db.begin().await?;
    super::revoke(&tx, app.clock.now(), &caller.by, Some(caller.organization), id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

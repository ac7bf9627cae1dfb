//! May this caller do this: who is calling the management API, and the permission table that says what each
//! endpoint asks of them.
//!
//! The management API is a resource server like any other: what we issue is checked by the code that our users run,
//! with our own database in the place of introspection. A browser's session does as well, for the console.

mod permission;

use std::marker::PhantomData;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum_extra::extract::CookieJar;
use entity::{OrganizationId, ProjectId, UserId};
use portcullis_verifier::rejection::InvalidToken;
use portcullis_verifier::{Principal, Rejection, Scope, ScopeSet};

pub use permission::*;

use crate::api_keys::{Asker, Presented, UsedFrom, Verdict, Wanted};
use crate::app::App;
use crate::audit::{self, Actor, By};
use crate::http::{
    ClientAddress, Problem, Source, bearer_credential, is_from_elsewhere, leave_standing,
    session_token,
};
use crate::identity::{self, SessionToken};
use crate::resource_servers::management_catalog;
use crate::tenancy::{self, Membership};

/// The header by which a browser's session says which organization it means.
const ORGANIZATION: &str = "portcullis-organization";

/// Somebody who may do what `P` says, in their own organization.
pub struct Caller<P> {
    /// What they may do at any API, all in all: whatever they make reaches no further.
    pub scopes: ScopeSet,
    /// What of it they may do at this API, where some scopes need an admin.
    permitted: ScopeSet,
    pub organization: OrganizationId,
    /// The project that the credential is confined to.
    pub project: Option<ProjectId>,
    /// The person behind the credential; none where a client acts for itself or a key is the organization's own.
    pub user: Option<UserId>,
    /// Whether this is a browser's session, which stands for all that the person may do in any organization of theirs.
    pub is_session: bool,
    pub by: By,
    permission: PhantomData<P>,
}

/// Somebody who is known, whatever they may do.
struct Known {
    /// What they may do at any API.
    scopes: ScopeSet,
    /// What they may do at this one, where some scopes need an admin.
    permitted: ScopeSet,
    organization: OrganizationId,
    project: Option<ProjectId>,
    user: Option<UserId>,
    is_session: bool,
    actor: Actor,
}

/// A call that wants to be let in.
struct Call<'a> {
    parts: &'a Parts,
    address: Option<IpAddr>,
    required: Option<&'a Scope>,
    source: &'a audit::Source,
}

impl<P: Permission> FromRequestParts<App> for Caller<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(ClientAddress(address)) = ClientAddress::from_request_parts(parts, app).await;
        let Ok(Source(source)) = Source::from_request_parts(parts, app).await;
        let required = P::SCOPE.map(str::parse).transpose()?;
        let call = Call { parts, address, required: required.as_ref(), source: &source };
        let known = authenticate(app, &call).await?;
        check::<P>(&known.permitted, known.project).map_err(Problem::from)?;
        if P::REACH == Reach::Installation
            && Box::pin(tenancy::find_operator(app.db.reader())).await? != Some(known.organization)
        {
            return Err(Denied::Installation.into());
        }
        let by = source.by(known.actor);
        Ok(Self::new(known, by))
    }
}

/// Why somebody who is known may not do what a row of the table says.
#[derive(Debug)]
pub enum Denied {
    /// They lack this scope.
    Scope(&'static str),
    /// Their credential is confined to a project, and this concerns the whole organization.
    Project,
    /// Their organization is not the one that runs the installation.
    Installation,
    /// It could not be found out.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Denied {
    fn from(cause: E) -> Self {
        Self::Failed(cause.into())
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Scope(scope) => match scope.parse() {
                Ok(required) => Self::rejected(Rejection::InsufficientScope { required }),
                Err(cause) => Self::from(anyhow::Error::from(cause)),
            },
            Denied::Project => Self::forbidden(
                "This credential is confined to a project, and this concerns the whole organization.",
            ),
            Denied::Installation => Self::forbidden(
                "This is for the organization that runs the installation, and yours is another.",
            ),
            Denied::Failed(cause) => Self::from(cause),
        }
    }
}

/// Whether a credential with these scopes, confined to this project, is enough for what the row of the table says.
fn check<P: Permission>(permitted: &ScopeSet, project: Option<ProjectId>) -> Result<(), Denied> {
    if let Some(scope) = P::SCOPE
        && !permitted.covers(&scope.parse()?)
    {
        return Err(Denied::Scope(scope));
    }
    if project.is_some() && P::REACH != Reach::Project {
        return Err(Denied::Project);
    }
    Ok(())
}

impl<P: Permission> Caller<P> {
    fn new(known: Known, by: By) -> Self {
        Self {
            scopes: known.scopes,
            permitted: known.permitted,
            organization: known.organization,
            project: known.project,
            user: known.user,
            is_session: known.is_session,
            by,
            permission: PhantomData,
        }
    }

    /// A member who is logged in, in one of their organizations.
    ///
    /// # Errors
    /// When their role there does not allow what `P` says.
    pub fn of_session(
        membership: &Membership,
        user: UserId,
        is_operator: bool,
        by: By,
    ) -> Result<Self, Denied> {
        let known = member(membership.clone(), user);
        check::<P>(&known.permitted, known.project)?;
        if P::REACH == Reach::Installation && !is_operator {
            return Err(Denied::Installation);
        }
        Ok(Self::new(known, by))
    }

    /// Asks for more than the endpoint does of everybody.
    ///
    /// # Errors
    /// When the caller may not do what `Q` says, in their own organization.
    pub fn needs<Q: Permission>(&self) -> Result<(), Problem> {
        Ok(check::<Q>(&self.permitted, self.project)?)
    }

    /// Whether the caller may do what `Q` says, in their own organization.
    #[must_use]
    pub fn may<Q: Permission>(&self) -> bool {
        check::<Q>(&self.permitted, self.project).is_ok()
    }

    /// Tells one caller from another, for the keys that they choose themselves.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.by.actor, self.organization)
    }

    /// The caller's own membership, where there is a person behind the credential.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn membership(&self, app: &App) -> Result<Option<Membership>, Problem> {
        let Some(user) = self.user else { return Ok(None) };
        Ok(tenancy::find_membership(app.db.reader(), self.organization, user).await?)
    }

    /// Whether an owner is behind the credential and it was given all that they may do.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_owner(&self, app: &App) -> Result<bool, Problem> {
        let has_everything = self.scopes.covers(&"admin".parse()?);
        let membership = self.membership(app).await?;
        Ok(has_everything && membership.is_some_and(|membership| membership.role.is_owner()))
    }
}

/// Who is calling: by access token or API key, else by the session of a browser.
async fn authenticate(app: &App, call: &Call<'_>) -> Result<Known, Problem> {
    let headers = &call.parts.headers;
    if headers.contains_key(header::AUTHORIZATION) {
        let (principal, permitted) = by_credential(app, call).await?;
        return known(&principal, permitted);
    }
    match session_token(app, &CookieJar::from_headers(headers)) {
        // A browser's session counts here; what another site makes a browser send does not.
        Some(_) if is_from_elsewhere(call.parts).await => {
            Err(Problem::forbidden("The call came from another site."))
        }
        // Boxed, so that scripts don't carry it along.
        Some(token) => Box::pin(by_session(app, headers, &token)).await,
        None => Err(Problem::rejected(Rejection::MissingCredential)),
    }
}

fn known(principal: &Principal, permitted: ScopeSet) -> Result<Known, Problem> {
    let organization = principal.organization().unwrap_or_default().parse()?;
    let project = principal.project().map(str::parse).transpose()?;
    let scopes = principal.scopes().clone();
    let (actor, user) = match principal.api_key() {
        Some(key) => (Actor::ApiKey(key.parse()?), principal.owner().map(str::parse).transpose()?),
        None => match principal.subject().parse::<UserId>() {
            Ok(user) => (Actor::User(user), Some(user)),
            Err(_) => (Actor::Client(principal.subject().parse()?), None),
        },
    };
    Ok(Known { scopes, permitted, organization, project, user, is_session: false, actor })
}

/// A person who is logged in, in the organization that they name, or in their only one.
async fn by_session(
    app: &App,
    headers: &HeaderMap,
    token: &SessionToken,
) -> Result<Known, Problem> {
    let session = identity::find_session(&app.db, app.clock.now(), token).await?;
    let session = session.ok_or_else(|| Problem::rejected(Rejection::MissingCredential))?;
    let user = session.user;
    let memberships = tenancy::list_memberships(app.db.reader(), user).await?;
    let membership = match headers.get(ORGANIZATION) {
        Some(value) => {
            let named = value.to_str().ok().and_then(|text| text.parse().ok());
            memberships.into_iter().find(|it| Some(it.organization) == named)
        }
        None if memberships.len() > 1 => {
            let detail = "You belong to several organizations; name one in the header Portcullis-Organization.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "Which organization?", detail));
        }
        None => memberships.into_iter().next(),
    };
    Ok(member(membership.ok_or_else(Problem::not_found)?, user))
}

/// A member by themselves, with all that their role allows.
fn member(membership: Membership, user: UserId) -> Known {
    Known {
        permitted: management_catalog().within(&membership.scopes, &membership.scopes),
        scopes: membership.scopes,
        organization: membership.organization,
        project: None,
        user: Some(user),
        is_session: true,
        actor: Actor::User(user),
    }
}

/// Who holds the credential, and what it permits at this API.
async fn by_credential(app: &App, call: &Call<'_>) -> Result<(Principal, ScopeSet), Problem> {
    let credential = bearer_credential(&call.parts.headers).map_err(Problem::rejected)?;
    let not_accepted = || Problem::rejected(Rejection::InvalidToken(InvalidToken::NotAccepted));
    let now = app.clock.now();
    // A JWT has dots; no API key of ours has.
    if credential.contains('.') && !app.api_keys.may_be_imported(credential) {
        let keys = app.signer.public_keys();
        let (issuer, revocations) = (&app.config.issuer, &app.revocations);
        return match app.accepted_tokens.inspect(&keys, issuer, revocations, now, credential) {
            Some(token) if !token.claims.may_be_used_from(call.address) => Err(not_accepted()),
            Some(token) if token.claims.aud.contains(issuer) => {
                // What needs an admin was held back when the token was made.
                Ok((token.principal().clone(), token.claims.scope.clone()))
            }
            Some(_) => Err(Problem::rejected(Rejection::InvalidToken(InvalidToken::WrongAudience))),
            None => Err(not_accepted()),
        };
    }
    let from = UsedFrom::Address(call.address);
    let wanted = Wanted { asker: Asker::Ourselves, from, scope: call.required };
    let presented = Presented { text: credential, wanted, cost: Some(1), source: call.source };
    let (db, revocations, limits) = (&app.db, &app.revocations, &app.key_limits);
    let verified = app.api_keys.verify(db, revocations, limits, now, &presented).await?;
    if let Some(standing) = verified.standing {
        leave_standing(standing);
        if standing.is_refused() {
            return Err(Problem::rate_limited(&standing));
        }
    }
    let (known, permitted) = match (verified.known, verified.verdict, call.required) {
        (Some(known), Verdict::Valid(permitted), _) => (known, permitted),
        (Some(known), Verdict::MissingScope(_), Some(required)) if !known.scopes.is_empty() => {
            return Err(Problem::rejected(Rejection::InsufficientScope {
                required: required.clone(),
            }));
        }
        _ => return Err(not_accepted()),
    };
    Ok((known.principal(known.scopes.clone()), permitted))
}

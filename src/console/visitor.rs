//! Who is at the browser, in which organization, and whether they may see the page there.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use super::Person;
use crate::access::{Caller, Denied, Permission};
use crate::app::App;
use crate::http::PageError;
use crate::tenancy::{self, Membership};

/// Somebody who is logged in, in the organization that the address names (`/o/{organization}/…`), whose role there
/// allows what `P` says. An organization of others is answered like one that does not exist.
pub struct Visitor<P> {
    pub person: Person,
    pub membership: Membership,
    pub caller: Caller<P>,
    /// Whether this is the organization that runs the installation.
    pub is_operator: bool,
}

impl<P: Permission> FromRequestParts<App> for Visitor<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let person = Person::from_request_parts(parts, app).await?;
        visitor(parts, app, person).await.map_err(PageError::into_response)
    }
}

async fn visitor<P: Permission>(
    parts: &mut Parts,
    app: &App,
    person: Person,
) -> Result<Visitor<P>, PageError> {
    let parameters = RawPathParams::from_request_parts(parts, &()).await?;
    let named = parameters.iter().find(|(name, _)| *name == "organization");
    let named = named.and_then(|(_, text)| text.parse().ok());
    let membership = person.memberships.iter().find(|it| Some(it.organization) == named);
    let membership = membership.cloned().ok_or_else(PageError::not_found)?;
    let operator = tenancy::find_operator(app.db.reader()).await?;
    let is_operator = operator == Some(membership.organization);
    let caller = Caller::of_session(&membership, person.session.user, is_operator, person.by());
    let caller = caller.map_err(|denied| refusal(&membership, denied))?;
    Ok(Visitor { person, membership, caller, is_operator })
}

fn refusal(membership: &Membership, denied: Denied) -> PageError {
    let why = match denied {
        Denied::Scope(scope) => format!(
            "In {} you are {}, and that role lacks {scope}. An owner or admin of the organization can give you another \
             role.",
            membership.organization_name, membership.role_name
        ),
        Denied::Project | Denied::Installation => {
            "This is for the organization that runs the installation, and yours is another."
                .to_owned()
        }
        Denied::Failed(cause) => return cause.into(),
    };
    PageError::new(StatusCode::FORBIDDEN, "Your role does not allow this", why)
}

impl<P: Permission> Visitor<P> {
    /// The address of a page about this organization; `rest` begins with a slash.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("{}/o/{}{rest}", self.person.base, self.membership.organization)
    }
}

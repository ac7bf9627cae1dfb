//! Where one comes in: the front page, which leads to one's organization, and the organization's, which leads to the
//! first of its sections that one may see.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::{Frame, Person, Section, Visitor, page};
use crate::access::Anybody;
use crate::tenancy::Membership;

#[derive(Template)]
#[template(path = "console/home.html")]
struct HomePage {
    frame: Frame,
    memberships: Vec<Membership>,
}

/// `GET /`
pub async fn home(person: Person) -> Response {
    match person.memberships.as_slice() {
        [only] => Redirect::to(&format!("{}/o/{}", person.base, only.organization)).into_response(),
        _ => {
            let frame = person.frame(Section::Home);
            page(HomePage { frame, memberships: person.memberships }, StatusCode::OK)
        }
    }
}

/// `GET /o/{organization}`
pub async fn organization(visitor: Visitor<Anybody>) -> Response {
    let frame = visitor.frame(Section::Home);
    let first = frame.groups.iter().flat_map(|group| &group.links).next();
    // Whose role allows nothing here has at least themselves.
    let account = || format!("{}/account", visitor.person.base);
    Redirect::to(&first.map_or_else(account, |link| link.href.clone())).into_response()
}

//! The frame of the human face: who is at the browser, what they may see, layout and navigation, forms.
//!
//! Owns: what all pages of the console share. Does not own: the pages, which stand in the rooms that they show
//! (`pages.rs`), nor login, setup and consent, which need no frame.

mod address;
mod form;
mod frame;
mod home;
mod moment;
mod once;
mod person;
mod secret;
mod visitor;

pub use address::{Asked, Named, query_of};
pub use form::{FormState, chosen, words};
pub use frame::{Frame, Section};
pub use home::{home, organization};
pub use moment::{Day, Moment, Remaining, grouped};
pub use once::{Once, Sent};
pub use person::Person;
pub use secret::{GRACES, SecretPage};
pub use visitor::Visitor;

use askama::Template;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse as _;
use axum::response::Response;

use crate::http::Page;

/// A page of the console on its way out. It shares its browsing context group with no other site, which login and
/// consent must, because applications open them in windows that they wait for.
pub fn page(template: impl Template, status: StatusCode) -> Response {
    let mut response = Page::new(template).with_status(status).into_response();
    let name = axum::http::HeaderName::from_static("cross-origin-opener-policy");
    response.headers_mut().insert(name, HeaderValue::from_static("same-origin"));
    response
}

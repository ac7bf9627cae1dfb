//! The manners of every face: how requests are read and how refusals are told.

mod authorization;
mod client_address;
mod page;
mod page_error;
mod parameters;
mod problem;
mod source;

pub use authorization::{BasicCredentials, basic_credentials, bearer_challenge};
pub use client_address::{ClientAddress, client_address};
pub use page::{Page, content_security_policy};
pub use page_error::{PageError, render_page_errors};
pub use parameters::{BadParameters, Doubled, Form, MAX_BODY, Parameters};
pub use problem::{Json, Problem};
pub use source::Source;

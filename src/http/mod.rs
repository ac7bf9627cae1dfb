//! The manners of every face: how requests are read and how refusals are told.

mod accept;
mod assets;
mod authorization;
mod client_address;
mod conditional;
mod creation;
mod every_request;
mod nullable;
mod page;
mod page_error;
mod parameters;
mod path;
mod problem;
mod query;
mod rate_limit;
mod session;
mod source;

pub use accept::preferred;
pub use assets::{asset, get_asset};
pub use authorization::{BasicCredentials, basic_credentials, bearer_challenge, bearer_credential};
pub use client_address::ClientAddress;
pub use conditional::{IfMatch, Versioned, document, is_known};
pub use creation::{Beginning, Begun, Creation};
pub use every_request::every_request;
pub use nullable::nullable;
pub use page::{Page, content_security_policy};
pub use page_error::PageError;
use page_error::render_page_errors;
pub use parameters::{BadParameters, Doubled, Form, MAX_BODY, Parameters};
pub use path::{PathId, PathIds};
pub use problem::{Json, JsonUpTo, Problem, ProblemDocument, RawJsonUpTo};
pub use query::{Limit, PageOf, Query, SearchText};
pub use rate_limit::{leave_standing, tell_rate_limit, write_rate_limit};
pub use session::{session_cookie_name, session_token};
pub use source::Source;

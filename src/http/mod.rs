//! The manners of every face: how requests are read and how refusals are told.

mod accept;
mod authorization;
mod client_address;
mod conditional;
mod creation;
mod elsewhere;
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
pub use authorization::{BasicCredentials, basic_credentials, bearer_challenge, bearer_credential};
pub use client_address::ClientAddress;
pub use conditional::{IfMatch, Versioned, document, is_known};
pub use creation::{Beginning, Begun, Creation};
pub use elsewhere::is_from_elsewhere;
pub use every_request::EveryRequest;
pub use nullable::nullable;
pub use page::{Page, content_security_policy};
pub use page_error::PageError;
use page_error::render_page_errors;
pub use parameters::{BadParameters, Doubled, Form, FormAndHeaders, MAX_BODY, Parameters};
pub use path::{PathId, PathIds};
pub use problem::{Json, JsonUpTo, Problem, ProblemDocument, RawJsonUpTo, secret_json_answer};
pub use query::{Limit, PageOf, Query, SearchText};
use rate_limit::tell_rate_limit;
pub use rate_limit::{leave_standing, write_rate_limit};
pub use session::{session_cookie_name, session_token};
pub use source::Source;

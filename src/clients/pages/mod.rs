//! `/o/{organization}/applications`: the console's pages about OAuth clients.

mod connect;
mod delete;
mod edit;
mod fields;
mod list;
mod new;
mod one;
mod picker;
mod secrets;
mod snippets;
mod switch;

use entity::ClientId;

pub use connect::connect;
pub use delete::{delete, post_delete};
pub use edit::{edit, post_edit};
pub use list::list;
pub use new::{create, new};
pub use one::one;
pub use secrets::{add, post_remove, remove, secrets};
pub use switch::{disable, enable, post_disable, post_enable};

use super::{Client, GrantType, Status, store};
use crate::access::{Permission, WriteClients};
use crate::app::App;
use crate::console::Visitor;
use crate::http::PageError;

/// The top of each page about one application.
struct Head {
    /// The address of the list.
    list: String,
    /// The address of the application.
    here: String,
    name: String,
    is_confidential: bool,
    is_disabled: bool,
    is_deleted: bool,
    may_write: bool,
    /// Which of its pages this is: the last part of the address, or nothing.
    tab: &'static str,
}

impl Head {
    fn new<P: Permission>(visitor: &Visitor<P>, client: &Client, tab: &'static str) -> Self {
        let is_deleted = client.status() == Status::Deleted;
        Self {
            list: visitor.path("/applications"),
            here: address(visitor, client.id),
            name: client.name.clone(),
            is_confidential: client.is_confidential,
            is_disabled: client.status() == Status::Disabled,
            is_deleted,
            may_write: visitor.caller.may::<WriteClients>() && !is_deleted,
            tab,
        }
    }
}

fn address<P: Permission>(visitor: &Visitor<P>, id: ClientId) -> String {
    visitor.path(&format!("/applications/{id}"))
}

/// The application, if it is the organization's; also where it was disabled or deleted.
async fn found<P>(app: &App, visitor: &Visitor<P>, id: ClientId) -> Result<Client, PageError> {
    let client = store::find_of(app.db.reader(), visitor.membership.organization, id).await?;
    client.ok_or_else(PageError::not_found)
}

/// The application, if there is still something to be done with it.
async fn living<P>(app: &App, visitor: &Visitor<P>, id: ClientId) -> Result<Client, PageError> {
    let client = found(app, visitor, id).await?;
    match client.status() {
        Status::Deleted => Err(PageError::not_found()),
        Status::Active | Status::Disabled => Ok(client),
    }
}

/// A grant type, as people read it.
fn in_words(grant_type: GrantType) -> &'static str {
    match grant_type {
        GrantType::AuthorizationCode => "Acts for people",
        GrantType::RefreshToken => "Stays connected",
        GrantType::ClientCredentials => "Acts for itself",
    }
}

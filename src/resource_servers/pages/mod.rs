//! `/o/{organization}/resource-servers`: the console's pages about APIs and their scopes.

mod credential;
mod delete;
mod fields;
mod list;
mod new;
mod one;

use entity::ResourceServerId;

pub use credential::{credential, rotate};
pub use delete::{delete, post_delete};
pub use list::list;
pub use new::{create, new};
pub use one::{edit, one, post_edit};

use super::{ResourceServer, store};
use crate::access::Permission;
use crate::app::App;
use crate::console::Visitor;
use crate::http::PageError;

fn address<P: Permission>(visitor: &Visitor<P>, id: ResourceServerId) -> String {
    visitor.path(&format!("/resource-servers/{id}"))
}

/// The resource server, if the organization may use it.
async fn found<P>(
    app: &App,
    visitor: &Visitor<P>,
    id: ResourceServerId,
) -> Result<ResourceServer, PageError> {
    let api = store::find(app.db.reader(), id).await?;
    let organization = visitor.membership.organization;
    api.filter(|api| api.is_offered_to(organization)).ok_or_else(PageError::not_found)
}

/// The resource server, if it is the organization's own: others' are for them to change.
async fn own<P>(
    app: &App,
    visitor: &Visitor<P>,
    id: ResourceServerId,
) -> Result<ResourceServer, PageError> {
    let api = found(app, visitor, id).await?;
    match api.organization == Some(visitor.membership.organization) && !api.is_management {
        true => Ok(api),
        false => {
            Err(super::refusal(app.db.reader(), visitor.membership.organization, id).await?.into())
        }
    }
}

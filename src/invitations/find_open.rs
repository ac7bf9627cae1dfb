use entity::Timestamp;
use portcullis_verifier::key;
use sea_orm::{ConnectionTrait, DbErr};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Invitation, Status, store};
use crate::identity;
use crate::tenancy::{self, RoleRef};

/// An invitation that can be accepted, and what the person who holds the link is told of it.
#[derive(Debug, Clone)]
pub struct OpenInvitation {
    pub invitation: Invitation,
    pub organization_name: String,
    pub role_name: String,
    /// The name of whoever invites, where a person does.
    pub inviter_name: Option<String>,
}

/// The invitation that the token of a link stands for. None where it is unknown, used, revoked or too old, its
/// organization is closed, or its role is gone.
///
/// # Errors
/// When the database fails.
pub async fn find_open(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    token: &SecretString,
) -> Result<Option<OpenInvitation>, DbErr> {
    let found = store::find_by_digest(connection, key::digest(token.expose_secret())).await?;
    let Some(invitation) = found.filter(|found| found.status(now) == Status::Open) else {
        return Ok(None);
    };
    describe(connection, invitation).await
}

/// Adds the names to an invitation. None where its organization is closed or its role is gone.
pub(super) async fn describe(
    connection: &impl ConnectionTrait,
    invitation: Invitation,
) -> Result<Option<OpenInvitation>, DbErr> {
    let organization = tenancy::find_organization(connection, invitation.organization).await?;
    let Some(organization) = organization.filter(|it| it.closed_at.is_none()) else {
        return Ok(None);
    };
    let role_name = match invitation.role {
        RoleRef::BuiltIn(role) => role.to_string(),
        RoleRef::Own(id) => {
            match tenancy::find_role(connection, invitation.organization, id).await? {
                Some(role) => role.name,
                None => return Ok(None),
            }
        }
    };
    let inviter = match invitation.invited_by {
        Some(user) => identity::find_user(connection, user).await?,
        None => None,
    };
    Ok(Some(OpenInvitation {
        invitation,
        organization_name: organization.name,
        role_name,
        inviter_name: inviter.map(|user| user.name).filter(|name| !name.is_empty()),
    }))
}

use entity::{InvitationId, OrganizationId, Timestamp, UserId};
use portcullis_verifier::{ScopeSet, key};
use sea_orm::DatabaseTransaction;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Invitation, LIFETIME, store};
use crate::audit::{self, By, Event};
use crate::identity::{self, normalized_email};
use crate::platform::entropy::random_token;
use crate::platform::{FieldError, Refused};
use crate::tenancy::{self, Role, RoleRef};

/// Which roles whoever invites may give away.
#[derive(Debug, Clone, Copy)]
pub enum Power<'a> {
    /// Every role.
    All,
    /// Those that reach no further than this; that of an owner only if they are one.
    Within { reach: &'a ScopeSet, is_owner: bool },
    /// That of an owner, and only while the organization has none.
    FirstOwner,
}

/// An invitation to be.
pub struct NewInvitation<'a> {
    pub organization: OrganizationId,
    pub email: &'a str,
    /// The name of a built-in role, or the id of one of the organization's own.
    pub role: &'a str,
    pub invited_by: Option<UserId>,
    pub power: Power<'a>,
}

/// What is said of an organization that is unknown, closed, or not the inviter's.
pub(super) fn foreign_organization() -> Refused {
    Refused::field("organization", "is no organization that you may invite people to")
}

/// Invites somebody; the token of the link is told this once. Earlier invitations of the same address end.
///
/// # Errors
/// When a field is wrong, the role is more than the inviter may give, they are a member already, or the database
/// fails.
pub async fn invite(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    new: NewInvitation<'_>,
) -> Result<(Invitation, SecretString), Refused> {
    // Of two invitations of one address at once the later finds the earlier; and no role is deleted meanwhile.
    tenancy::lock_organization(tx, new.organization).await?;
    let organization = tenancy::find_organization(tx, new.organization).await?;
    if organization.is_none_or(|it| it.closed_at.is_some()) {
        return Err(foreign_organization());
    }
    let mut errors = Vec::new();
    let email = normalized_email(new.email);
    if email.is_none() {
        errors.push(FieldError::new("email", "must be an e-mail address"));
    }
    let role = checked_role(tx, &new).await?.map_err(|error| errors.push(error)).ok();
    let (Some(email), Some(role)) = (email, role) else { return Err(Refused::Invalid(errors)) };
    if let Some(user) = identity::find_user_by_email(tx, &email).await?
        && tenancy::find_membership(tx, new.organization, user.id).await?.is_some()
    {
        return Err(Refused::Conflict("They are a member already.".to_owned()));
    }
    if matches!(new.power, Power::FirstOwner) {
        let owner = tenancy::first_member(tx, new.organization, Role::Owner).await?;
        if owner.is_some() {
            let why = "The organization has an owner already, who can invite others.";
            return Err(Refused::Conflict(why.to_owned()));
        }
    }
    let token = SecretString::from(random_token());
    let invitation = Invitation {
        id: InvitationId::new(now),
        organization: new.organization,
        email,
        role,
        invited_by: new.invited_by,
        created_at: now,
        expires_at: now + LIFETIME,
        accepted_at: None,
        revoked_at: None,
    };
    for older in store::revoke_open(tx, now, new.organization, &invitation.email).await? {
        let event = Event::new("invitation.revoked", older)
            .in_organization(new.organization)
            .with(serde_json::json!({ "replaced_by": invitation.id }));
        audit::record(tx, now, by, event).await?;
    }
    store::insert(tx, &invitation, key::digest(token.expose_secret())).await?;
    let event = Event::new("invitation.created", invitation.id)
        .in_organization(new.organization)
        .with(serde_json::json!({ "role": role }));
    audit::record(tx, now, by, event).await?;
    Ok((invitation, token))
}

/// The role, if the organization has it and the inviter may give it.
async fn checked_role(
    tx: &DatabaseTransaction,
    new: &NewInvitation<'_>,
) -> Result<Result<RoleRef, FieldError>, Refused> {
    let wrong = |message: &str| Ok(Err(FieldError::new("role", message)));
    let role: RoleRef = match new.role.parse() {
        Ok(role) => role,
        Err(message) => return wrong(&format!("must be a role: {message}")),
    };
    let scopes = match role {
        RoleRef::BuiltIn(role) => role.scopes().clone(),
        RoleRef::Own(id) => match tenancy::find_role(tx, new.organization, id).await? {
            Some(role) => role.scopes,
            None => return wrong("is no role of the organization"),
        },
    };
    match new.power {
        Power::FirstOwner if !role.is_owner() => {
            wrong("must be owner: the first owner invites the others")
        }
        Power::Within { is_owner: false, .. } if role.is_owner() => {
            wrong("can be given by an owner only")
        }
        Power::Within { reach, .. } if !reach.covers_all(&scopes) => {
            wrong("reaches further than you do yourself")
        }
        Power::All | Power::Within { .. } | Power::FirstOwner => Ok(Ok(role)),
    }
}

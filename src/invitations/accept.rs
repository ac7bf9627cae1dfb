use entity::{Timestamp, UserId};
use portcullis_verifier::key;
use sea_orm::{DatabaseTransaction, SqlErr};
use secrecy::{ExposeSecret as _, SecretString};

use super::{find_open, store};
use crate::audit::{self, Actor, Event, Source};
use crate::identity::{self, CheckedUser, insert_user};
use crate::platform::Refused;
use crate::revocation::{self, Subject};
use crate::tenancy;

/// Who accepts.
pub enum Joiner {
    /// Somebody with an account, who is logged in.
    User(UserId),
    /// Somebody who gets their account by this; it must bear the invited address.
    Newcomer(CheckedUser),
}

/// Why nobody joined.
pub enum NotAccepted {
    /// The link is unknown, used, revoked or too old, or there is nothing left to join.
    BadLink,
    Refused(Refused),
}

impl<E: Into<Refused>> From<E> for NotAccepted {
    fn from(refused: E) -> Self {
        Self::Refused(refused.into())
    }
}

/// Accepts an invitation. Of several attempts at once exactly one succeeds.
///
/// # Errors
/// See `NotAccepted`.
pub async fn accept(
    tx: &DatabaseTransaction,
    now: Timestamp,
    source: Source,
    token: &SecretString,
    joiner: Joiner,
) -> Result<UserId, NotAccepted> {
    let digest = key::digest(token.expose_secret());
    let found = store::find_by_digest(tx, digest).await?.ok_or(NotAccepted::BadLink)?;
    // Neither is the organization closed nor the role deleted before this is through.
    if !tenancy::lock_organization(tx, found.organization).await? {
        return Err(NotAccepted::BadLink);
    }
    let invitation = store::mark_accepted(tx, now, digest).await?.ok_or(NotAccepted::BadLink)?;
    find_open::describe(tx, invitation.clone()).await?.ok_or(NotAccepted::BadLink)?;
    let user = match joiner {
        Joiner::User(id) => identity::find_user(tx, id).await?.ok_or(Refused::NotFound)?,
        Joiner::Newcomer(checked) => {
            let by = source.clone().by(Actor::Anonymous);
            insert_user(tx, now, &by, checked).await?
        }
    };
    if user.email != invitation.email || user.suspended_at.is_some() {
        let why = "The invitation is for somebody else.";
        return Err(Refused::Forbidden(why.to_owned()).into());
    }
    let organization = invitation.organization;
    if let Err(error) =
        tenancy::insert_membership(tx, now, organization, user.id, invitation.role).await
    {
        return Err(match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => {
                Refused::Conflict("You belong to the organization already.".to_owned()).into()
            }
            _ => error.into(),
        });
    }
    let by = source.by(Actor::User(user.id));
    let accepted = Event::new("invitation.accepted", invitation.id).in_organization(organization);
    audit::record(tx, now, &by, accepted).await?;
    let added = Event::new("member.added", user.id)
        .in_organization(organization)
        .with(serde_json::json!({ "role": invitation.role, "invitation": invitation.id }));
    audit::record(tx, now, &by, added).await?;
    // Whoever comes back has keys that may do something again.
    revocation::append_changed(tx, now, &[Subject::User(user.id).of(organization)]).await?;
    Ok(user.id)
}

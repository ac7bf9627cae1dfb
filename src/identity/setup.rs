//! The first owner and the first organization, made once: by a one-time link in a browser, or on the command line.

use std::time::Duration;

use entity::{OrganizationId, Timestamp};
use portcullis_verifier::key;
use sea_orm::DbErr;
use secrecy::{ExposeSecret as _, SecretString};

use super::create_user::{CheckedUser, insert_user};
use super::{NewUser, User, normalized_email, store};
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::platform::entropy::random_token;
use crate::platform::password::Passwords;
use crate::platform::{FieldError, Refused, checked_name};
use crate::tenancy::{self, Role};

const LINK_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Whether there is an owner already.
///
/// # Errors
/// When the database fails.
pub async fn is_set_up(db: &Db) -> Result<bool, DbErr> {
    store::is_set_up(db.reader()).await
}

/// A new one-time token, good for an hour; earlier ones stay good for theirs.
///
/// # Errors
/// When the database fails.
pub async fn make_setup_link(db: &Db, now: Timestamp) -> Result<SecretString, DbErr> {
    let token = SecretString::from(random_token());
    store::insert_setup_link(db.writer(), key::digest(token.expose_secret()), now + LINK_LIFETIME)
        .await?;
    Ok(token)
}

/// Whether the token of a link is good now.
///
/// # Errors
/// When the database fails.
pub async fn link_is_valid(db: &Db, now: Timestamp, token: &SecretString) -> Result<bool, DbErr> {
    let digest = key::digest(token.expose_secret());
    Ok(!is_set_up(db).await? && store::has_setup_link(db.reader(), digest, now).await?)
}

/// What the setup is told.
pub struct SetUp<'a> {
    pub email: &'a str,
    /// The person's own name; the part of the address before the `@` where it is empty.
    pub name: &'a str,
    pub organization: &'a str,
    pub password: &'a SecretString,
    /// The token of the link; none on the command line.
    pub link: Option<&'a SecretString>,
}

/// Why the setup did nothing.
pub enum SetUpRefused {
    /// There is an owner already.
    Done,
    /// The link is unknown, used or too old.
    BadLink,
    Refused(Refused),
}

impl<E: Into<Refused>> From<E> for SetUpRefused {
    fn from(refused: E) -> Self {
        Self::Refused(refused.into())
    }
}

/// Makes the owner and the organization. Of several attempts at once exactly one succeeds.
///
/// # Errors
/// See `SetUpRefused`.
pub async fn set_up(
    db: &Db,
    passwords: &Passwords,
    now: Timestamp,
    by: &By,
    wanted: SetUp<'_>,
) -> Result<(User, OrganizationId), SetUpRefused> {
    if is_set_up(db).await? {
        return Err(SetUpRefused::Done);
    }
    // Before the password is hashed, so that strangers can't make us hash.
    if let Some(token) = wanted.link
        && !link_is_valid(db, now, token).await?
    {
        return Err(SetUpRefused::BadLink);
    }
    let mut errors: Vec<FieldError> = Vec::new();
    let organization_name = checked_name("organization", wanted.organization, &mut errors);
    let email = normalized_email(wanted.email);
    let name = match (wanted.name.trim(), &email) {
        ("", Some(email)) => email.split('@').next().unwrap_or_default(),
        // The address is wrong; the name, which may be left out, is not.
        ("", None) => "owner",
        (name, _) => name,
    };
    let new = NewUser { email: wanted.email, name, password: wanted.password };
    let checked = match CheckedUser::new(passwords, new).await {
        Ok(checked) if errors.is_empty() => checked,
        Ok(_) => return Err(Refused::Invalid(errors).into()),
        Err(Refused::Invalid(more)) => {
            errors.extend(more);
            return Err(Refused::Invalid(errors).into());
        }
        Err(failed) => return Err(failed.into()),
    };

    let tx = db.begin().await?;
    if !store::mark_set_up(&tx, now).await? {
        return Err(SetUpRefused::Done);
    }
    store::delete_setup_links(&tx).await?;
    let user = insert_user(&tx, now, by, checked).await?;
    let organization = tenancy::insert_organization(&tx, now, organization_name).await?;
    tenancy::set_operator(&tx, organization).await?;
    tenancy::insert_membership(&tx, now, organization, user.id, Role::Owner).await?;
    let event = Event::new("installation.set_up", organization).in_organization(organization);
    audit::record(&tx, now, by, event).await?;
    tx.commit().await?;
    Ok((user, organization))
}

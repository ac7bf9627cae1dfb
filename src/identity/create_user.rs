use entity::{OrganizationId, Timestamp, UserId};
use sea_orm::{DatabaseTransaction, SqlErr};
use secrecy::{ExposeSecret as _, SecretString};

use super::{User, normalized_email, store};
use crate::audit::{self, By, Event};
use crate::platform::db::Db;
use crate::platform::password::Passwords;
use crate::platform::{FieldError, Refused, checked_name};
use crate::tenancy::{self, RoleRef};

/// Long enough that guessing at the pace that we allow is hopeless (NIST SP 800-63B §3.1.1 asks for no composition).
const SHORTEST_PASSWORD: usize = 12;
const LONGEST_PASSWORD: usize = 256;

/// A user to be.
pub struct NewUser<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub password: &'a SecretString,
}

/// A new user whose fields were found right and whose password is hashed.
pub struct CheckedUser {
    email: String,
    name: String,
    password_hash: String,
}

impl CheckedUser {
    /// Checks every field, then hashes the password.
    ///
    /// # Errors
    /// When a field is wrong, or too many passwords are being hashed.
    pub async fn new(passwords: &Passwords, new: NewUser<'_>) -> Result<Self, Refused> {
        let mut errors = Vec::new();
        let email = normalized_email(new.email).unwrap_or_else(|| {
            errors.push(FieldError::new("email", "must be an e-mail address"));
            String::new()
        });
        let name = checked_name("name", new.name, &mut errors).to_owned();
        check_password("password", new.password, &mut errors);
        if !errors.is_empty() {
            return Err(Refused::Invalid(errors));
        }
        Ok(Self { email, name, password_hash: passwords.hash(new.password.clone()).await? })
    }
}

/// The rules for every password that somebody chooses.
pub(super) fn check_password(field: &str, password: &SecretString, errors: &mut Vec<FieldError>) {
    let length = password.expose_secret().chars().count();
    if length < SHORTEST_PASSWORD {
        errors.push(FieldError::new(field, "must have at least 12 characters"));
    } else if length > LONGEST_PASSWORD {
        errors.push(FieldError::new(field, "must have at most 256 characters"));
    }
}

/// Makes an account, and a member of an organization where one is named.
///
/// # Errors
/// When a field is wrong, the address is taken, or something of ours fails.
pub async fn create_user(
    db: &Db,
    passwords: &Passwords,
    now: Timestamp,
    by: &By,
    new: NewUser<'_>,
    membership: Option<(OrganizationId, RoleRef)>,
) -> Result<User, Refused> {
    let checked = CheckedUser::new(passwords, new).await?;
    let tx = db.begin().await?;
    let user = insert_user(&tx, now, by, checked).await?;
    if let Some((organization, role)) = membership {
        if !tenancy::lock_organization(&tx, organization).await? {
            return Err(Refused::Conflict("The organization was closed.".to_owned()));
        }
        tenancy::insert_membership(&tx, now, organization, user.id, role).await?;
        let event = Event::new("member.added", user.id)
            .in_organization(organization)
            .with(serde_json::json!({ "role": role }));
        audit::record(&tx, now, by, event).await?;
    }
    tx.commit().await?;
    Ok(user)
}

/// Writes a checked user within a larger change.
///
/// # Errors
/// When the address is taken or the database fails.
pub async fn insert_user(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    checked: CheckedUser,
) -> Result<User, Refused> {
    let user = User {
        id: UserId::new(now),
        email: checked.email,
        name: checked.name,
        created_at: now,
        suspended_at: None,
        erased_at: None,
    };
    if let Err(error) = store::insert_user(tx, &user, &checked.password_hash).await {
        return Err(match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => {
                Refused::field("email", "has an account already")
            }
            _ => error.into(),
        });
    }
    audit::record(tx, now, by, Event::new("user.created", user.id)).await?;
    Ok(user)
}

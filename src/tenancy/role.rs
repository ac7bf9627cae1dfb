//! Roles: the four that are built in, and those that an organization makes for itself as named sets of scopes.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use entity::{OrganizationId, RoleId, Timestamp};
use portcullis_verifier::{Scope, ScopeSet};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, SqlErr};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr};

use super::{OwnRole, store};
use crate::audit::{self, By, Event};
use crate::platform::{FieldError, Refused, checked_name};
use crate::revocation::{self, Subject};

const MAX_SCOPES: usize = 100;

/// A built-in role: a named set of scopes in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Owner,
    Admin,
    Member,
    Viewer,
}

static EVERYTHING: LazyLock<ScopeSet> = LazyLock::new(|| scopes("admin"));
static WRITE: LazyLock<ScopeSet> = LazyLock::new(|| scopes("write"));
static READ: LazyLock<ScopeSet> = LazyLock::new(|| scopes("read"));

#[expect(clippy::expect_used, reason = "the literals above are scopes; a test says so")]
fn scopes(text: &str) -> ScopeSet {
    text.parse().expect("a scope")
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer];

    /// The most that somebody with this role may allow or do.
    #[must_use]
    pub fn scopes(self) -> &'static ScopeSet {
        match self {
            Self::Owner | Self::Admin => &EVERYTHING,
            Self::Member => &WRITE,
            Self::Viewer => &READ,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| "a role is one of owner, admin, member, viewer".to_owned())
    }
}

/// Which role somebody has: a built-in one by its name, or one of the organization's own by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleRef {
    BuiltIn(Role),
    Own(RoleId),
}

impl From<Role> for RoleRef {
    fn from(role: Role) -> Self {
        Self::BuiltIn(role)
    }
}

impl RoleRef {
    #[must_use]
    pub fn is_owner(self) -> bool {
        self == Self::BuiltIn(Role::Owner)
    }
}

impl fmt::Display for RoleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(role) => role.fmt(f),
            Self::Own(id) => id.fmt(f),
        }
    }
}

impl FromStr for RoleRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Self::Own(id)),
            Err(_) => text
                .parse()
                .map(Self::BuiltIn)
                .map_err(|message| format!("{message}, or the id of a role of the organization")),
        }
    }
}

impl Serialize for RoleRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoleRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for RoleRef {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("`owner`, `admin`, `member`, `viewer`, or the id of a role of the organization's own."))
            .pattern(Some("^(owner|admin|member|viewer|rol_[0-7][0-9a-hjkmnp-tv-z]{25})$"))
            .examples(["member"])
            .into()
    }
}

impl ToSchema for RoleRef {}

/// What somebody with this role may do in the organization; none where it has no such role.
///
/// # Errors
/// When the database fails.
pub async fn scopes_of_role(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    role: RoleRef,
) -> Result<Option<ScopeSet>, DbErr> {
    match role {
        RoleRef::BuiltIn(role) => Ok(Some(role.scopes().clone())),
        RoleRef::Own(id) => {
            let role = store::find_role(connection, organization, id).await?;
            Ok(role.map(|role| role.scopes))
        }
    }
}

/// A role to be.
pub struct NewRole<'a> {
    pub organization: OrganizationId,
    pub name: &'a str,
    pub scopes: &'a [String],
    /// The most that whoever makes it may do: no role reaches further.
    pub reach: &'a ScopeSet,
}

/// Makes a role of the organization's own.
///
/// # Errors
/// When a field is wrong, the name is taken, or the database fails.
pub async fn create_role(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    new: NewRole<'_>,
) -> Result<OwnRole, Refused> {
    let mut errors = Vec::new();
    let name = checked_role_name(new.name, &mut errors);
    let scopes = checked_scopes(new.scopes, new.reach, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let role = OwnRole {
        id: RoleId::new(now),
        organization: new.organization,
        name,
        scopes,
        created_at: now,
        version: 1,
    };
    store::insert_role(tx, &role).await.map_err(name_taken)?;
    let event = Event::new("role.created", role.id)
        .in_organization(role.organization)
        .with(serde_json::json!({ "scopes": role.scopes.to_string() }));
    audit::record(tx, now, by, event).await?;
    Ok(role)
}

/// What to change of a role; what is none stays.
pub struct RoleChanges<'a> {
    pub name: Option<&'a str>,
    pub scopes: Option<&'a [String]>,
    /// The most that whoever changes it may do. What the role had before may reach further and can be taken away.
    pub reach: &'a ScopeSet,
}

/// Changes a role, for everybody who has it, at once.
///
/// # Errors
/// When there is no such role, it is not of the expected version, a field is wrong, or the database fails.
pub async fn edit_role(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: RoleId,
    expected: Option<i32>,
    changes: RoleChanges<'_>,
) -> Result<OwnRole, Refused> {
    let mut errors = Vec::new();
    let name = changes.name.map(|name| checked_role_name(name, &mut errors));
    let scopes = changes.scopes.map(|scopes| checked_scopes(scopes, changes.reach, &mut errors));
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let narrows_or_widens = scopes.is_some();
    let edited = store::update_role(tx, organization, id, expected, name, scopes)
        .await
        .map_err(name_taken)?;
    let Some(role) = edited else {
        let is_there = store::find_role(tx, organization, id).await?.is_some();
        return Err(Refused::absent_or_stale(is_there));
    };
    let event = Event::new("role.changed", id)
        .in_organization(organization)
        .with(serde_json::json!({ "scopes": role.scopes.to_string() }));
    audit::record(tx, now, by, event).await?;
    if narrows_or_widens {
        // Whoever has the role: the tokens and keys of the organization are looked at anew.
        revocation::append_narrowed(
            tx,
            now,
            &[Subject::Organization(organization).of(organization)],
        )
        .await?;
    }
    Ok(role)
}

/// Deletes a role that nobody has and nobody is invited to.
///
/// # Errors
/// When there is no such role, it is in use, or the database fails.
pub async fn delete_role(
    tx: &DatabaseTransaction,
    now: Timestamp,
    by: &By,
    organization: OrganizationId,
    id: RoleId,
) -> Result<(), Refused> {
    // Under the organization's lock nobody is given the role meanwhile.
    store::lock_organization(tx, organization).await?;
    if store::role_is_in_use(tx, organization, RoleRef::Own(id), now).await? {
        return Err(Refused::Conflict(
            "The role is in use: give its members and open invitations another one first."
                .to_owned(),
        ));
    }
    if !store::delete_role(tx, organization, id).await? {
        return Err(Refused::NotFound);
    }
    let event = Event::new("role.deleted", id).in_organization(organization);
    Ok(audit::record(tx, now, by, event).await?)
}

fn name_taken(error: DbErr) -> Refused {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            Refused::Conflict("The organization has a role of that name already.".to_owned())
        }
        _ => error.into(),
    }
}

fn checked_role_name(name: &str, errors: &mut Vec<FieldError>) -> String {
    let name = checked_name("name", name, errors);
    if name.parse::<RoleRef>().is_ok() {
        errors.push(FieldError::new("name", "is that of a built-in role"));
    }
    name.to_owned()
}

fn checked_scopes(texts: &[String], reach: &ScopeSet, errors: &mut Vec<FieldError>) -> ScopeSet {
    let mut scopes = ScopeSet::default();
    if texts.is_empty() || texts.len() > MAX_SCOPES {
        errors.push(FieldError::new("scopes", "must hold 1 to 100 scopes"));
        return scopes;
    }
    for (at, text) in texts.iter().enumerate() {
        let field = format!("scopes[{at}]");
        match text.parse::<Scope>() {
            Err(_) => {
                errors.push(FieldError::new(field, "is not a scope; one looks like read:tenants"));
            }
            Ok(scope) if !reach.covers(&scope) => {
                errors.push(FieldError::new(
                    field,
                    format!("`{scope}` is more than you may do yourself"),
                ));
            }
            Ok(scope) => scopes.insert(scope),
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_reaches_what_its_name_says() {
        let reaches = |role: Role, scope: &str| role.scopes().covers(&scope.parse().unwrap());
        assert!(reaches(Role::Owner, "create:invoices") && reaches(Role::Admin, "admin"));
        assert!(
            reaches(Role::Member, "write:tenants") && reaches(Role::Member, "read:tenants/acme")
        );
        assert!(!reaches(Role::Member, "admin:tenants") && !reaches(Role::Member, "admin"));
        assert!(reaches(Role::Viewer, "read:tenants") && !reaches(Role::Viewer, "write:tenants"));
    }

    #[test]
    fn names_round_trip() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}

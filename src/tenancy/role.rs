use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use portcullis_verifier::ScopeSet;

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

//! A set of scopes, kept minimal and in one order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Scope, ScopeError, preferred_spelling};

/// Scopes of which none covers another, in canonical order: equal sets have equal text.
///
/// Its text is the `scope` of RFC 6749 §3.3: scopes separated by single spaces, nothing for the empty set.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    /// How many scopes a text may list. Sets that are put together otherwise aren't limited.
    pub const MAX_SCOPES: usize = 100;

    /// Whether some member covers `required`.
    pub fn covers(&self, required: &Scope) -> bool {
        self.0.iter().any(|granted| granted.covers(required))
    }

    /// Whether every one of `required` is covered. True of the empty set.
    pub fn covers_all(&self, required: &ScopeSet) -> bool {
        required.iter().all(|scope| self.covers(scope))
    }

    /// What both sets allow: covers a scope exactly when both do (but see [`Scope::meet`] on overlong scopes).
    pub fn intersection(&self, other: &ScopeSet) -> ScopeSet {
        self.iter().flat_map(|ours| other.iter().filter_map(|theirs| ours.meet(theirs))).collect()
    }

    /// The members in canonical order.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of members, of which none covers another.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a scope, and drops whatever has become superfluous by it.
    ///
    /// Of `*:tenants` and `admin:tenants`, which allow the same, `admin:tenants` stays.
    pub fn insert(&mut self, scope: Scope) {
        if let Some(granted) = self.0.iter().find(|granted| granted.covers(&scope)) {
            let replaces = scope.covers(granted) && preferred_spelling(granted, &scope) == &scope;
            if !replaces {
                return;
            }
        }
        self.0.retain(|granted| !scope.covers(granted));
        let position = self.0.partition_point(|granted| granted < &scope);
        self.0.insert(position, scope);
    }
}

impl FromStr for ScopeSet {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<ScopeSet, ScopeError> {
        if text.is_empty() {
            return Ok(ScopeSet::default());
        }
        if text.split(' ').nth(ScopeSet::MAX_SCOPES).is_some() {
            return Err(ScopeError::TooMany);
        }
        text.split(' ').map(Scope::from_str).collect()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, scope) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> ScopeSet {
        let mut set = ScopeSet::default();
        set.extend(scopes);
        set
    }
}

impl Extend<Scope> for ScopeSet {
    fn extend<I: IntoIterator<Item = Scope>>(&mut self, scopes: I) {
        for scope in scopes {
            self.insert(scope);
        }
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for ScopeSet {
    type Item = Scope;
    type IntoIter = std::vec::IntoIter<Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl TryFrom<String> for ScopeSet {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<ScopeSet, ScopeError> {
        text.parse()
    }
}

impl From<ScopeSet> for String {
    fn from(set: ScopeSet) -> String {
        set.to_string()
    }
}

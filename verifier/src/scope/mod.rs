//! Scopes: what a credential may do.
//!
//! ```text
//! scope    = action [ ":" resource [ "/" filter ] ]
//! action   = "*" / "admin" / name            ; read, write and further verbs of the catalog
//! resource = "*" / name
//! filter   = segment *( "/" segment )
//! segment  = "**" (last only) / "*" / 1*( ALPHA / DIGIT / "-" / "_" / "." / "~" )
//! name     = lower-case ALPHA *( lower-case ALPHA / DIGIT / "-" / "_" / "." )
//! ```
//!
//! Whether a granted scope allows what a call requires is decided by [`Scope::covers`] and nowhere else:
//!
//! - action: equal, or the granted one is `*` or `admin`; `write` covers `read`. Other verbs stand beside that ladder.
//! - resource: equal, or the granted one is `*` or absent.
//! - filter: an absent one covers all; `*` covers one segment, `**` the rest (one or more), a literal itself.
//!
//! So `admin` and `*` without a resource cover everything.

mod filter;
mod set;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use set::ScopeSet;

/// One scope in canonical form: `read:*` is kept as `read`.
///
/// Two scopes are equal when their canonical texts are. `*:tenants` and `admin:tenants` allow the same but are
/// spelled differently, and so are not equal; a [`ScopeSet`] keeps only one of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

/// Why a text is no [`Scope`] or no [`ScopeSet`]. Names the scope at fault, shortened to [`Scope::MAX_LENGTH`] characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// Longer than [`Scope::MAX_LENGTH`].
    #[error("the scope {0:?} is longer than {max} characters", max = Scope::MAX_LENGTH)]
    TooLong(String),
    /// The action is neither `*` nor a name.
    #[error(
        "the scope {0:?} does not begin with an action such as `read`, `write`, `admin` or `*`"
    )]
    InvalidAction(String),
    /// The resource is neither `*` nor a name.
    #[error("the scope {0:?} has a resource that is neither `*` nor a lower-case name")]
    InvalidResource(String),
    /// The filter has an empty segment, a character that is not allowed, or a `**` that is not last.
    #[error("the scope {0:?} has a filter that is not made of names, `*` and a final `**`")]
    InvalidFilter(String),
    /// A set with more than [`ScopeSet::MAX_SCOPES`] scopes.
    #[error("more than {max} scopes", max = ScopeSet::MAX_SCOPES)]
    TooMany,
}

impl Scope {
    /// The greatest length of a scope, in characters (which are all ASCII).
    pub const MAX_LENGTH: usize = 200;

    /// Whether this granted scope allows what `required` asks for.
    ///
    /// Reflexive and transitive. A required scope without a filter asks for all of its resource, so only a grant
    /// without a filter covers it.
    pub fn covers(&self, required: &Scope) -> bool {
        action_covers(self.action(), required.action())
            && self.resource().is_none_or(|granted| required.resource() == Some(granted))
            && filter::covers(self.filter(), required.filter())
    }

    /// The greatest scope that both cover, or `None` when there is nothing that both cover.
    ///
    /// Also `None` when that scope would be longer than [`Scope::MAX_LENGTH`]: nothing is granted that can't be written.
    pub fn meet(&self, other: &Scope) -> Option<Scope> {
        // Prefers the spelling of what was asked for (`*:tenants`, say) where one of the two is simply the narrower.
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(preferred_spelling(self, other).clone()),
            (true, false) => Some(other.clone()),
            (false, true) => Some(self.clone()),
            (false, false) => {
                let action = action_meet(self.action(), other.action())?;
                let resource = resource_meet(self.resource(), other.resource())?;
                let filter = filter::meet(self.filter(), other.filter())?;
                Scope::from_parts(action, resource, filter.as_deref())
            }
        }
    }

    /// The action: `read`, `write`, `admin`, `*` or another verb.
    pub fn action(&self) -> &str {
        self.parts().0
    }

    /// The resource, or `None` when the scope is about all of them.
    pub fn resource(&self) -> Option<&str> {
        self.parts().1
    }

    /// The filter, without its leading slash.
    pub fn filter(&self) -> Option<&str> {
        self.parts().2
    }

    /// The same action on the same resource, all of it: `read:tenants/acme` becomes `read:tenants`.
    pub fn without_filter(&self) -> Scope {
        let (action, resource, _) = self.parts();
        match resource {
            Some(resource) => Scope(format!("{action}:{resource}")),
            None => Scope(action.to_owned()),
        }
    }

    /// Whether the action is `*`, or the resource absent or `*`.
    pub fn is_wildcard(&self) -> bool {
        self.action() == "*" || self.resource().is_none()
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, Option<&str>, Option<&str>) {
        let Some((action, rest)) = self.0.split_once(':') else {
            return (&self.0, None, None);
        };
        let (resource, filter) = match rest.split_once('/') {
            Some((resource, filter)) => (resource, Some(filter)),
            None => (rest, None),
        };
        (action, (resource != "*").then_some(resource), filter)
    }

    fn from_parts(action: &str, resource: Option<&str>, filter: Option<&str>) -> Option<Scope> {
        let text = match (resource, filter) {
            (None, None) => action.to_owned(),
            (Some(resource), None) => format!("{action}:{resource}"),
            (resource, Some(filter)) => format!("{action}:{}/{filter}", resource.unwrap_or("*")),
        };
        (text.len() <= Scope::MAX_LENGTH).then_some(Scope(text))
    }
}

fn action_covers(granted: &str, required: &str) -> bool {
    match granted {
        "*" | "admin" => true,
        "write" => matches!(required, "write" | "read"),
        other => other == required,
    }
}

fn action_meet<'a>(a: &'a str, b: &'a str) -> Option<&'a str> {
    match (action_covers(a, b), action_covers(b, a)) {
        (true, true) if a == "admin" => Some(a),
        (true, _) => Some(b),
        (false, true) => Some(a),
        (false, false) => None,
    }
}

/// The outer `None` means that there is no such resource, the inner one that it is any.
fn resource_meet<'a>(a: Option<&'a str>, b: Option<&'a str>) -> Option<Option<&'a str>> {
    match (a, b) {
        (None, any) | (any, None) => Some(any),
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
    }
}

/// Of two scopes that cover each other: `admin` rather than `*`, so that the outcome depends on no order.
fn preferred_spelling<'a>(a: &'a Scope, b: &'a Scope) -> &'a Scope {
    if a.action() == "admin" { a } else { b }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        let named = || {
            text.chars()
                .take(Scope::MAX_LENGTH)
                .filter(|character| !character.is_control())
                .collect()
        };
        if text.len() > Scope::MAX_LENGTH {
            return Err(ScopeError::TooLong(named()));
        }
        let (action, rest) = match text.split_once(':') {
            Some((action, rest)) => (action, Some(rest)),
            None => (text, None),
        };
        if !is_name_or_star(action) {
            return Err(ScopeError::InvalidAction(named()));
        }
        let Some(rest) = rest else {
            return Ok(Scope(text.to_owned()));
        };
        let (resource, filter) = match rest.split_once('/') {
            Some((resource, filter)) => (resource, Some(filter)),
            None => (rest, None),
        };
        if !is_name_or_star(resource) {
            return Err(ScopeError::InvalidResource(named()));
        }
        match filter {
            Some(filter) if !filter::is_valid(filter) => Err(ScopeError::InvalidFilter(named())),
            None if resource == "*" => Ok(Scope(action.to_owned())),
            _ => Ok(Scope(text.to_owned())),
        }
    }
}

fn is_name_or_star(text: &str) -> bool {
    text == "*"
        || (text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.0)
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Scope, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.0
    }
}

#[cfg(test)]
mod tests;

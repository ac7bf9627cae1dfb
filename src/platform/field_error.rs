//! What a verb says of input that it refuses: which field, and what is wrong with it.

use serde::Serialize;

/// One wrong field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why a verb did nothing.
#[derive(Debug)]
pub enum Refused {
    /// These fields are wrong.
    Invalid(Vec<FieldError>),
    /// What it is about does not exist, or not for whoever asks.
    NotFound,
    /// Whoever asks may not; why.
    Forbidden(String),
    /// As things stand it can't be done; why.
    Conflict(String),
    /// Somebody else has changed it since it was read.
    Stale,
    Failed(anyhow::Error),
}

impl Refused {
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// Why a change of one version of a row met no row.
    #[must_use]
    pub fn absent_or_stale(is_there: bool) -> Self {
        if is_there { Self::Stale } else { Self::NotFound }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Refused {
    fn from(cause: E) -> Self {
        Self::Failed(cause.into())
    }
}

/// A name that people give to things: 1 to 100 characters, no control characters, no space around it.
pub(crate) fn checked_name<'a>(
    field: &str,
    name: &'a str,
    errors: &mut Vec<FieldError>,
) -> &'a str {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 {
        errors.push(FieldError::new(field, "must have 1 to 100 characters"));
    } else if name.chars().any(char::is_control) {
        errors.push(FieldError::new(field, "must not hold control characters"));
    }
    name
}

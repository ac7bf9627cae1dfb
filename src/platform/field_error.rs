//! What a verb says of input that it refuses: which field, and what is wrong with it.

use std::time::Duration;

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

/// A name that people give to things: 1 to 100 characters as it was sent, no control characters, no space around it.
pub(crate) fn checked_name<'a>(
    field: &str,
    name: &'a str,
    errors: &mut Vec<FieldError>,
) -> &'a str {
    let is_too_long = name.chars().count() > 100;
    // As it was sent, like the length: some control characters count as space.
    let has_control = name.chars().any(char::is_control);
    let name = name.trim();
    if name.is_empty() || is_too_long {
        errors.push(FieldError::new(field, "must have 1 to 100 characters"));
    } else if has_control {
        errors.push(FieldError::new(field, "must not hold control characters"));
    }
    name
}

/// What people write about a thing: up to 500 characters as it was sent, no control characters but the end of a line.
pub(crate) fn checked_description<'a>(text: &'a str, errors: &mut Vec<FieldError>) -> &'a str {
    let is_too_long = text.chars().count() > 500;
    let has_control = text.chars().any(|letter| letter.is_control() && letter != '\n');
    let text = text.trim();
    if is_too_long {
        errors.push(FieldError::new("description", "must have at most 500 characters"));
    } else if has_control {
        errors.push(FieldError::new("description", "must not hold control characters"));
    }
    text
}

/// The most that something may be used in a minute.
const MOST_REQUESTS: u32 = 1_000_000;

/// How often something may be used in a minute.
pub(crate) fn check_requests_per_minute(
    field: &str,
    wanted: Option<u32>,
    errors: &mut Vec<FieldError>,
) {
    if wanted.is_some_and(|wanted| !(1..=MOST_REQUESTS).contains(&wanted)) {
        errors.push(FieldError::new(field, format!("must be from 1 to {MOST_REQUESTS}")));
    }
}

const DAY: u64 = 24 * 60 * 60;
/// How long an older secret may work beside the newer one, in seconds.
pub(crate) const LONGEST_GRACE: u64 = 30 * DAY;
/// How long it does where nothing is said.
pub(crate) const USUAL_GRACE: u64 = DAY;

/// How long the older of two secrets goes on working: a day, or what is asked for, up to 30 days.
///
/// # Errors
/// When it is longer than that.
pub(crate) fn checked_grace(seconds: Option<u64>) -> Result<Duration, Refused> {
    match seconds.unwrap_or(USUAL_GRACE) {
        seconds @ 0..=LONGEST_GRACE => Ok(Duration::from_secs(seconds)),
        _ => Err(Refused::field("grace_seconds", format!("must be from 0 to {LONGEST_GRACE}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_refused_also_where_they_count_as_space() {
        for text in ["ci\u{85}", "\tci", "c\u{7}i"] {
            let mut errors = Vec::new();
            checked_name("name", text, &mut errors);
            checked_description(text, &mut errors);
            assert_eq!(errors.len(), 2, "{text:?}");
        }
        let mut errors = Vec::new();
        assert_eq!(checked_name("name", " ci ", &mut errors), "ci");
        assert_eq!(checked_description("one\ntwo\n", &mut errors), "one\ntwo");
        assert!(errors.is_empty());
    }
}

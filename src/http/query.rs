//! The query of a list: typed, and as strict as a body.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Parameters, Problem};
use crate::platform::FieldError;

/// The parameters of a request's query as `T` wants them: no parameter that it does not know, none twice, and none
/// empty where there must be something: a filter that a script left empty does not mean everything.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let parameters = Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes())?;
        parse(&parameters).map(Self)
    }
}

fn parse<T: DeserializeOwned>(parameters: &Parameters) -> Result<T, Problem> {
    let wrong =
        |field: &str, message: &str| Problem::invalid(vec![FieldError::new(field, message)]);
    if let Some(name) = parameters.doubled() {
        return Err(wrong(name, "must be sent once only"));
    }
    let given = parameters.to_query();
    let deserializer =
        serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(given.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = error.inner().to_string();
        let named = message.split('`').nth(1).filter(|_| message.starts_with("unknown field"));
        match (named, error.path().to_string()) {
            (Some(name), _) => wrong(name, "is no parameter of this list"),
            (None, path) => wrong(&path, &message),
        }
    })
}

/// How many items a page may hold, 1 to 100.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = u64, minimum = 1, maximum = 100, default = 50)]
pub struct Limit(u64);

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(limit @ 1..=100) => Ok(Self(limit)),
            _ => Err(D::Error::custom("must be a number from 1 to 100")),
        }
    }
}

impl Limit {
    /// How many rows to read: one more than the page holds tells whether there is another page.
    #[must_use]
    pub fn rows(self) -> u64 {
        self.0 + 1
    }
}

/// The beginning of a name, 1 to 100 characters.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 100, pattern = "^[^\\u0000]*$")]
pub struct SearchText(pub String);

impl<'de> Deserialize<'de> for SearchText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (1..=100).contains(&text.chars().count()) && !text.contains('\0') {
            true => Ok(Self(text)),
            false => Err(D::Error::custom("must have 1 to 100 characters")),
        }
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageOf<T> {
    items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<T> PageOf<T> {
    /// A page without anything on it.
    #[must_use]
    pub fn empty() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }

    /// The page of these rows, of which one more than fits may have been read; `id` is what the list is ordered by.
    pub fn new<R, I: ToString>(
        mut rows: Vec<R>,
        limit: Limit,
        id: impl Fn(&R) -> I,
        show: impl FnMut(R) -> T,
    ) -> Self {
        let fits = usize::try_from(limit.0).unwrap_or(usize::MAX);
        let has_more = rows.len() > fits;
        rows.truncate(fits);
        let next_cursor = rows.last().filter(|_| has_more).map(|row| id(row).to_string());
        Self { items: rows.into_iter().map(show).collect(), next_cursor }
    }
}

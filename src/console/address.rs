//! What the address of a page says besides the organization.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams, RawQuery};
use axum::http::request::Parts;

use crate::http::{PageError, Parameters};

/// The id in a path that has `{id}`. Whatever else stands there is answered like an id that nothing has.
pub struct Named<I>(pub I);

impl<S: Send + Sync, I: FromStr + Send> FromRequestParts<S> for Named<I> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let parameters = RawPathParams::from_request_parts(parts, state).await?;
        let named = parameters.iter().find(|(name, _)| *name == "id");
        named.and_then(|(_, text)| text.parse().ok()).map(Self).ok_or_else(PageError::not_found)
    }
}

/// These parameters as a query, for a link that keeps them; what is empty is left out.
#[must_use]
pub fn query_of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
}

/// The parameters after the `?`.
pub struct Asked(pub Parameters);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, state).await;
        Ok(Self(Parameters::parse(query.unwrap_or_default().as_bytes())?))
    }
}

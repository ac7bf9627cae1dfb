//! The ids in a path.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::Problem;

/// An id of the kind that the endpoint is about. Whatever else stands there is answered like an id that nothing has.
pub struct PathId<I>(pub I);

impl<S: Send + Sync, I: FromStr + Send> FromRequestParts<S> for PathId<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let id = text.ok().and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(Problem::not_found)
    }
}

/// The ids in a path that names something and something of its own.
pub struct PathIds<I, J>(pub I, pub J);

impl<S, I, J> FromRequestParts<S> for PathIds<I, J>
where
    S: Send + Sync,
    I: FromStr + Send,
    J: FromStr + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let texts = Path::<(String, String)>::from_request_parts(parts, state).await;
        let ids = texts
            .ok()
            .and_then(|Path((outer, inner))| Some(Self(outer.parse().ok()?, inner.parse().ok()?)));
        ids.ok_or_else(Problem::not_found)
    }
}

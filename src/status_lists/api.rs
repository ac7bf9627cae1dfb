//! `GET /oauth/status-lists/{id}`: a signed status list, for everybody.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use entity::StatusListId;

use super::{Published, Publisher};
use crate::app::App;
use crate::http::{Parameters, PathId, Problem, is_known};

/// `GET /oauth/status-lists/{id}`, draft-ietf-oauth-status-list-20, section 8.1
pub async fn get(
    State(app): State<App>,
    PathId(id): PathId<StatusListId>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    if !parameters.first("time").is_empty() {
        // Section 8.4: what a list was at another time is not kept.
        let detail = "Only the list of now can be had, not that of another time.";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "Not implemented", detail));
    }
    let publisher = Publisher {
        db: &app.db,
        clock: &app.clock,
        revocations: &app.revocations,
        signer: &app.signer,
        issuer: &app.config.issuer,
    };
    let list = app.status_lists.publish(&publisher, id).await?.ok_or_else(Problem::not_found)?;
    let max_age = Published::time_to_live();
    let caching = [
        (header::CACHE_CONTROL, format!("public, max-age={max_age}")),
        (header::ETAG, list.etag.clone()),
    ];
    if is_known(&headers, &list.etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "application/statuslist+jwt")];
    Ok((caching, kind, list.jwt.clone()).into_response())
}

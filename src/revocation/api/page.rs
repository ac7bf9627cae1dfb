//! The log page by page, for readers that can't hold a connection open.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use portcullis_verifier::revocation::Entry;
use serde::Serialize;

use super::{goes_on_from, reader};
use crate::app::App;
use crate::http::Problem;
use crate::resource_servers::ResourceServer;
use crate::revocation::store;

/// As many entries a page has.
const PAGE: usize = 500;

#[derive(Serialize)]
struct Page {
    entries: Vec<Entry>,
    /// What to send as `since` the next time.
    last: i64,
    /// Whether there are more entries now.
    more: bool,
    /// Whether the page begins anew, for the log does not go on from where the reader was.
    reset: bool,
}

pub(super) async fn answer(
    app: &App,
    api: &ResourceServer,
    since: Option<i64>,
) -> Result<Response, Problem> {
    // Asked first: what is committed afterwards may be on the page, but nothing before it is missed.
    let position = store::position(app.db.reader()).await?;
    let reset = since.is_some_and(|seq| !goes_on_from(&position, seq));
    let after = since.filter(|_| !reset).unwrap_or(0);
    let rows = PAGE as u64 + 1;
    let mut entries = store::list_for(app.db.reader(), reader(app, api), after, rows).await?;
    let more = entries.len() > PAGE;
    entries.truncate(PAGE);
    let newest = entries.last().map_or(0, |entry| entry.seq);
    // What concerns others has been seen, too, once there is no more.
    let last = if more { newest } else { newest.max(position.last) };
    Ok(Json(Page { entries, last, more, reset }).into_response())
}

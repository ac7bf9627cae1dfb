//! Revoking the keys that were selected in the list.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use entity::{ApiKeyId, Timestamp};

use super::{found, to};
use crate::access::WriteApiKeys;
use crate::api_keys::{self, Status};
use crate::app::App;
use crate::console::{Asked, FormState, Frame, Moment, Section, Visitor, chosen, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

/// As many are on a page of the list.
const MOST: usize = 50;

#[derive(Template)]
#[template(path = "api_keys/pages/revoke_many.html")]
struct RevokeManyPage<'a> {
    frame: Frame,
    list: String,
    form: FormState,
    keys: Vec<Doomed>,
    reason: &'a str,
}

struct Doomed {
    id: ApiKeyId,
    name: String,
    last_used_at: Option<Timestamp>,
}

/// Those of the selected keys that can be revoked.
async fn selected(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    sent: &Parameters,
) -> Result<Vec<Doomed>, PageError> {
    let mut ids: Vec<ApiKeyId> =
        chosen(sent, "key").iter().filter_map(|text| text.parse().ok()).take(MOST).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        let key = found(app, visitor, id).await?;
        if key.status(visitor.person.now) != Status::Revoked {
            let last_used_at = key.last_use.map(|used| used.at);
            keys.push(Doomed { id, name: key.name, last_used_at });
        }
    }
    Ok(keys)
}

fn form_page(
    visitor: &Visitor<WriteApiKeys>,
    form: FormState,
    keys: Vec<Doomed>,
    reason: &str,
) -> Response {
    let status = form.status();
    let frame = visitor.frame(Section::ApiKeys);
    let list = visitor.path("/api-keys");
    page(RevokeManyPage { frame, list, form, keys, reason }, status)
}

/// `GET /o/{organization}/api-keys/revoke?key=…&key=…`
pub async fn revoke_many(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let keys = selected(&app, &visitor, &asked).await?;
    Ok(form_page(&visitor, FormState::new(&visitor.person), keys, ""))
}

/// `POST /o/{organization}/api-keys/revoke`: all of them, or none.
pub async fn post_revoke_many(
    State(app): State<App>,
    visitor: Visitor<WriteApiKeys>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let keys = selected(&app, &visitor, &sent).await?;
    match end(&app, &visitor, &keys, &sent).await {
        Ok(()) => Ok(to(&visitor.path("/api-keys?done=revoked"))),
        Err(refused) => {
            let form = FormState::returned(&visitor.person, refused)?;
            Ok(form_page(&visitor, form, keys, sent.first("reason")))
        }
    }
}

async fn end(
    app: &App,
    visitor: &Visitor<WriteApiKeys>,
    keys: &[Doomed],
    sent: &Parameters,
) -> Result<(), Refused> {
    if sent.first("sure").is_empty() {
        return Err(Refused::field("sure", "must be ticked"));
    }
    let ids: Vec<ApiKeyId> = keys.iter().map(|key| key.id).collect();
    let tx = app.db.begin().await?;
    let (now, by) = (visitor.person.now, &visitor.caller.by);
    let (organization, reason) = (visitor.membership.organization, Some(sent.first("reason")));
    api_keys::revoke_these(&tx, now, by, organization, &ids, reason).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(())
}

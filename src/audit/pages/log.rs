//! `/o/{organization}/audit-log`: who did what in the organization, to look at and to take away.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use entity::AuditEventId;
use futures::FutureExt as _;

use super::super::api::streamed;
use super::super::{Of, Order, Recorded, store};
use super::actors::{Named, Names, Sight};
use super::csv;
use super::filters::Filters;
use super::words::{ACTIONS, Kind, words_of};
use crate::access::{ReadAuditEvents, ReadUsers};
use crate::app::App;
use crate::console::{Asked, FormState, Frame, Moment, Section, Visitor, page};
use crate::http::PageError;
use crate::platform::Refused;

/// How many are on a page: with their details they weigh something.
const ROWS: u64 = 25;

/// An event as the page shows it.
struct Line {
    id: AuditEventId,
    at: entity::Timestamp,
    actor: String,
    actor_name: Option<Named>,
    words: String,
    action: String,
    target: Option<String>,
    target_name: Option<Named>,
    address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    /// As JSON; empty where there is none.
    detail: String,
}

impl Line {
    fn new(event: Recorded, names: &Names) -> Self {
        let detail = serde_json::to_string_pretty(&event.detail).unwrap_or_default();
        Self {
            id: event.id,
            at: event.at,
            actor_name: names.find(&event.actor),
            actor: event.actor,
            words: words_of(&event.action).to_owned(),
            action: event.action,
            target_name: event.target.as_deref().and_then(|target| names.find(target)),
            target: event.target,
            address: event.source.address,
            user_agent: event.source.user_agent,
            request_id: event.source.request_id,
            detail: if event.detail.is_empty() { String::new() } else { detail },
        }
    }
}

#[derive(Template)]
#[template(path = "audit/pages/log.html")]
struct LogPage {
    frame: Frame,
    here: String,
    form: FormState,
    filters: Filters,
    kinds: &'static [Kind],
    lines: Vec<Line>,
    retention_days: u64,
    is_first_page: bool,
    /// The filters as a query.
    query: String,
    older: Option<AuditEventId>,
}

fn of(visitor: &Visitor<ReadAuditEvents>) -> Of {
    Of::visible_to(visitor.membership.organization, visitor.is_operator)
}

fn sight(visitor: &Visitor<ReadAuditEvents>) -> Sight {
    let sees_accounts = visitor.is_operator && visitor.caller.may::<ReadUsers>();
    Sight { organization: visitor.membership.organization, sees_accounts }
}

/// `GET /o/{organization}/audit-log?actor=&action=&target=&request_id=&from=&to=&before=`
pub async fn list(
    State(app): State<App>,
    visitor: Visitor<ReadAuditEvents>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let filters = Filters::read(&asked)?;
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let reader = app.db.reader();
    let (form, mut events) = match filters.which(&app, of(&visitor)).await {
        Ok(which) => {
            let order = Order::NewestFirst { before };
            (FormState::new(&visitor.person), store::list(reader, &which, order, ROWS + 1).await?)
        }
        Err(Refused::Invalid(problems)) => {
            (FormState::refused(&visitor.person, problems), Vec::new())
        }
        Err(refused) => return Err(refused.into()),
    };
    let has_more = events.len() > ROWS as usize;
    events.truncate(ROWS as usize);
    let older = events.last().map(|event| event.id).filter(|_| has_more);
    let names = Names::of(&app, sight(&visitor), &events).await?;
    let status = form.status();
    let template = LogPage {
        frame: visitor.frame(Section::AuditLog),
        here: visitor.path("/audit-log"),
        form,
        query: filters.to_query(),
        filters,
        kinds: ACTIONS,
        lines: events.into_iter().map(|event| Line::new(event, &names)).collect(),
        retention_days: app.config.audit.retention_days,
        is_first_page: before.is_none(),
        older,
    };
    Ok(page(template, status))
}

/// `GET /o/{organization}/audit-log.csv`: all that the filters let through, oldest first.
pub async fn export(
    State(app): State<App>,
    visitor: Visitor<ReadAuditEvents>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let which = Filters::read(&asked)?.which(&app, of(&visitor)).await?;
    let sight = sight(&visitor);
    let write = move |app: App, events: Vec<Recorded>| {
        async move {
            let names = Names::of(&app, sight, &events).await.map_err(std::io::Error::other)?;
            Ok(csv::lines(&names, &events))
        }
        .boxed()
    };
    let day: String = visitor.person.now.to_string().chars().take(10).collect();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"audit-log-{day}.csv\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::OK, headers, streamed(app, which, csv::header(), write)).into_response())
}

//! `/o/{organization}/signing-keys`: the console's pages about the keys that sign tokens, for the organization that runs
//! the installation.

use std::borrow::Borrow;

use askama::Template;
use axum::extract::State as AppState;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{SigningKeyId, Timestamp};

use super::{Algorithm, SigningKeySummary, State, ensure_active, rotate_away_from, store};
use crate::access::{ReadSigningKeys, WriteSigningKeys};
use crate::app::App;
use crate::console::{Asked, FormState, Frame, Moment, Remaining, Section, Visitor, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

/// How many retired keys are on a page.
const ROWS: u64 = 50;

#[derive(Template)]
#[template(path = "signing/signing_keys.html")]
struct SigningKeysPage {
    frame: Frame,
    here: String,
    notice: Option<&'static str>,
    now: Timestamp,
    may_write: bool,
    algorithms: Vec<OfAlgorithm>,
    retired: Vec<SigningKeySummary>,
    is_first_page: bool,
    older: Option<SigningKeyId>,
}

/// The keys of an algorithm that are published.
struct OfAlgorithm {
    algorithm: Algorithm,
    keys: Vec<Published>,
}

struct Published {
    key: SigningKeySummary,
    state: State,
}

impl OfAlgorithm {
    /// Upcoming, active, retiring: as they come after each other.
    fn new(algorithm: Algorithm, published: &[SigningKeySummary]) -> Self {
        let of = |state: State| {
            let is_of = move |key: &&SigningKeySummary| {
                key.algorithm == algorithm.as_str() && key.state == state.as_str()
            };
            let published = published.iter().filter(is_of).cloned();
            published.map(move |key| Published { key, state })
        };
        let states = [State::Upcoming, State::Active, State::Retiring];
        Self { algorithm, keys: states.into_iter().flat_map(of).collect() }
    }

    fn current(&self, state: State) -> Option<&SigningKeySummary> {
        self.keys.iter().find(|it| it.state == state).map(|it| &it.key)
    }
}

/// What a state means.
fn meaning(state: impl Borrow<State>) -> &'static str {
    match state.borrow() {
        State::Upcoming => "Published, so that everybody knows it before it signs",
        State::Active => "Signs tokens now",
        State::Retiring => "Signs nothing more; published until its last token has expired",
        State::Retired => "No longer published: no token of its is good",
    }
}

/// `GET /o/{organization}/signing-keys?before=&done=`
pub async fn list(
    AppState(app): AppState<App>,
    visitor: Visitor<ReadSigningKeys>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let before = asked.get("before")?.and_then(|text| text.parse().ok());
    let published = store::list_published(app.db.reader()).await?;
    let mut retired = store::list_retired(app.db.reader(), before, ROWS + 1).await?;
    let has_more = retired.len() > ROWS as usize;
    retired.truncate(ROWS as usize);
    let template = SigningKeysPage {
        frame: visitor.frame(Section::SigningKeys),
        here: visitor.path("/signing-keys"),
        notice: match asked.first("done") {
            "rotated" => Some(
                "The next key signs from now on, and another one is published to come after it.",
            ),
            "begun" => Some("The algorithm has its first key, and one to come after it."),
            _ => None,
        },
        now: visitor.person.now,
        may_write: visitor.caller.may::<WriteSigningKeys>(),
        algorithms: Algorithm::ALL.map(|it| OfAlgorithm::new(it, &published)).into(),
        is_first_page: before.is_none(),
        older: retired.last().map(|key| key.id).filter(|_| has_more),
        retired,
    };
    Ok(page(template, StatusCode::OK))
}

#[derive(Template)]
#[template(path = "signing/rotate.html")]
struct RotatePage {
    frame: Frame,
    list: String,
    form: FormState,
    now: Timestamp,
    of: OfAlgorithm,
}

async fn rotate_page(
    app: &App,
    visitor: &Visitor<WriteSigningKeys>,
    form: FormState,
    algorithm: Algorithm,
) -> Result<Response, PageError> {
    let status = form.status();
    let published = store::list_published(app.db.reader()).await?;
    let template = RotatePage {
        frame: visitor.frame(Section::SigningKeys),
        list: visitor.path("/signing-keys"),
        form,
        now: visitor.person.now,
        of: OfAlgorithm::new(algorithm, &published),
    };
    Ok(page(template, status))
}

/// `GET /o/{organization}/signing-keys/rotate?algorithm=`
pub async fn rotate(
    AppState(app): AppState<App>,
    visitor: Visitor<WriteSigningKeys>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    // Whoever had to log in in between comes without it.
    let Ok(algorithm) = asked.first("algorithm").parse() else {
        return Ok(Redirect::to(&visitor.path("/signing-keys")).into_response());
    };
    rotate_page(&app, &visitor, FormState::new(&visitor.person), algorithm).await
}

/// `POST /o/{organization}/signing-keys/rotate`
pub async fn post_rotate(
    AppState(app): AppState<App>,
    visitor: Visitor<WriteSigningKeys>,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    let Ok(algorithm) = sent.first("algorithm").parse() else {
        return Err(PageError::bad_request("It names no algorithm that there is."));
    };
    match turn(&app, &visitor, algorithm, &sent).await {
        Ok(done) => {
            let to = visitor.path(&format!("/signing-keys?done={done}"));
            Ok(Redirect::to(&to).into_response())
        }
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&visitor.person, problems);
            rotate_page(&app, &visitor, form, algorithm).await
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Rotates away from the key that the form showed, or gives the algorithm its first; says which. A form that is sent
/// twice rotates once: the key after the next one would be published for too short a time.
async fn turn(
    app: &App,
    visitor: &Visitor<WriteSigningKeys>,
    algorithm: Algorithm,
    sent: &Parameters,
) -> Result<&'static str, Refused> {
    visitor.person.confirm(app, sent).await?;
    let (now, by, seal) = (visitor.person.now, &visitor.caller.by, &app.signing_seal);
    let Ok(active) = sent.first("active").parse::<SigningKeyId>() else {
        ensure_active(&app.db, now, by, seal, algorithm).await?;
        app.revocations.catch_up().await;
        return Ok("begun");
    };
    match rotate_away_from(&app.db, now, by, seal, algorithm, active).await {
        Ok(_) => {}
        Err(Refused::Stale) if is_done(app, sent).await? => {}
        Err(refused) => return Err(refused),
    }
    app.revocations.catch_up().await;
    Ok("rotated")
}

/// Whether the key that the form would have made active is just that.
async fn is_done(app: &App, sent: &Parameters) -> Result<bool, Refused> {
    let Ok(upcoming) = sent.first("upcoming").parse() else { return Ok(false) };
    let key = store::find(app.db.reader(), upcoming).await?;
    Ok(key.is_some_and(|key| key.state == State::Active.as_str()))
}

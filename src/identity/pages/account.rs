//! `/account`: one's own name, password and sessions.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use entity::{SessionId, Timestamp};

use super::super::{self as identity, NewPassword, OpenSession, PasswordAttempt, PasswordCheck};
use crate::alerts::{Alert, AlertKind};
use crate::app::App;
use crate::console::{Asked, Day, FormState, Frame, Moment, Named, Person, Section, page};
use crate::http::{Form, PageError, Parameters};
use crate::platform::Refused;

/// How many sessions are listed, the newest.
const SESSIONS: u64 = 100;

#[derive(Template)]
#[template(path = "identity/pages/account.html")]
struct AccountPage<'a> {
    frame: Frame,
    notice: Option<&'static str>,
    form: FormState,
    name: &'a str,
    created_at: Timestamp,
    sessions: Vec<Shown>,
    has_others: bool,
    has_more: bool,
}

/// A session as its person reads it.
struct Shown {
    session: OpenSession,
    device: String,
    is_this_one: bool,
}

async fn account_page(
    app: &App,
    person: &Person,
    notice: Option<&'static str>,
    form: FormState,
    sent: Option<&Parameters>,
) -> Result<Response, PageError> {
    let user = identity::find_user(app.db.reader(), person.session.user).await?;
    let user = user.ok_or_else(PageError::not_found)?;
    let (whose, now, rows) = (person.session.user, person.now, SESSIONS + 1);
    let mut sessions = identity::list_sessions(app.db.reader(), whose, now, rows).await?;
    let has_more = sessions.len() > SESSIONS as usize;
    sessions.truncate(SESSIONS as usize);
    let own = person.session.id;
    let shown = |session: OpenSession| Shown {
        device: identity::device(session.user_agent.as_deref()),
        is_this_one: session.id == own,
        session,
    };
    let status = form.status();
    let template = AccountPage {
        frame: person.frame(Section::Account),
        notice,
        form,
        name: sent.map_or(&user.name, |sent| sent.first("name")),
        created_at: user.created_at,
        has_others: has_more || sessions.iter().any(|session| session.id != own),
        has_more,
        sessions: sessions.into_iter().map(shown).collect(),
    };
    Ok(page(template, status))
}

/// `GET /account?done=`
pub async fn account(
    State(app): State<App>,
    person: Person,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let notice = match asked.first("done") {
        "renamed" => Some("Saved."),
        "password" => {
            Some("Your password is changed. Wherever else you were logged in, you are logged out.")
        }
        "session" => Some("The session is ended. Whoever used it has to log in again."),
        "sessions" => Some("All other sessions are ended."),
        _ => None,
    };
    account_page(&app, &person, notice, FormState::new(&person), None).await
}

/// `GET` of what is posted from the account page, for whoever was sent to log in meanwhile.
pub async fn to_account(person: Person) -> Redirect {
    Redirect::to(&format!("{}/account", person.base))
}

fn done(person: &Person, what: &str) -> Response {
    Redirect::to(&format!("{}/account?done={what}", person.base)).into_response()
}

/// `POST /account`: another name.
pub async fn post_account(
    State(app): State<App>,
    person: Person,
    Form(sent): Form,
) -> Result<Response, PageError> {
    let sent = sent?;
    match rename(&app, &person, sent.first("name")).await {
        Ok(()) => Ok(done(&person, "renamed")),
        Err(Refused::Invalid(problems)) => {
            let form = FormState::refused(&person, problems);
            account_page(&app, &person, None, form, Some(&sent)).await
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn rename(app: &App, person: &Person, name: &str) -> Result<(), Refused> {
    let tx = app.db.begin().await?;
    identity::rename(&tx, person.now, &person.by(), person.session.user, name).await?;
    Ok(tx.commit().await?)
}

#[derive(Template)]
#[template(path = "identity/pages/password.html")]
struct PasswordPage {
    frame: Frame,
    form: FormState,
}

fn password_page(person: &Person, form: FormState) -> Response {
    let status = form.status();
    page(PasswordPage { frame: person.frame(Section::Account), form }, status)
}

/// `GET /account/password`
pub async fn change_password(person: Person) -> Response {
    password_page(&person, FormState::new(&person))
}

/// `POST /account/password`
pub async fn post_change_password(
    State(app): State<App>,
    person: Person,
    Form(sent): Form,
) -> Result<Response, PageError> {
    match set_password(&app, &person, &sent?).await {
        Ok(()) => Ok(done(&person, "password")),
        Err(Refused::Invalid(problems)) => {
            Ok(password_page(&person, FormState::refused(&person, problems)))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn set_password(app: &App, person: &Person, sent: &Parameters) -> Result<(), Refused> {
    let current = PasswordAttempt {
        password: sent.first("current_password").into(),
        address: person.address,
    };
    let wanted = NewPassword { current, new: sent.first("new_password").into() };
    let (now, source, session) = (person.now, person.source.clone(), &person.session);
    let checked = identity::check_new_password(
        &app.db,
        &app.passwords,
        &app.limits,
        now,
        source,
        session,
        wanted,
    );
    let checked = match checked.await? {
        PasswordCheck::Right(checked) => checked,
        PasswordCheck::Wrong => return Err(Refused::field("current_password", "is wrong")),
        PasswordCheck::Throttled(wait) => {
            let seconds = wait.as_secs() + 1;
            let why =
                format!("was entered too often; please wait {seconds} seconds, then try again");
            return Err(Refused::field("current_password", why));
        }
    };
    let tx = app.db.begin().await?;
    identity::change_password(&tx, now, &person.by(), checked).await?;
    app.alerts.tell(&tx, now, notice(person)).await?;
    tx.commit().await?;
    app.alerts.wake();
    Ok(())
}

/// What they are told by mail, in case it was somebody else.
fn notice(person: &Person) -> Alert {
    let mut detail = serde_json::Map::new();
    detail.extend(person.source.address.iter().map(|it| ("address".to_owned(), it.clone().into())));
    Alert {
        kind: AlertKind::UserPasswordChanged,
        organization: None,
        owner: Some(person.session.user),
        target: person.session.user.to_string(),
        name: String::new(),
        hint: None,
        detail,
    }
}

/// `POST /account/sessions/{id}/end`. What has ended before stays so, and other people's sessions are none of theirs;
/// the list tells the truth either way.
pub async fn end_session(
    State(app): State<App>,
    person: Person,
    Named(id): Named<SessionId>,
) -> Result<Response, PageError> {
    let source = person.source.clone();
    match identity::end_own_session(&app.db, person.now, source, &person.session, id).await? {
        true => Ok(done(&person, "session")),
        false => Ok(to_account(person).await.into_response()),
    }
}

/// `POST /account/sessions/end-others`
pub async fn end_other_sessions(
    State(app): State<App>,
    person: Person,
) -> Result<Response, PageError> {
    let source = person.source.clone();
    identity::end_other_sessions(&app.db, person.now, source, &person.session).await?;
    Ok(done(&person, "sessions"))
}

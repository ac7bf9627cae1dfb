//! `POST /v1/revocations`: one call ends all that descends from something.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{AdminDecoys, Caller, WriteApiKeys, WriteGrants};
use crate::api_keys;
use crate::app::App;
use crate::audit::Actor;
use crate::http::{Json, Problem};
use crate::organizations::{Root, Subtree, count_subtree, end_subtree};
use crate::platform::FieldError;

/// What is to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "subject": "app_01h455vb4pex5vsknk084sn02q", "dry_run": true }))]
pub struct EndSubtree {
    /// What all that is to end descends from: a grant, an API key, a person, a client, or the caller's organization.
    #[schema(pattern = "^(gnt|key|usr|app|org)_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    subject: String,
    /// Says what would end, and ends nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What ended, or would.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndedSubtree {
    pub subject: String,
    pub dry_run: bool,
    pub ended: Ended,
}

/// How much ended. Access tokens are not stored and so not counted; they end with what they descend from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndedCounts)]
pub struct Ended {
    pub grants: u64,
    /// How many of the grants had a refresh token.
    pub refresh_tokens: u64,
    pub api_keys: u64,
}

impl From<Subtree> for Ended {
    fn from(subtree: Subtree) -> Self {
        let Subtree { grants, refresh_tokens, api_keys } = subtree;
        Self { grants, refresh_tokens, api_keys }
    }
}

/// End all that descends from something
///
/// At once and for good, within the caller's organization; siblings live on. Of a person or a client it is every grant;
/// the account, its API keys and the client itself live on. Of an API key it is the key, of a grant the grant. Of the
/// organization, which only an owner may ask for, it is every grant and every API key but the one that calls. Tokens
/// end with what they descend from. Needs `write:api-keys` besides where keys end. Once more changes nothing.
#[utoipa::path(
    post, path = "/v1/revocations", tag = "Grants",
    responses((status = 200, description = "What ended, or would", body = EndedSubtree)),
    security(("bearer" = ["write:grants"]), ("session" = []))
)]
pub async fn revoke(
    State(app): State<App>,
    caller: Caller<WriteGrants>,
    Json(wanted): Json<EndSubtree>,
) -> Result<axum::Json<EndedSubtree>, Problem> {
    let root = root(&wanted.subject)?;
    may_end(&app, &caller, root).await?;
    let spared = match caller.by.actor {
        Actor::ApiKey(id) => Some(id),
        _ => None,
    };
    let (db, organization) = (&app.db, caller.organization);
    let ended = match wanted.dry_run {
        true => count_subtree(db, organization, root, spared).await?,
        false => {
            let now = app.clock.now();
            let ended = end_subtree(db, now, &caller.by, organization, root, spared).await?;
            app.revocations.catch_up().await;
            ended
        }
    };
    let EndSubtree { subject, dry_run } = wanted;
    Ok(axum::Json(EndedSubtree { subject, dry_run, ended: ended.into() }))
}

fn root(subject: &str) -> Result<Root, Problem> {
    let kind = subject.split('_').next().unwrap_or_default();
    let root = match kind {
        "gnt" => subject.parse().ok().map(Root::Grant),
        "key" => subject.parse().ok().map(Root::ApiKey),
        "usr" => subject.parse().ok().map(Root::User),
        "app" => subject.parse().ok().map(Root::Client),
        "org" => subject.parse().ok().map(Root::Organization),
        _ => None,
    };
    root.ok_or_else(|| {
        let message =
            "must be the id of a grant, an API key, a person, a client or your organization";
        Problem::invalid(vec![FieldError::new("subject", message)])
    })
}

/// What goes beyond the permission to end grants.
async fn may_end(app: &App, caller: &Caller<WriteGrants>, root: Root) -> Result<(), Problem> {
    match root {
        Root::Grant(_) | Root::User(_) | Root::Client(_) => Ok(()),
        Root::ApiKey(id) => {
            caller.needs::<WriteApiKeys>()?;
            let found = api_keys::find(app.db.reader(), Some(caller.organization), id).await?;
            match found.filter(|key| !key.is_decoy || caller.may::<AdminDecoys>()) {
                Some(_) => Ok(()),
                None => Err(Problem::not_found()),
            }
        }
        Root::Organization(id) if id != caller.organization => Err(Problem::not_found()),
        Root::Organization(_) => {
            caller.needs::<WriteApiKeys>()?;
            match caller.is_owner(app).await? {
                true => Ok(()),
                false => Err(Problem::forbidden("Only an owner ends all that there is.")),
            }
        }
    }
}

//! `POST /v1/api-keys/verify`: what a key is good for now, and if it is not, why.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use portcullis_verifier::{Scope, ScopeSet, bearer_token};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use crate::access::{Caller, ReadApiKeys, VerifyApiKeys};
use crate::api_keys::{Asker, Known, Labels, Presented, UsedFrom, Verdict, Wanted};
use crate::app::App;
use crate::http::{Json, Problem, Source, secret_json_answer};
use crate::platform::Refused;
use crate::rate_limit::Standing;
use crate::resource_servers::{self, ResourceServer};

/// The longest text that is taken for a key.
const LONGEST_KEY: usize = 512;

/// The most that one call may use up of a key's rate limit.
const MOST_COST: u32 = 1000;

/// Who asks: an API by its own credential, or somebody of the key's organization.
pub enum By {
    ResourceServer(Arc<ResourceServer>),
    Organization {
        id: OrganizationId,
        /// The one that the credential is confined to.
        project: Option<ProjectId>,
        /// Whether they may see more of keys than whether they are good.
        sees_keys: bool,
    },
}

impl FromRequestParts<App> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let authorization = parts.headers.get(header::AUTHORIZATION);
        let bearer = authorization.and_then(|value| value.to_str().ok());
        if let Some(credential) = bearer.and_then(|text| bearer_token(text).ok()) {
            let credential = SecretString::from(credential);
            let (apis, now) = (&app.resource_servers, app.clock.now());
            if let Some(api) =
                resource_servers::authenticate(apis, &app.db, now, &credential).await?
            {
                return Ok(Self::ResourceServer(api));
            }
        }
        let caller = Caller::<VerifyApiKeys>::from_request_parts(parts, app).await?;
        let sees_keys = caller.needs::<ReadApiKeys>().is_ok();
        Ok(Self::Organization { id: caller.organization, project: caller.project, sees_keys })
    }
}

/// A key to check.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerifyApiKey)]
pub struct Verify {
    /// What was presented as a key, whatever it is.
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    key: SecretString,
    /// What the call requires, such as `read:tenants/acme`.
    #[schema(value_type = Option<String>, max_length = 256, example = "read:tenants")]
    scope: Option<String>,
    /// The audience of the API at which the key is used; an API that asks for itself need not say it.
    #[schema(max_length = 2048)]
    resource: Option<String>,
    /// The address of whoever used the key. A key that is bound to networks is good from nowhere else.
    #[schema(value_type = Option<String>, max_length = 45, example = "192.0.2.7")]
    client_address: Option<IpAddr>,
    /// How much of the key's rate limit the call uses up: 1 where it is left out, 0 to look only.
    #[schema(maximum = 1000)]
    cost: Option<u32>,
}

/// Why a key is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ApiKeyRefusal)]
pub enum Reason {
    /// There is no such key, or it is somebody else's.
    Unknown,
    Revoked,
    Expired,
    WrongNetwork,
    MissingScope,
    RateLimited,
}

impl Reason {
    /// None where it is good.
    fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Valid(_) => None,
            Verdict::Unknown => Some(Self::Unknown),
            Verdict::Revoked => Some(Self::Revoked),
            Verdict::Expired => Some(Self::Expired),
            Verdict::WrongNetwork => Some(Self::WrongNetwork),
            Verdict::MissingScope(_) => Some(Self::MissingScope),
            Verdict::RateLimited => Some(Self::RateLimited),
        }
    }
}

/// What was found.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyVerdict)]
pub struct Answer<'a> {
    /// Whether the call may go on.
    valid: bool,
    /// By which the owner of the key finds a refusal in the audit trail. Pass it on to whoever used the key.
    #[schema(required)]
    request_id: Option<&'a str>,
    /// Why it may not; null where it may, and where that is no business of yours.
    #[schema(required)]
    reason: Option<Reason>,
    /// Null where there is none, and where it is no business of yours.
    #[schema(required)]
    #[schema(value_type = Option<Found>)]
    api_key: Option<&'a RawValue>,
    /// How the tighter of the key's limits stands; null where the call was not counted.
    #[schema(required)]
    rate_limit: Option<RateLimit>,
}

/// What is left of a quota.
#[derive(Serialize, ToSchema)]
#[schema(as = RateLimit)]
pub struct RateLimit {
    /// `key` or `organization`.
    policy: &'static str,
    /// How much there is in a minute.
    quota: u32,
    remaining: u32,
    /// Seconds until the whole quota is there again.
    reset_seconds: u64,
    /// Seconds to wait before the call may succeed; null where it did, and where it never can.
    #[schema(required)]
    retry_after_seconds: Option<u64>,
}

impl From<Standing> for RateLimit {
    fn from(standing: Standing) -> Self {
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let wait = standing.retry_after.filter(|wait| *wait != Standing::NEVER);
        Self {
            policy: standing.policy.name(),
            quota: standing.quota,
            remaining: standing.remaining,
            reset_seconds: seconds(standing.reset),
            retry_after_seconds: wait.map(|wait| seconds(wait).max(1)),
        }
    }
}

/// What there is to know of the key.
#[derive(Serialize, ToSchema)]
#[schema(as = VerifiedApiKey)]
pub struct Found<'a> {
    id: ApiKeyId,
    name: &'a str,
    organization: OrganizationId,
    /// The project that it is confined to.
    #[schema(required)]
    project: Option<ProjectId>,
    created_by: UserId,
    /// Whose role bounds it; null when it belongs to the organization itself.
    #[schema(required)]
    owner: Option<UserId>,
    environment: &'a str,
    labels: &'a Labels,
    /// What it may do now: its own scopes within what its owner may do and the API offers.
    scopes: Vec<&'a str>,
    /// When what was presented ends.
    #[schema(required)]
    expires_at: Option<Timestamp>,
    /// Whether its secret was rotated out and works for its grace alone.
    is_older_secret: bool,
}

impl<'a> Found<'a> {
    fn render(known: &Known, verdict: &Verdict) -> serde_json::Result<Arc<RawValue>> {
        let none = ScopeSet::default();
        let scopes = match verdict {
            Verdict::Valid(scopes) | Verdict::MissingScope(scopes) => scopes,
            _ => &none,
        };
        let render = || to_raw_value(&Found::new(known, scopes)).map(Arc::from);
        known.as_verified.with(scopes, render)
    }

    fn new(known: &'a Known, scopes: &'a ScopeSet) -> Self {
        let key = &known.key;
        Self {
            id: key.id,
            name: &key.name,
            organization: key.organization,
            project: key.project,
            created_by: key.created_by,
            owner: key.owner,
            environment: &key.environment,
            labels: &key.labels,
            scopes: scopes.iter().map(Scope::as_str).collect(),
            expires_at: known.ends(),
            is_older_secret: known.secret_ends.is_some(),
        }
    }
}

/// Verify an API key
///
/// For an API that is called with a key and keeps nothing in memory itself, by its own credential; or for whoever may
/// verify the keys of their organization. The answer is 200 whatever was found. A key of somebody else is `unknown`.
#[utoipa::path(
    post, path = "/v1/api-keys/verify", tag = "API keys", request_body = Verify,
    responses((status = 200, description = "What was found", body = Answer)),
    security(("bearer" = ["verify:api-keys"]), ("session" = []))
)]
pub async fn verify(
    State(app): State<App>,
    by: By,
    Source(source): Source,
    Json(asked): Json<Verify>,
) -> Result<Response, Problem> {
    let checked = asked.checked()?;
    let other_api = match (&by, &asked.resource) {
        (By::ResourceServer(api), Some(resource)) if *resource != api.audience => {
            return Err(Refused::field("resource", "is not your own audience").into());
        }
        (By::Organization { id, .. }, Some(resource)) => {
            let found = app.resource_servers.find_by_audience(&app.db, resource).await?;
            let found = found.filter(|api| api.is_offered_to(*id));
            Some(found.ok_or_else(|| Refused::field("resource", "is no API that you may use"))?)
        }
        _ => None,
    };
    let asker = match &by {
        By::ResourceServer(api) => Asker::ResourceServer(api),
        By::Organization { id, project, .. } => {
            Asker::Organization { id: *id, project: *project, at: other_api.as_deref() }
        }
    };
    let from = UsedFrom::Address(asked.client_address.map(|address| address.to_canonical()));
    let wanted = Wanted { asker, from, scope: checked.scope.as_ref() };
    let presented = Presented {
        text: checked.key,
        wanted,
        cost: Some(asked.cost.unwrap_or(1)),
        source: &source,
    };
    let (now, limits) = (app.clock.now(), &app.key_limits);
    let verified = app.api_keys.verify(&app.db, &app.revocations, limits, now, &presented).await?;
    let sees_keys = match by {
        By::ResourceServer(_) => true,
        By::Organization { sees_keys, .. } => sees_keys,
    };
    let reason = Reason::of(&verified.verdict);
    let is_theirs = sees_keys && reason != Some(Reason::Unknown);
    let found = match &verified.known {
        Some(known) if is_theirs => Some(Found::render(known, &verified.verdict)?),
        _ => None,
    };
    let answer = Answer {
        valid: reason.is_none(),
        request_id: source.request_id.as_deref(),
        reason: reason.filter(|_| sees_keys),
        api_key: found.as_deref(),
        rate_limit: verified.standing.filter(|_| is_theirs).map(Into::into),
    };
    Ok(secret_json_answer(serde_json::to_vec(&answer)?))
}

/// What is asked, in a form that can be worked with.
struct Checked<'a> {
    key: &'a str,
    scope: Option<Scope>,
}

impl Verify {
    fn checked(&self) -> Result<Checked<'_>, Refused> {
        use secrecy::ExposeSecret as _;
        let key = self.key.expose_secret();
        if key.is_empty() || key.chars().count() > LONGEST_KEY {
            return Err(Refused::field("key", "must have 1 to 512 characters"));
        }
        if self.cost.is_some_and(|cost| cost > MOST_COST) {
            return Err(Refused::field("cost", "must be at most 1000"));
        }
        let scope = self.scope.as_deref().map(str::parse).transpose();
        let scope = scope
            .map_err(|_| Refused::field("scope", "is not a scope; one looks like read:tenants"))?;
        Ok(Checked { key, scope })
    }
}

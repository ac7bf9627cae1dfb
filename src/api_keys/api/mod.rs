//! `/v1/api-keys`: making, listing, reading, rotating and handing over keys; beside it, editing, revoking and
//! importing them.

pub mod edit;
pub mod import;
pub mod revoke;
pub mod verify;

use axum::extract::State;
use axum::response::Response;
use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    AllowedNetworks, ApiKey, Labels, ListApiKeys, NewApiKey, NewSecret, Status, Use, store,
};
use crate::access::{AdminApiKeys, AdminDecoys, Caller, Permission, ReadApiKeys, WriteApiKeys};
use crate::app::App;
use crate::http::{
    Beginning, Creation, Json, Limit, PageOf, PathId, Problem, Query, SearchText, Versioned,
};
use crate::resource_servers;

/// A key as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct Representation {
    pub id: ApiKeyId,
    pub organization: OrganizationId,
    /// The project that it is confined to.
    #[schema(required)]
    pub project: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub scopes: Vec<String>,
    /// The networks from which it may be used; IPv4 and IPv6 are matched independently of one another.
    pub allowed_ips: Vec<String>,
    pub environment: String,
    /// The brand that it was made under; null where none was asked for: its next secret bears the installation's first.
    #[schema(required)]
    pub brand: Option<String>,
    /// How often it may be used in a minute; null for the installation's usual limit.
    #[schema(required, minimum = 1, maximum = 1_000_000)]
    pub requests_per_minute: Option<u32>,
    pub status: Status,
    /// The first 12 and the last 4 characters of the secret.
    pub hint: String,
    pub created_by: UserId,
    /// The member whose role bounds it, or the organization itself.
    pub owner: String,
    pub created_at: Timestamp,
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked, in the words of whoever did it.
    #[schema(required)]
    pub revoked_reason: Option<String>,
    /// To the minute; null where it never was.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
    /// The address from which it was used last, where that is known.
    #[schema(required)]
    pub last_used_from: Option<String>,
    /// Until when the secret before works too, while the key is being rotated.
    #[schema(required)]
    pub rotating_until: Option<Timestamp>,
    /// The secret before, while it works: who still uses it has to change.
    #[schema(required)]
    pub older_secret: Option<OlderSecret>,
    /// It may do nothing, and its use is an alarm. Only who has the scope `admin:decoys` sees such a key.
    pub is_decoy: bool,
    /// Grows with every change.
    pub version: i32,
}

/// The secret before the newest, while it works.
#[derive(Debug, Serialize, ToSchema)]
pub struct OlderSecret {
    pub works_until: Timestamp,
    /// To the minute; null where it was not used since such things are kept.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
    #[schema(required)]
    pub last_used_from: Option<String>,
}

impl Representation {
    #[must_use]
    pub fn new(key: &ApiKey, now: Timestamp) -> Self {
        let rotating_until = key.rotating_until.filter(|end| *end > now);
        let at = |used: &Option<Use>| used.as_ref().map(|used| used.at);
        let from = |used: &Option<Use>| used.as_ref().and_then(|used| used.from.clone());
        Self {
            id: key.id,
            organization: key.organization,
            project: key.project,
            name: key.name.clone(),
            description: key.description.clone(),
            labels: key.labels.clone(),
            allowed_ips: key.allowed_networks.texts(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            environment: key.environment.clone(),
            brand: key.brand.clone(),
            requests_per_minute: key.requests_per_minute,
            status: key.status(now),
            hint: format!("{}…{}", key.start, key.end),
            created_by: key.created_by,
            owner: key
                .owner
                .map_or_else(|| key.organization.to_string(), |owner| owner.to_string()),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            revoked_reason: key.revoked_reason.clone(),
            last_used_at: at(&key.last_use),
            last_used_from: from(&key.last_use),
            rotating_until,
            older_secret: rotating_until.map(|works_until| OlderSecret {
                works_until,
                last_used_at: at(&key.older_secret_use),
                last_used_from: from(&key.older_secret_use),
            }),
            is_decoy: key.is_decoy,
            version: key.version,
        }
    }
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedApiKey)]
pub struct Created {
    #[serde(flatten)]
    key: Representation,
    /// What to think over, such as a network that holds everybody.
    warnings: Vec<String>,
    /// The key itself, shown this once: a repeated request with the same Idempotency-Key does not get it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Created {
    #[must_use]
    pub fn new(key: &ApiKey, secret: &SecretString, now: Timestamp) -> Self {
        let secret = Some(secret.expose_secret().to_owned());
        Self { key: Representation::new(key, now), warnings: Vec::new(), secret }
    }
}

/// What is kept of a creation's answer: everything but the secret.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    key: Representation,
    warnings: Vec<String>,
}

/// A key to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "ci", "scopes": ["read:projects"] }))]
pub struct CreateApiKey {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do, each scope within what you may do yourself.
    #[schema(min_items = 1, max_items = 100)]
    scopes: Vec<String>,
    #[serde(default)]
    #[schema(max_length = 500)]
    description: String,
    /// Up to 20 pairs by which you find the key again.
    #[serde(default)]
    labels: Labels,
    /// Networks in CIDR notation; from anywhere where it is left out. A list of IPv4 networks allows no IPv6 address.
    #[schema(min_items = 1, max_items = 50, example = json!(["192.0.2.0/24", "2001:db8::/32"]))]
    allowed_ips: Option<Vec<String>>,
    /// One of the installation's environments; the first of them where it is left out.
    environment: Option<String>,
    /// One of the brands in force; the first of them where it is left out.
    brand: Option<String>,
    /// How often it may be used in a minute; as often as is usual where it is left out.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<u32>,
    /// The project to confine it to.
    project: Option<ProjectId>,
    /// When it ends; never where it is left out.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<Timestamp>)]
    expires_at: Option<OffsetDateTime>,
    /// A decoy: it may do nothing, whoever uses it is told no more than of a key that was never made, and its owner is
    /// told of them. It takes the scope `admin:decoys` too.
    #[serde(default)]
    is_decoy: bool,
}

/// Create an API key
///
/// The secret is in the answer, and nowhere else: store it before anything else.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "API keys", request_body = CreateApiKey,
    responses((status = 201, description = "The key and its secret", body = Created)),
    security(("bearer" = ["write:api-keys"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    creation: Creation<CreateApiKey>,
) -> Result<Response, Problem> {
    let Some(user) = caller.user else {
        let detail =
            "This credential acts for no person, and a key needs one whose role bounds it.";
        return Err(Problem::forbidden(detail));
    };
    if creation.wanted.is_decoy {
        caller.needs::<AdminDecoys>()?;
    }
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let wanted = &creation.wanted;
    let offered = resource_servers::list_offered(begun.tx(), caller.organization).await?;
    let new = NewApiKey {
        organization: caller.organization,
        // A credential that is confined to a project makes keys for it alone.
        project: caller.project.or(wanted.project),
        created_by: user,
        // A credential that was given little can't make itself one that has more.
        reach: &caller.scopes,
        name: &wanted.name,
        description: &wanted.description,
        labels: wanted.labels.clone(),
        allowed_ips: wanted.allowed_ips.as_deref(),
        scopes: &wanted.scopes,
        environment: wanted.environment.as_deref(),
        brand: wanted.brand.as_deref(),
        requests_per_minute: wanted.requests_per_minute,
        expires_at: wanted.expires_at.map(Timestamp::from),
        is_decoy: wanted.is_decoy,
    };
    let (brands, settings) = (app.config.brands(), &app.config.api_keys);
    let (key, secret) =
        super::issue(begun.tx(), now, &caller.by, &brands, settings, &offered, new).await?;
    let made = Made {
        key: Representation::new(&key, now),
        warnings: AllowedNetworks::warnings(wanted.allowed_ips.as_deref()),
    };
    begun.created(Some(key.version), &made, Some(("secret", &secret))).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<ApiKeyId>,
    project: Option<ProjectId>,
    /// Keys that this member's role bounds.
    owner: Option<UserId>,
    status: Option<Status>,
    /// How the name begins, in whatever case.
    #[param(inline)]
    name: Option<SearchText>,
}

/// List API keys
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "API keys", params(ListQuery),
    responses((status = 200, description = "A page of keys", body = PageOf<Representation>)),
    security(("bearer" = ["read:api-keys"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadApiKeys>,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<Representation>>, Problem> {
    let now = app.clock.now();
    if caller.project.is_some() && query.project.is_some() && caller.project != query.project {
        // For whoever is confined to a project there is no other.
        return Ok(Json(PageOf::empty()));
    }
    let which = ListApiKeys {
        organization: Some(caller.organization),
        project: caller.project.or(query.project),
        owner: query.owner.map(Some),
        status: query.status,
        name: query.name.as_ref().map(|name| name.0.as_str()),
        include_decoys: caller.may::<AdminDecoys>(),
        before: query.cursor,
        limit: query.limit.rows(),
    };
    let keys = store::list(app.db.reader(), now, which).await?;
    let show = |key: ApiKey| Representation::new(&key, now);
    Ok(Json(PageOf::new(keys, query.limit, |key| key.id, show)))
}

/// The key, if the caller may know of it.
async fn found<P: Permission>(
    app: &App,
    caller: &Caller<P>,
    id: ApiKeyId,
) -> Result<ApiKey, Problem> {
    store::find(app.db.reader(), Some(caller.organization), id)
        .await?
        .filter(|key| caller.project.is_none() || caller.project == key.project)
        .filter(|key| !key.is_decoy || caller.may::<AdminDecoys>())
        .ok_or_else(Problem::not_found)
}

/// Read an API key
#[utoipa::path(
    get, path = "/v1/api-keys/{id}", tag = "API keys", params(("id" = ApiKeyId, Path)),
    responses((status = 200, description = "The key, without its secret", body = Representation)),
    security(("bearer" = ["read:api-keys"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadApiKeys>,
    PathId(id): PathId<ApiKeyId>,
) -> Result<Versioned<Representation>, Problem> {
    let key = found(&app, &caller, id).await?;
    Ok(Versioned(key.version, Representation::new(&key, app.clock.now())))
}

/// How to rotate the key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// How long the secret before goes on working: a day where it is left out, 0 to end it now, 30 days at most.
    #[schema(minimum = 0, maximum = 2_592_000)]
    grace_seconds: Option<u64>,
}

/// Rotate an API key
///
/// A new secret under the same id, name and scopes. The secret before works until its grace is over; rotating again
/// ends that. Where a secret ends at once, so does what it was exchanged for. Only who may do all that the key was made
/// for can do so.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/rotate", tag = "API keys", params(("id" = ApiKeyId, Path)),
    request_body = Rotate,
    responses((status = 201, description = "The key and its new secret", body = Created)),
    security(("bearer" = ["write:api-keys"]), ("session" = []))
)]
pub async fn rotate(
    State(app): State<App>,
    caller: Caller<WriteApiKeys>,
    PathId(id): PathId<ApiKeyId>,
    creation: Creation<Rotate>,
) -> Result<Response, Problem> {
    found(&app, &caller, id).await?;
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let new = NewSecret { grace_seconds: creation.wanted.grace_seconds, reach: &caller.scopes };
    let (by, brands) = (&caller.by, app.config.brands());
    let (key, secret) =
        super::rotate(begun.tx(), now, by, &brands, caller.organization, id, new).await?;
    let made = Made { key: Representation::new(&key, now), warnings: Vec::new() };
    let answer = begun.created(Some(key.version), &made, Some(("secret", &secret))).await?;
    app.revocations.catch_up().await;
    Ok(answer)
}

/// Who is to own the key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    /// The id of a member, or that of the organization itself.
    #[schema(
        pattern = "^(usr|org)_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        example = "usr_01h455vb4pex5vsknk084sn02q"
    )]
    owner: String,
}

/// Hand an API key over
///
/// To another member, whose role bounds it from now on, or to the organization itself. It takes more than the scope
/// that every change of a key takes: an admin who may do all that the key was made for.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/hand-over", tag = "API keys", params(("id" = ApiKeyId, Path)),
    responses((status = 200, description = "The key", body = Representation)),
    security(("bearer" = ["admin:api-keys"]), ("session" = []))
)]
pub async fn hand_over(
    State(app): State<App>,
    caller: Caller<AdminApiKeys>,
    PathId(id): PathId<ApiKeyId>,
    Json(wanted): Json<HandOver>,
) -> Result<Versioned<Representation>, Problem> {
    found(&app, &caller, id).await?;
    let owner = match wanted.owner.parse::<UserId>() {
        Ok(user) => Some(user),
        Err(_) if wanted.owner == caller.organization.to_string() => None,
        Err(_) => {
            let refused = crate::platform::Refused::field(
                "owner",
                "is neither a member nor the organization",
            );
            return Err(refused.into());
        }
    };
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let (by, organization) = (&caller.by, caller.organization);
    let key = super::hand_over(&tx, now, by, organization, id, owner, &caller.scopes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Versioned(key.version, Representation::new(&key, now)))
}

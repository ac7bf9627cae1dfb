//! `/v1/clients`: OAuth applications, their secrets, and whether they are on.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{ClientId, OrganizationId, ResourceServerId, SecretId, Timestamp};
use portcullis_verifier::{Scope, ScopeSet};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Client, ClientAudience, ClientChanges, ClientSecret, NewAudience, NewClient, NewSecret, store,
};
use crate::access::{Caller, ReadClients, WriteClients};
use crate::app::App;
use crate::http::{
    Beginning, Creation, IfMatch, Json, Limit, PageOf, PathId, PathIds, Problem, Query, SearchText,
    Versioned, nullable,
};

/// A client as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Client)]
pub struct Representation {
    pub id: ClientId,
    pub organization: OrganizationId,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub status: Status,
    pub grant_types: Vec<GrantType>,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    pub requires_pkce: bool,
    /// What it may ask for.
    pub audiences: Vec<Audience>,
    /// How long the same refresh token gets the same answer again.
    pub refresh_retry_seconds: u64,
    /// Whether people are not asked for their consent.
    pub is_first_party: bool,
    #[schema(required)]
    pub logo_uri: Option<String>,
    #[schema(required)]
    pub policy_uri: Option<String>,
    #[schema(required)]
    pub tos_uri: Option<String>,
    /// Those that work at the moment, without what is secret about them.
    pub secrets: Vec<Secret>,
    pub created_at: Timestamp,
    #[schema(required)]
    pub disabled_at: Option<Timestamp>,
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
    /// Grows with every change.
    pub version: i32,
}

/// Whether a client can keep a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClientType)]
pub enum Kind {
    Confidential,
    Public,
}

/// What a client is at the moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClientStatus)]
pub enum Status {
    Active,
    Disabled,
    Deleted,
}

impl From<super::Status> for Status {
    fn from(status: super::Status) -> Self {
        match status {
            super::Status::Active => Self::Active,
            super::Status::Disabled => Self::Disabled,
            super::Status::Deleted => Self::Deleted,
        }
    }
}

impl From<Status> for super::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Disabled => Self::Disabled,
            Status::Deleted => Self::Deleted,
        }
    }
}

/// How a client may come to tokens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl From<GrantType> for super::GrantType {
    fn from(grant_type: GrantType) -> Self {
        match grant_type {
            GrantType::AuthorizationCode => Self::AuthorizationCode,
            GrantType::RefreshToken => Self::RefreshToken,
            GrantType::ClientCredentials => Self::ClientCredentials,
        }
    }
}

impl From<super::GrantType> for GrantType {
    fn from(grant_type: super::GrantType) -> Self {
        match grant_type {
            super::GrantType::AuthorizationCode => Self::AuthorizationCode,
            super::GrantType::RefreshToken => Self::RefreshToken,
            super::GrantType::ClientCredentials => Self::ClientCredentials,
        }
    }
}

/// A resource server that a client may ask for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClientAudience)]
pub struct Audience {
    pub resource_server: ResourceServerId,
    /// The most that it may ask for.
    pub scopes: Vec<String>,
    /// What a request without `scope` gets.
    pub default_scopes: Vec<String>,
}

impl From<ClientAudience> for Audience {
    fn from(audience: ClientAudience) -> Self {
        let texts = |scopes: &ScopeSet| scopes.iter().map(ToString::to_string).collect();
        Self {
            resource_server: audience.resource_server,
            scopes: texts(&audience.allowed),
            default_scopes: texts(&audience.default),
        }
    }
}

/// That there is a secret, not the secret itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClientSecret)]
pub struct Secret {
    pub id: SecretId,
    pub created_at: Timestamp,
    /// Until when it works beside a newer one.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
}

impl From<ClientSecret> for Secret {
    fn from(secret: ClientSecret) -> Self {
        Self { id: secret.id, created_at: secret.created_at, expires_at: secret.expires_at }
    }
}

impl Representation {
    fn new(client: Client, now: Timestamp) -> Self {
        let secrets = client.secrets.iter().filter(|secret| secret.is_good(now));
        Self {
            status: client.status().into(),
            secrets: secrets.cloned().map(Into::into).collect(),
            id: client.id,
            organization: client.organization,
            name: client.name,
            kind: if client.is_confidential { Kind::Confidential } else { Kind::Public },
            grant_types: client.grant_types.into_iter().map(Into::into).collect(),
            redirect_uris: client.redirect_uris,
            requires_pkce: client.requires_pkce,
            audiences: client.audiences.into_iter().map(Into::into).collect(),
            refresh_retry_seconds: client.refresh_retry.as_secs(),
            is_first_party: client.is_first_party,
            logo_uri: client.logo_uri,
            policy_uri: client.policy_uri,
            tos_uri: client.tos_uri,
            created_at: client.created_at,
            disabled_at: client.disabled_at,
            deleted_at: client.revoked_at,
            version: client.version,
        }
    }

    fn versioned(client: Client, now: Timestamp) -> Versioned<Self> {
        Versioned(client.version, Self::new(client, now))
    }
}

/// What a client is to be allowed to ask of a resource server.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedAudience {
    resource_server: ResourceServerId,
    /// The most that it may ask for; people consent within it.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 100, example = json!(["read:tenants"]))]
    scopes: Vec<Scope>,
    /// What a request without `scope` gets; all of them where it is left out.
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    default_scopes: Option<Vec<Scope>>,
}

fn audiences(wanted: &[WantedAudience]) -> Vec<NewAudience> {
    let set = |scopes: &[Scope]| scopes.iter().cloned().collect();
    let audience = |it: &WantedAudience| NewAudience {
        resource_server: it.resource_server,
        allowed: set(&it.scopes),
        default: set(it.default_scopes.as_deref().unwrap_or(&it.scopes)),
    };
    wanted.iter().map(audience).collect()
}

fn grant_types(wanted: &[GrantType]) -> Vec<super::GrantType> {
    wanted.iter().copied().map(Into::into).collect()
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<ClientId>,
    status: Option<Status>,
    /// How the name begins, in whatever case.
    #[param(inline)]
    name: Option<SearchText>,
}

/// List clients
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/clients", tag = "Clients", params(ListQuery),
    responses((status = 200, description = "A page of clients", body = PageOf<Representation>)),
    security(("bearer" = ["read:clients"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadClients>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let now = app.clock.now();
    let which = store::ListClients {
        organization: caller.organization,
        status: query.status.map(Into::into),
        leaves_out_deleted: false,
        name: query.name.as_ref().map(|name| name.0.as_str()),
        before: query.cursor,
        limit: query.limit.rows(),
    };
    let clients = store::list_page(app.db.reader(), which).await?;
    let show = |client| Representation::new(client, now);
    Ok(axum::Json(PageOf::new(clients, query.limit, |client| client.id, show)))
}

/// A client to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateClient {
    /// The consent page shows it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// A public one can't keep a secret and gets none: a browser app, a mobile app, a command line.
    #[serde(rename = "type")]
    kind: Kind,
    #[schema(min_items = 1, max_items = 3)]
    grant_types: Vec<GrantType>,
    /// Where answers may go, to the letter; loopback addresses with any port.
    #[serde(default)]
    #[schema(max_items = 20, example = json!(["https://app.example.com/callback"]))]
    redirect_uris: Vec<String>,
    /// A public client can't leave PKCE out.
    #[schema(default = true)]
    requires_pkce: Option<bool>,
    #[schema(min_items = 1, max_items = 50)]
    audiences: Vec<WantedAudience>,
    #[schema(minimum = 0, maximum = 60, default = 2)]
    refresh_retry_seconds: Option<u64>,
    /// Only for clients of the organization that runs the installation.
    #[serde(default)]
    is_first_party: bool,
    #[schema(max_length = 2000, example = "https://app.example.com/logo.svg")]
    logo_uri: Option<String>,
    #[schema(max_length = 2000)]
    policy_uri: Option<String>,
    #[schema(max_length = 2000)]
    tos_uri: Option<String>,
}

/// A client with a secret that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientWithSecret)]
pub struct WithSecret {
    #[serde(flatten)]
    client: Representation,
    /// Shown this once, and only where the client is confidential: a repeated request with the same Idempotency-Key
    /// does not get it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

/// Register a client
///
/// The secret of a confidential one is in the answer, and nowhere else: store it before anything else.
#[utoipa::path(
    post, path = "/v1/clients", tag = "Clients",
    request_body = CreateClient,
    responses((status = 201, description = "The client and its secret", body = WithSecret)),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    creation: Creation<CreateClient>,
) -> Result<Response, Problem> {
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let wanted = &creation.wanted;
    let usual = NewClient::new(caller.organization, &wanted.name, &caller.scopes);
    let new = NewClient {
        is_confidential: wanted.kind == Kind::Confidential,
        requires_pkce: wanted.requires_pkce.unwrap_or(usual.requires_pkce),
        grant_types: grant_types(&wanted.grant_types),
        redirect_uris: wanted.redirect_uris.clone(),
        audiences: audiences(&wanted.audiences),
        refresh_retry_seconds: wanted.refresh_retry_seconds.unwrap_or(usual.refresh_retry_seconds),
        is_first_party: wanted.is_first_party,
        logo_uri: wanted.logo_uri.clone(),
        policy_uri: wanted.policy_uri.clone(),
        tos_uri: wanted.tos_uri.clone(),
        ..usual
    };
    let (client, secret) =
        super::register(begun.tx(), now, &caller.by, &app.config.brand, new).await?;
    let made = Representation::new(client, now);
    let secret = secret.as_ref().map(|secret| ("client_secret", secret));
    begun.created(Some(made.version), &made, secret).await
}

/// The client, if it is the caller's organization's.
async fn found<P>(app: &App, caller: &Caller<P>, id: ClientId) -> Result<Client, Problem> {
    let client = store::find_of(app.db.reader(), caller.organization, id).await?;
    client.ok_or_else(Problem::not_found)
}

/// Read a client
#[utoipa::path(
    get, path = "/v1/clients/{id}", tag = "Clients", params(("id" = ClientId, Path)),
    responses((status = 200, description = "The client, without its secrets", body = Representation)),
    security(("bearer" = ["read:clients"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadClients>,
    PathId(id): PathId<ClientId>,
) -> Result<Versioned<Representation>, Problem> {
    let client = found(&app, &caller, id).await?;
    Ok(Representation::versioned(client, app.clock.now()))
}

/// What to change of a client; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditClient {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(min_items = 1, max_items = 3)]
    grant_types: Option<Vec<GrantType>>,
    #[schema(max_items = 20)]
    redirect_uris: Option<Vec<String>>,
    requires_pkce: Option<bool>,
    /// All of them: one that is left out is taken away.
    #[schema(min_items = 1, max_items = 50)]
    audiences: Option<Vec<WantedAudience>>,
    #[schema(minimum = 0, maximum = 60)]
    refresh_retry_seconds: Option<u64>,
    is_first_party: Option<bool>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    logo_uri: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    policy_uri: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    tos_uri: Option<Option<String>>,
}

/// Edit a client
///
/// Where it may do less than before, its access tokens end at once; it refreshes and gets what is left.
#[utoipa::path(
    patch, path = "/v1/clients/{id}", tag = "Clients", params(("id" = ClientId, Path)),
    responses((status = 200, description = "The client", body = Representation)),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    PathId(id): PathId<ClientId>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<EditClient>,
) -> Result<Versioned<Representation>, Problem> {
    let now = app.clock.now();
    let changes = ClientChanges {
        name: wanted.name.as_deref(),
        requires_pkce: wanted.requires_pkce,
        grant_types: wanted.grant_types.as_deref().map(grant_types),
        redirect_uris: wanted.redirect_uris,
        audiences: wanted.audiences.as_deref().map(audiences),
        refresh_retry_seconds: wanted.refresh_retry_seconds,
        is_first_party: wanted.is_first_party,
        logo_uri: wanted.logo_uri,
        policy_uri: wanted.policy_uri,
        tos_uri: wanted.tos_uri,
        reach: &caller.scopes,
    };
    let tx = app.db.begin().await?;
    let (by, organization) = (&caller.by, caller.organization);
    let client = super::edit(&tx, now, by, organization, id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Representation::versioned(client, now))
}

/// Delete a client
///
/// At once and for good: it, and every token that it has. Once more changes nothing.
#[utoipa::path(
    delete, path = "/v1/clients/{id}", tag = "Clients", params(("id" = ClientId, Path)),
    responses((status = 204, description = "It is gone")),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn delete(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    PathId(id): PathId<ClientId>,
) -> Result<StatusCode, Problem> {
    found(&app, &caller, id).await?;
    if super::revoke(&app.db, app.clock.now(), &caller.by, id).await? {
        app.revocations.catch_up().await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Disable a client
///
/// It can do nothing, and its access tokens have ended, until it is enabled. Once more changes nothing.
#[utoipa::path(
    post, path = "/v1/clients/{id}/disable", tag = "Clients", params(("id" = ClientId, Path)),
    responses((status = 200, description = "The client", body = Representation)),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn disable(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    PathId(id): PathId<ClientId>,
) -> Result<Versioned<Representation>, Problem> {
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let client = super::disable(&tx, now, &caller.by, caller.organization, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Representation::versioned(client, now))
}

/// Enable a client
///
/// What people have allowed it still stands: its refresh tokens work again.
#[utoipa::path(
    post, path = "/v1/clients/{id}/enable", tag = "Clients", params(("id" = ClientId, Path)),
    responses((status = 200, description = "The client", body = Representation)),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn enable(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    PathId(id): PathId<ClientId>,
) -> Result<Versioned<Representation>, Problem> {
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let client = super::enable(&tx, now, &caller.by, caller.organization, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Representation::versioned(client, now))
}

/// How long the older secret works beside the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSecret {
    /// 0: it ends at once.
    #[schema(minimum = 0, maximum = 2_592_000, default = 86_400)]
    grace_seconds: Option<u64>,
}

/// Add a secret to a client
///
/// The one before works until the grace ends; one before that has ended with this. Only for who may do all that the
/// client may do for itself.
#[utoipa::path(
    post, path = "/v1/clients/{id}/secrets", tag = "Clients", params(("id" = ClientId, Path)),
    request_body = AddSecret,
    responses((status = 201, description = "The client and its new secret", body = WithSecret)),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn add_secret(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    PathId(id): PathId<ClientId>,
    creation: Creation<AddSecret>,
) -> Result<Response, Problem> {
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let (by, brand, organization) = (&caller.by, &app.config.brand, caller.organization);
    let new = NewSecret { grace_seconds: creation.wanted.grace_seconds, reach: &caller.scopes };
    let (client, secret) =
        super::add_secret(begun.tx(), now, by, brand, organization, id, new).await?;
    let made = Representation::new(client, now);
    let answer = begun.created(Some(made.version), &made, Some(("client_secret", &secret))).await;
    app.revocations.catch_up().await;
    answer
}

/// Remove a secret from a client
///
/// At once. The last one stays: add another one first, or disable the client.
#[utoipa::path(
    delete, path = "/v1/clients/{id}/secrets/{secret}", tag = "Clients",
    params(("id" = ClientId, Path), ("secret" = SecretId, Path)),
    responses((status = 204, description = "It is gone")),
    security(("bearer" = ["write:clients"]), ("session" = []))
)]
pub async fn remove_secret(
    State(app): State<App>,
    caller: Caller<WriteClients>,
    PathIds(id, secret): PathIds<ClientId, SecretId>,
) -> Result<StatusCode, Problem> {
    let tx = app.db.begin().await?;
    let (now, organization) = (app.clock.now(), caller.organization);
    super::remove_secret(&tx, now, &caller.by, organization, id, secret).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

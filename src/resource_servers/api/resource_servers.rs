//! `/v1/resource-servers`: the APIs that accept our credentials.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use entity::{OrganizationId, ResourceServerId, Timestamp};
use portcullis_verifier::Scope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, ReadResourceServers, WriteResourceServers};
use crate::app::App;
use crate::http::{
    Beginning, Creation, IfMatch, Json, Limit, PageOf, PathId, Problem, Query, Versioned, nullable,
};
use crate::organizations::delete_resource_server;
use crate::resource_servers::{
    self, Catalog, CatalogScope, NewResourceServer, ResourceServer, ResourceServerChanges, store,
};
use crate::revocation::{self, About};
use crate::signing;

/// An API as our API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResourceServer)]
pub struct Representation {
    pub id: ResourceServerId,
    /// Yours, where it is your organization's own; else null.
    #[schema(required)]
    pub organization: Option<OrganizationId>,
    /// What its tokens are for (`aud`), and the `resource` that asks for them.
    pub audience: String,
    pub name: String,
    #[schema(inline)]
    pub algorithm: Algorithm,
    /// How long its access tokens live; null where the setting decides.
    #[schema(required)]
    pub access_token_seconds: Option<u64>,
    /// What it offers, in the order in which people see it.
    pub scopes: Vec<Entry>,
    /// Whether every organization may use it, or its own alone.
    pub is_shared: bool,
    /// Whether its access tokens have a place in a Token Status List.
    pub status_list: bool,
    /// Until when the credential before the present one works too; only its own organization sees it.
    #[schema(required)]
    pub older_credential_expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// Grows with every change.
    pub version: i32,
}

/// A scope in the catalog of an API.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CatalogScope)]
pub struct Entry {
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "read:tenants")]
    pub scope: Scope,
    /// What the consent page says of it.
    #[schema(min_length = 1, max_length = 200, example = "See your tenants")]
    pub sentence: String,
    /// Whether only somebody who administers the resource may grant it.
    #[serde(default)]
    pub needs_admin: bool,
}

/// An algorithm that access tokens can be signed with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub enum Algorithm {
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "RS256")]
    Rs256,
}

impl From<Algorithm> for signing::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::Es256,
            Algorithm::EdDsa => Self::EdDsa,
            Algorithm::Rs256 => Self::Rs256,
        }
    }
}

impl From<signing::Algorithm> for Algorithm {
    fn from(algorithm: signing::Algorithm) -> Self {
        match algorithm {
            signing::Algorithm::Es256 => Self::Es256,
            signing::Algorithm::EdDsa => Self::EdDsa,
            signing::Algorithm::Rs256 => Self::Rs256,
        }
    }
}

impl Representation {
    /// What this organization sees of it.
    fn new(api: ResourceServer, organization: OrganizationId, now: Timestamp) -> Self {
        let is_own = api.organization == Some(organization);
        let older = api.older_credential_expires_at.filter(|end| is_own && *end > now);
        let entry = |entry: CatalogScope| Entry {
            scope: entry.scope,
            sentence: entry.sentence,
            needs_admin: entry.needs_admin,
        };
        Self {
            id: api.id,
            organization: api.organization.filter(|_| is_own),
            audience: api.audience,
            name: api.name,
            algorithm: api.algorithm.into(),
            access_token_seconds: api.access_token_lifetime.map(|lifetime| lifetime.as_secs()),
            scopes: api.catalog.0.into_iter().map(entry).collect(),
            is_shared: api.is_shared,
            status_list: api.status_list,
            older_credential_expires_at: older,
            created_at: api.created_at,
            version: api.version,
        }
    }
}

fn catalog(entries: &[Entry]) -> Catalog {
    let entry = |entry: &Entry| CatalogScope {
        scope: entry.scope.clone(),
        sentence: entry.sentence.clone(),
        needs_admin: entry.needs_admin,
    };
    Catalog(entries.iter().map(entry).collect())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<ResourceServerId>,
}

/// List resource servers
///
/// Those that your organization may use: its own, those that are shared, and Portcullis's own. Newest first.
#[utoipa::path(
    get, path = "/v1/resource-servers", tag = "Resource servers", params(ListQuery),
    responses((status = 200, description = "A page of resource servers", body = PageOf<Representation>)),
    security(("bearer" = ["read:resource-servers"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller<ReadResourceServers>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let (organization, now) = (caller.organization, app.clock.now());
    let rows = query.limit.rows();
    let apis = store::list_page(app.db.reader(), organization, query.cursor, rows).await?;
    let show = |api| Representation::new(api, organization, now);
    Ok(axum::Json(PageOf::new(apis, query.limit, |api| api.id, show)))
}

/// A resource server to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateResourceServer {
    /// An absolute URI without a fragment; it can't be changed later.
    #[schema(min_length = 1, max_length = 200, example = "https://api.example.com")]
    audience: String,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[schema(inline)]
    algorithm: Algorithm,
    /// How long its access tokens live; as the setting says where it is left out.
    #[schema(minimum = 1, maximum = 86_400)]
    access_token_seconds: Option<u64>,
    #[schema(min_items = 1, max_items = 500)]
    scopes: Vec<Entry>,
    /// Whether every organization may use it. Only the organization that runs the installation may share; it does so
    /// where this is left out.
    is_shared: Option<bool>,
    /// Whether its access tokens get a place in a Token Status List, for APIs that can't follow the revocation feed.
    #[serde(default)]
    status_list: bool,
}

/// Register a resource server
///
/// The credential with which it introspects and follows revocations is in the answer, and nowhere else.
#[utoipa::path(
    post, path = "/v1/resource-servers", tag = "Resource servers",
    request_body = CreateResourceServer,
    responses((status = 201, description = "The resource server and its credential", body = WithCredential)),
    security(("bearer" = ["write:resource-servers"]), ("session" = []))
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller<WriteResourceServers>,
    creation: Creation<CreateResourceServer>,
) -> Result<Response, Problem> {
    let (now, organization) = (app.clock.now(), caller.organization);
    let wanted = &creation.wanted;
    let is_shared =
        resource_servers::may_be_shared(app.db.reader(), organization, wanted.is_shared).await?;
    let algorithm = wanted.algorithm.into();
    signing::ensure_active(&app.db, now, &caller.by, &app.signing_seal, algorithm).await?;
    // Tokens for it can be asked for as soon as this is answered.
    app.revocations.catch_up().await;
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let new = NewResourceServer {
        organization,
        audience: &wanted.audience,
        name: &wanted.name,
        algorithm,
        catalog: catalog(&wanted.scopes),
        access_token_seconds: wanted.access_token_seconds,
        is_shared,
        status_list: wanted.status_list,
    };
    let (api, credential) =
        resource_servers::create(begun.tx(), now, &caller.by, &app.config.brand, new).await?;
    let made = Representation::new(api, organization, now);
    // Where there was one API that everybody may use, there may be two now.
    revocation::append_changed(begun.tx(), now, &[About::resource_server(made.id)]).await?;
    let answer = begun.created(Some(made.version), &made, Some(("credential", &credential))).await;
    app.revocations.catch_up().await;
    answer
}

/// A resource server with a credential that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = ResourceServerWithCredential)]
pub struct WithCredential {
    #[serde(flatten)]
    resource_server: Representation,
    /// Shown this once: a repeated request with the same Idempotency-Key does not get it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// The resource server, if the organization may use it.
async fn visible(
    app: &App,
    organization: OrganizationId,
    id: ResourceServerId,
) -> Result<ResourceServer, Problem> {
    store::find(app.db.reader(), id)
        .await?
        .filter(|api| api.is_offered_to(organization))
        .ok_or_else(Problem::not_found)
}

/// Read a resource server
#[utoipa::path(
    get, path = "/v1/resource-servers/{id}", tag = "Resource servers",
    params(("id" = ResourceServerId, Path)),
    responses((status = 200, description = "The resource server", body = Representation)),
    security(("bearer" = ["read:resource-servers"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    caller: Caller<ReadResourceServers>,
    PathId(id): PathId<ResourceServerId>,
) -> Result<Versioned<Representation>, Problem> {
    let api = visible(&app, caller.organization, id).await?;
    let version = api.version;
    Ok(Versioned(version, Representation::new(api, caller.organization, app.clock.now())))
}

/// What to change of a resource server; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditResourceServer {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(inline)]
    algorithm: Option<Algorithm>,
    /// Null: as the setting says.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 86_400)]
    access_token_seconds: Option<Option<u64>>,
    /// The whole catalog. What falls out of it is no longer granted.
    #[schema(min_items = 1, max_items = 500)]
    scopes: Option<Vec<Entry>>,
    is_shared: Option<bool>,
    /// Tokens that were issued before stay as they are.
    status_list: Option<bool>,
}

/// Edit a resource server
///
/// Only one of your organization's own. A scope that falls out of the catalog is no longer granted, to nobody; access
/// tokens that have it keep it until they expire.
#[utoipa::path(
    patch, path = "/v1/resource-servers/{id}", tag = "Resource servers",
    params(("id" = ResourceServerId, Path)),
    responses((status = 200, description = "The resource server", body = Representation)),
    security(("bearer" = ["write:resource-servers"]), ("session" = []))
)]
pub async fn edit(
    State(app): State<App>,
    caller: Caller<WriteResourceServers>,
    PathId(id): PathId<ResourceServerId>,
    IfMatch(expected): IfMatch,
    Json(wanted): Json<EditResourceServer>,
) -> Result<Versioned<Representation>, Problem> {
    let (now, organization) = (app.clock.now(), caller.organization);
    let algorithm = wanted.algorithm.map(signing::Algorithm::from);
    if let Some(algorithm) = algorithm
        && visible(&app, organization, id).await?.organization == Some(organization)
    {
        signing::ensure_active(&app.db, now, &caller.by, &app.signing_seal, algorithm).await?;
        // No token may be signed with the new algorithm before its key is known.
        app.revocations.catch_up().await;
    }
    let changes = ResourceServerChanges {
        name: wanted.name.as_deref(),
        algorithm,
        access_token_seconds: wanted.access_token_seconds,
        catalog: wanted.scopes.as_deref().map(catalog),
        is_shared: wanted.is_shared,
        status_list: wanted.status_list,
    };
    let tx = app.db.begin().await?;
    let api =
        resource_servers::edit(&tx, now, &caller.by, organization, id, expected, changes).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(Versioned(api.version, Representation::new(api, organization, now)))
}

/// How long the older secret works beside the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateCredential {
    /// 0: it ends at once.
    #[schema(minimum = 0, maximum = 2_592_000, default = 86_400)]
    grace_seconds: Option<u64>,
}

/// Rotate a resource server's credential
///
/// The one before works until the grace ends; one before that has ended with this.
#[utoipa::path(
    post, path = "/v1/resource-servers/{id}/credential", tag = "Resource servers",
    params(("id" = ResourceServerId, Path)),
    request_body = RotateCredential,
    responses((status = 201, description = "The resource server and its new credential", body = WithCredential)),
    security(("bearer" = ["write:resource-servers"]), ("session" = []))
)]
pub async fn rotate_credential(
    State(app): State<App>,
    caller: Caller<WriteResourceServers>,
    PathId(id): PathId<ResourceServerId>,
    creation: Creation<RotateCredential>,
) -> Result<Response, Problem> {
    let (now, organization) = (app.clock.now(), caller.organization);
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let (brand, grace) = (&app.config.brand, creation.wanted.grace_seconds);
    let owner = Some(organization);
    let (api, credential) =
        resource_servers::rotate_credential(begun.tx(), now, &caller.by, brand, owner, id, grace)
            .await?;
    let made = Representation::new(api, organization, now);
    let answer = begun.created(Some(made.version), &made, Some(("credential", &credential))).await;
    app.revocations.catch_up().await;
    answer
}

/// Delete a resource server
///
/// Only one of your organization's own, at once and for good: its credential, what people and clients have been
/// allowed there, and the access tokens that came of it. The organization can register its audience again.
#[utoipa::path(
    delete, path = "/v1/resource-servers/{id}", tag = "Resource servers",
    params(("id" = ResourceServerId, Path)),
    responses((status = 204, description = "It is gone")),
    security(("bearer" = ["write:resource-servers"]), ("session" = []))
)]
pub async fn delete(
    State(app): State<App>,
    caller: Caller<WriteResourceServers>,
    PathId(id): PathId<ResourceServerId>,
) -> Result<StatusCode, Problem> {
    let tx = app.db.begin().await?;
    delete_resource_server(&tx, app.clock.now(), &caller.by, caller.organization, id).await?;
    tx.commit().await?;
    app.revocations.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

//! `POST /v1/api-keys:import`: keys of another system.

use axum::extract::State;
use axum::response::Response;
use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Caller, ImportApiKeys as MayImport};
use crate::api_keys::{self, Import, ImportedKey, Labels};
use crate::app::App;
use crate::http::{Beginning, Creation, Problem};
use crate::resource_servers::{self, ResourceServer};

/// 10,000 keys of some 800 bytes each.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// Keys of another system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "prefix": "sk_old_",
    "keys": [{
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "name": "ci",
        "scopes": ["read:projects"], "start": "sk_old_4eC3", "end": "p7dc",
    }],
}))]
pub struct ImportApiKeys {
    /// What all of them begin with; the setting `api_keys.imported_prefixes` must list it.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$")]
    prefix: String,
    #[schema(min_items = 1, max_items = 10_000)]
    keys: Vec<KeyToImport>,
}

/// A key of another system: its hash, and what it is to be here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyToImport {
    /// SHA-256 of the whole key, in hexadecimal.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9A-Fa-f]{64}$")]
    sha256: String,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 500)]
    description: String,
    #[serde(default)]
    labels: Labels,
    /// What it may do, each scope within what you may do yourself.
    #[schema(min_items = 1, max_items = 100)]
    scopes: Vec<String>,
    /// The project to confine it to.
    project: Option<ProjectId>,
    /// Networks in CIDR notation; from anywhere where it is left out.
    #[schema(min_items = 1, max_items = 50)]
    allowed_ips: Option<Vec<String>>,
    /// One of the installation's environments; the first of them where it is left out.
    environment: Option<String>,
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<u32>,
    expires_at: Option<Timestamp>,
    /// When the other system made it; now where it is left out.
    created_at: Option<Timestamp>,
    /// What it begins with, for people to recognise it by; the prefix where it is left out.
    #[schema(max_length = 12, pattern = "^[!-~]*$")]
    start: Option<String>,
    /// What it ends with.
    #[schema(max_length = 4, pattern = "^[!-~]*$")]
    end: Option<String>,
    /// The id of a member, whose role bounds it, or that of the organization itself; you where it is left out.
    #[schema(pattern = "^(usr|org)_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    owner: Option<String>,
}

impl ImportApiKeys {
    /// The same, as the verb takes it.
    #[must_use]
    pub fn import<'a>(
        &'a self,
        organization: OrganizationId,
        created_by: UserId,
        reach: &'a ScopeSet,
        offered: &'a [ResourceServer],
    ) -> Import<'a> {
        let keys = self.keys.iter().map(KeyToImport::key).collect();
        Import { organization, created_by, reach, offered, prefix: &self.prefix, keys }
    }
}

impl KeyToImport {
    fn key(&self) -> ImportedKey<'_> {
        ImportedKey {
            sha256: &self.sha256,
            name: &self.name,
            description: &self.description,
            labels: &self.labels,
            scopes: &self.scopes,
            project: self.project,
            allowed_ips: self.allowed_ips.as_deref(),
            environment: self.environment.as_deref(),
            requests_per_minute: self.requests_per_minute,
            expires_at: self.expires_at,
            created_at: self.created_at,
            start: self.start.as_deref(),
            end: self.end.as_deref(),
            owner: self.owner.as_deref(),
        }
    }
}

/// Keys that were imported.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportedApiKeys {
    pub imported: usize,
    /// Their ids, in the order in which they were sent.
    pub ids: Vec<ApiKeyId>,
}

impl ImportedApiKeys {
    #[must_use]
    pub fn new(ids: Vec<ApiKeyId>) -> Self {
        Self { imported: ids.len(), ids }
    }
}

/// Import API keys
///
/// Keys of another system go on working: their SHA-256 hashes come here, with what they may do. Up to 10,000 at a time,
/// all or none of them; the rows that are wrong are named. You own them, or whom each row names.
#[utoipa::path(
    post, path = "/v1/api-keys:import", tag = "API keys", request_body = ImportApiKeys,
    responses(
        (status = 201, description = "The keys", body = ImportedApiKeys),
        (status = 413, description = "The body is larger than 8 MiB", body = crate::http::ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("bearer" = ["admin:api-keys"]), ("session" = []))
)]
pub async fn import(
    State(app): State<App>,
    caller: Caller<MayImport>,
    creation: Creation<ImportApiKeys, MAX_BODY>,
) -> Result<Response, Problem> {
    let Some(user) = caller.user else {
        let detail =
            "This credential acts for no person, and a key needs one whose role bounds it.";
        return Err(Problem::forbidden(detail));
    };
    let now = app.clock.now();
    let begun = match creation.begin(app.db.begin().await?, now, &caller.name()).await? {
        Beginning::New(begun) => begun,
        Beginning::Repeated(answer) => return Ok(answer),
    };
    let offered = resource_servers::list_offered(begun.tx(), caller.organization).await?;
    let import = creation.wanted.import(caller.organization, user, &caller.scopes, &offered);
    let settings = &app.config.api_keys;
    let ids = api_keys::import(begun.tx(), now, &caller.by, settings, import).await?;
    begun.created(None, &ImportedApiKeys::new(ids), None).await
}

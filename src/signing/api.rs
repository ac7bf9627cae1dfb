//! `/v1/signing-keys`: the keys that sign tokens, for the organization that runs the installation.

use axum::extract::State;
use entity::{SigningKeyId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Algorithm, Rotated, SigningKeySummary, rotate_or_begin, store};
use crate::access::{Caller, ReadSigningKeys, WriteSigningKeys};
use crate::app::App;
use crate::http::{Json, Limit, PageOf, PathId, Problem, Query};

/// A signing key as the API shows it; its public half is in the JWKS while it is published.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SigningKey)]
pub struct Representation {
    pub id: SigningKeyId,
    /// RFC 7638 thumbprint of the public key, by which the JWKS and tokens name it.
    pub kid: String,
    #[schema(value_type = AlgorithmName)]
    pub algorithm: String,
    #[schema(value_type = StateName)]
    pub state: String,
    pub created_at: Timestamp,
    /// Since when it signs.
    #[schema(required)]
    pub activated_at: Option<Timestamp>,
    /// When the last token that it signed has expired.
    #[schema(required)]
    pub retires_at: Option<Timestamp>,
}

impl From<SigningKeySummary> for Representation {
    fn from(key: SigningKeySummary) -> Self {
        Self {
            id: key.id,
            kid: key.kid,
            algorithm: key.algorithm,
            state: key.state,
            created_at: key.created_at,
            activated_at: key.activated_at,
            retires_at: key.retires_at,
        }
    }
}

/// A JWS algorithm (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[schema(as = SigningAlgorithm)]
pub enum AlgorithmName {
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "RS256")]
    Rs256,
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::Es256 => Self::Es256,
            AlgorithmName::EdDsa => Self::EdDsa,
            AlgorithmName::Rs256 => Self::Rs256,
        }
    }
}

/// Published to come, signing, published until its last token has expired, and gone.
#[derive(ToSchema)]
#[schema(as = SigningKeyState, rename_all = "lowercase")]
pub enum StateName {
    Upcoming,
    Active,
    Retiring,
    Retired,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<SigningKeyId>,
}

/// List signing keys
///
/// Newest first; those that are retired too.
#[utoipa::path(
    get, path = "/v1/signing-keys", tag = "Signing keys", params(ListQuery),
    responses((status = 200, description = "A page of signing keys", body = PageOf<Representation>)),
    security(("bearer" = ["read:signing-keys"]), ("session" = []))
)]
pub async fn list(
    State(app): State<App>,
    _: Caller<ReadSigningKeys>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<Representation>>, Problem> {
    let keys = store::list_page(app.db.reader(), query.cursor, query.limit.rows()).await?;
    Ok(axum::Json(PageOf::new(keys, query.limit, |key| key.id, Into::into)))
}

/// Read a signing key
#[utoipa::path(
    get, path = "/v1/signing-keys/{id}", tag = "Signing keys", params(("id" = SigningKeyId, Path)),
    responses((status = 200, description = "The signing key", body = Representation)),
    security(("bearer" = ["read:signing-keys"]), ("session" = []))
)]
pub async fn read(
    State(app): State<App>,
    _: Caller<ReadSigningKeys>,
    PathId(id): PathId<SigningKeyId>,
) -> Result<axum::Json<Representation>, Problem> {
    Ok(axum::Json(found(&app, id).await?))
}

async fn found(app: &App, id: SigningKeyId) -> Result<Representation, Problem> {
    let key = store::find(app.db.reader(), id).await?.ok_or_else(Problem::not_found)?;
    Ok(key.into())
}

/// Which key to rotate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSigningKey {
    algorithm: AlgorithmName,
}

/// What a rotation changed.
#[derive(Serialize, ToSchema)]
#[schema(as = RotatedSigningKeys)]
pub struct RotatedKeys {
    /// The key that signed until now; null where the algorithm had none.
    #[schema(required)]
    retiring: Option<Representation>,
    /// The key that signs from now on.
    active: Representation,
    /// The key that will sign after it.
    upcoming: Representation,
}

/// Rotate a signing key
///
/// The upcoming key signs from now on, and the active one stays published until its last token has expired. An
/// algorithm that had no key gets its first.
#[utoipa::path(
    post, path = "/v1/signing-keys/rotate", tag = "Signing keys",
    request_body = RotateSigningKey,
    responses((status = 200, description = "The keys that changed", body = RotatedKeys)),
    security(("bearer" = ["write:signing-keys"]), ("session" = []))
)]
pub async fn rotate(
    State(app): State<App>,
    caller: Caller<WriteSigningKeys>,
    Json(wanted): Json<RotateSigningKey>,
) -> Result<axum::Json<RotatedKeys>, Problem> {
    let (now, seal) = (app.clock.now(), &app.signing_seal);
    let Rotated { retiring, active, upcoming } =
        rotate_or_begin(&app.db, now, &caller.by, seal, wanted.algorithm.into()).await?;
    app.revocations.catch_up().await;
    Ok(axum::Json(RotatedKeys {
        retiring: match retiring {
            Some(id) => Some(found(&app, id).await?),
            None => None,
        },
        active: found(&app, active).await?,
        upcoming: found(&app, upcoming).await?,
    }))
}

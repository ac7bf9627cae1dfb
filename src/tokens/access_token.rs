use entity::Timestamp;
use portcullis_verifier::{AccessTokenClaims, Expected, KeySet, verify_access_token};

use crate::revocation::Revocations;

/// Reads an access token that is ours, unexpired and not revoked, nor anything that it descends from: none for every
/// other. No database is asked.
#[must_use]
pub fn inspect(
    keys: &KeySet,
    issuer: &str,
    revocations: &Revocations,
    now: Timestamp,
    token: &str,
) -> Option<AccessTokenClaims> {
    let expected = Expected { issuer, audience: None, leeway_seconds: 0 };
    let claims = verify_access_token(token, keys, &expected, now.unix_seconds()).ok()?;
    (!revocations.is_revoked(&claims)).then_some(claims)
}

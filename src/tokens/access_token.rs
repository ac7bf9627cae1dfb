use std::sync::Arc;

use entity::Timestamp;
use portcullis_verifier::{AccessTokenClaims, Expected, KeySet, verify_access_token};

use crate::revocation::Revocations;

/// What a presented access token turned out to be.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart where it is made; a box would be one more allocation"
)]
pub enum Presented {
    /// Ours, unexpired, not revoked.
    Alive(AccessTokenClaims),
    /// Ours once.
    Dead,
    /// Not ours, or damaged.
    Unknown,
}

/// Reads an access token: signature, issuer, time, and whether it or anything that it descends from was revoked.
/// No database is asked.
#[must_use]
pub fn inspect(
    keys: &Arc<KeySet>,
    issuer: &str,
    revocations: &Revocations,
    now: Timestamp,
    token: &str,
) -> Presented {
    let expected = Expected { issuer, audience: None, leeway_seconds: 0 };
    match verify_access_token(token, keys, &expected, now.unix_seconds()) {
        Ok(claims) if revocations.is_revoked(&claims) => Presented::Dead,
        Ok(claims) => Presented::Alive(claims),
        Err(portcullis_verifier::TokenError::Expired) => Presented::Dead,
        Err(_) => Presented::Unknown,
    }
}

//! Checking an access token: a JWT as RFC 9068 has it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::claims::AccessTokenClaims;
use crate::jwks::{KeySet, VerificationKey};

/// The greatest length of an access token, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024;
const MAX_KID_LENGTH: usize = 256;

/// What a resource server expects of a token.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer, compared character by character.
    pub issuer: &'a str,
    /// The audience that must be among those of the token. `None` accepts any, which is for the authorization server itself.
    pub audience: Option<&'a str>,
    /// By how many seconds the clocks of issuer and verifier may differ.
    pub leeway_seconds: u64,
}

/// Why an access token was refused. For logs: the outside is told less.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than [`MAX_LENGTH`].
    #[error("the token is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Not three base64url parts, or a header or claims that can't be read.
    #[error("the token is no JWT with the claims of RFC 9068")]
    Malformed,
    /// No key has the token's `kid`. It may have been published since the key set was fetched.
    #[error("no key has the id {kid:?}")]
    UnknownKey {
        /// The id that the token names.
        kid: String,
    },
    /// The header's `typ` is not `at+jwt`: some other JWT of the same issuer, an ID token perhaps.
    #[error("the JWT is no access token (`typ` is not `at+jwt`)")]
    WrongType,
    /// The header's `alg` isn't that of the key, or none that is ever accepted.
    #[error("the token's algorithm is not that of its key")]
    WrongAlgorithm,
    /// The header has a `crit` (RFC 7515 §4.1.11); no extension is understood here.
    #[error("the token has critical header parameters")]
    UnsupportedCritical,
    /// The signature isn't by the key that the token names.
    #[error("the signature does not match")]
    BadSignature,
    /// Issued by someone else.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// Meant for another resource server.
    #[error("the token is for another audience")]
    WrongAudience,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is yet to come.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// The members of the JOSE header that matter here. Keys that a token brings along (`jwk`, `jku`, `x5c`) never do.
#[derive(Deserialize)]
struct ProtectedHeader {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "crit", deserialize_with = "is_present")]
    has_critical: bool,
}

fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Checks a token's form, type, signature, issuer, audience and time (`now_unix`, in seconds since 1970).
///
/// Whether it has been revoked since is for [`RevocationSet`](crate::revocation::RevocationSet) to say.
pub fn verify_access_token(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
    now_unix: i64,
) -> Result<AccessTokenClaims, TokenError> {
    let header = read_header(token)?;
    if !header.typ.as_deref().is_some_and(is_access_token_type) {
        return Err(TokenError::WrongType);
    }
    if header.has_critical {
        return Err(TokenError::UnsupportedCritical);
    }
    let algorithm = accepted_algorithm(&header.alg).ok_or(TokenError::WrongAlgorithm)?;
    let kid = header.kid.ok_or(TokenError::Malformed)?;
    if kid.len() > MAX_KID_LENGTH {
        return Err(TokenError::Malformed);
    }
    let Some(key) = keys.find(&kid) else {
        return Err(TokenError::UnknownKey { kid });
    };
    if key.algorithm != algorithm {
        return Err(TokenError::WrongAlgorithm);
    }
    let claims = read_signed(token, key)?;
    check_claims(&claims, expected, now_unix)?;
    Ok(claims)
}

/// The claims, once the signature has been found good. Not by `jsonwebtoken::decode`, which reads the key each
/// time, and header and claims twice.
fn read_signed(token: &str, key: &VerificationKey) -> Result<AccessTokenClaims, TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    if !key.verifies(message, signature).ok_or(TokenError::Malformed)? {
        return Err(TokenError::BadSignature);
    }
    let (_, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let json = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn read_header(token: &str) -> Result<ProtectedHeader, TokenError> {
    if token.len() > MAX_LENGTH {
        return Err(TokenError::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// RFC 9068 §4: `at+jwt`, with or without `application/`, in any case (RFC 7515 §4.1.9).
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

fn accepted_algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        "RS256" => Some(Algorithm::RS256),
        _ => None,
    }
}

fn check_claims(
    claims: &AccessTokenClaims,
    expected: &Expected<'_>,
    now_unix: i64,
) -> Result<(), TokenError> {
    let leeway = i64::try_from(expected.leeway_seconds).unwrap_or(i64::MAX);
    if claims.iss != expected.issuer {
        return Err(TokenError::WrongIssuer);
    }
    if expected.audience.is_some_and(|audience| !claims.aud.contains(audience)) {
        return Err(TokenError::WrongAudience);
    }
    if now_unix >= claims.exp.saturating_add(leeway) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| now_unix.saturating_add(leeway) < nbf) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

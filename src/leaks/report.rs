use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entity::Timestamp;
use portcullis_verifier::{AccessTokenClaims, key};
use sea_orm::DbErr;

use super::{Reported, ReportedToken, store};
use crate::audit::Source;
use crate::platform::db::Db;
use crate::tokens::RefreshTokens;

/// Sorts what somebody reported, without asking the database: what has no checksum, tag or signature of ours is
/// dropped, but for what begins like keys that were imported. `inspect` reads an access token that is ours and lives.
#[must_use]
pub fn recognized<'a>(
    texts: impl Iterator<Item = &'a str>,
    refresh_tokens: &RefreshTokens,
    imported_prefixes: &[String],
    inspect: impl Fn(&str) -> Option<AccessTokenClaims>,
) -> Reported {
    let mut digests = BTreeSet::new();
    let mut grants = BTreeSet::new();
    let mut access_tokens: Vec<ReportedToken> = Vec::new();
    for text in texts.map(str::trim) {
        if key::has_valid_checksum(text) || key::may_be_imported(text, imported_prefixes) {
            digests.insert(key::digest(text));
        } else if let Some(token) = refresh_tokens.decode(text) {
            grants.insert(token.grant);
        } else if let Some(token) = inspect(text).as_ref().and_then(reported)
            && !access_tokens.contains(&token)
        {
            access_tokens.push(token);
        }
    }
    Reported {
        digests: digests.iter().map(|digest| URL_SAFE_NO_PAD.encode(digest)).collect(),
        grants: grants.into_iter().collect(),
        access_tokens,
    }
}

fn reported(claims: &AccessTokenClaims) -> Option<ReportedToken> {
    Some(ReportedToken {
        token: claims.jti.parse().ok()?,
        organization: claims.org.as_deref().and_then(|org| org.parse().ok()),
        // Of a token that an API key was exchanged for, whoever owns the key.
        user: claims.sub.parse().ok().or_else(|| claims.owner.as_deref()?.parse().ok()),
        client: claims.client_id.parse().ok(),
    })
}

/// Takes a report, which is worked on soon. It costs the same whatever of it is real, and even if nothing is.
///
/// # Errors
/// When the database fails.
pub async fn accept(
    db: &Db,
    now: Timestamp,
    source: &Source,
    reported: &Reported,
) -> Result<(), DbErr> {
    store::insert(db.writer(), now, source, reported).await
}

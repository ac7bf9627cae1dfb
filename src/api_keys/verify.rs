use portcullis_verifier::key;
use sea_orm::DbErr;

use super::{ApiKey, Verdict, decide, store};
use crate::platform::db::Db;
use entity::Timestamp;

/// A checked key: what was found, and the verdict over it.
pub struct Verified {
    pub key: Option<ApiKey>,
    pub verdict: Verdict,
}

/// Checks what a caller presents as an API key: parse, find, decide. Garbage dies at its checksum, without a
/// look-up; the rest costs one indexed read, and the key's creator and role are read with it.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &Db, now: Timestamp, presented: &str) -> Result<Verified, DbErr> {
    if !key::has_valid_checksum(presented) {
        return Ok(Verified { key: None, verdict: Verdict::Unknown });
    }
    let Some(found) = store::find_by_digest(db.reader(), key::digest(presented), now).await? else {
        return Ok(Verified { key: None, verdict: Verdict::Unknown });
    };
    let verdict = decide(&found.key, found.creator_role, now);
    Ok(Verified { key: Some(found.key), verdict })
}

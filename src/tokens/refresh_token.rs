//! `<brand>_rt_` and base62 of grant id ‖ generation ‖ HMAC-SHA-256 tag: garbage fails the tag before any look-up,
//! and a leaked database yields no token, for the HMAC's key is not in it.

use aws_lc_rs::hmac;
use entity::GrantId;
use portcullis_verifier::base62;
use portcullis_verifier::key::Prefix;
use secrecy::SecretString;
use uuid::Uuid;

const GRANT: usize = 16;
const GENERATION: usize = 8;
const TAG: usize = 32;
const LENGTH: usize = GRANT + GENERATION + TAG;

/// How many characters follow the prefix: 11 for each 8 bytes.
pub const REFRESH_TOKEN_BODY: usize = LENGTH.div_ceil(8) * 11;

/// Whether this may be what follows the prefix of a refresh token, as whoever lacks the HMAC's key can tell: base62 of
/// the right length, a grant's id (a UUIDv7), and a number that tokens reach. Less than one in 10^14 random texts does.
#[must_use]
pub fn looks_like_refresh_token(body: &str) -> bool {
    let bytes = base62::decode_blocks(body, LENGTH);
    let Some((grant, rest)) = bytes.as_deref().and_then(|it| it.split_at_checked(GRANT)) else {
        return false;
    };
    let is_id = Uuid::from_slice(grant)
        .is_ok_and(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122);
    // A generation a second for a century fits into four bytes.
    is_id && rest.starts_with(&[0; GENERATION - 4])
}

/// What a genuine refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    pub grant: GrantId,
    pub generation: i64,
}

/// Makes refresh tokens and tells genuine ones from garbage.
pub struct RefreshTokens {
    prefix: String,
    key: hmac::Key,
}

impl RefreshTokens {
    /// The label of the HMAC's key.
    pub const LABEL: &'static str = "refresh-tokens";

    #[must_use]
    pub fn new(brand: &str, key: hmac::Key) -> Self {
        Self { prefix: format!("{brand}_rt_"), key }
    }

    #[must_use]
    pub fn encode(&self, token: RefreshToken) -> SecretString {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(token.grant.0.as_bytes());
        bytes.extend_from_slice(&token.generation.to_be_bytes());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        format!("{}{}", self.prefix, base62::encode_blocks(&bytes)).into()
    }

    /// What the token says, if we made it: under today's brand or an earlier one.
    #[must_use]
    pub fn decode(&self, text: &str) -> Option<RefreshToken> {
        let (kind, body) = text.rsplit_once('_')?;
        let is_kind = kind.ends_with("_rt") && kind.parse::<Prefix>().is_ok();
        let bytes = base62::decode_blocks(body, LENGTH).filter(|_| is_kind)?;
        let (said, tag) = bytes.split_at_checked(GRANT + GENERATION)?;
        hmac::verify(&self.key, said, tag).ok()?;
        let (grant, generation) = said.split_at_checked(GRANT)?;
        Some(RefreshToken {
            grant: GrantId(Uuid::from_slice(grant).ok()?),
            generation: i64::from_be_bytes(generation.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entity::Timestamp;
    use secrecy::ExposeSecret as _;

    fn tokens(key: &[u8]) -> RefreshTokens {
        RefreshTokens::new("pc", hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    #[test]
    fn what_was_made_is_recognised_and_nothing_else() {
        let token =
            RefreshToken { grant: GrantId::new(Timestamp(1_700_000_000_000)), generation: 7 };
        let text = tokens(b"key").encode(token);
        let text = text.expose_secret();
        assert!(text.starts_with("pc_rt_") && text.len() == 6 + 77, "{text}");
        assert_eq!(tokens(b"key").decode(text), Some(token));
        assert_eq!(tokens(b"another key").decode(text), None);
        let rebranded = text.replace("pc_rt_", "op365_sk_rt_");
        assert_eq!(tokens(b"key").decode(&rebranded), Some(token), "of an earlier brand");
        assert_eq!(tokens(b"key").decode(&text.replace("_rt_", "_cs_")), None);
        assert_eq!(tokens(b"key").decode(&format!(" {text}")), None);
        for at in 6..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(
                tokens(b"key").decode(std::str::from_utf8(&changed).unwrap()),
                None,
                "changed at {at}"
            );
        }
        assert_eq!(tokens(b"key").decode(&text[..text.len() - 1]), None);
        assert_eq!(tokens(b"key").decode(&format!("{text}0")), None);
        assert_eq!(tokens(b"key").decode(""), None);
    }

    #[test]
    fn without_the_key_a_refresh_token_is_told_by_its_form() {
        let token =
            RefreshToken { grant: GrantId::new(Timestamp(1_700_000_000_000)), generation: 7 };
        let text = tokens(b"key").encode(token);
        let body = text.expose_secret().strip_prefix("pc_rt_").unwrap();
        assert_eq!(body.len(), REFRESH_TOKEN_BODY);
        assert!(looks_like_refresh_token(body));
        for other in [&body[1..], &format!("{body}0"), &"z".repeat(77), &"0".repeat(77), ""] {
            assert!(!looks_like_refresh_token(other), "{other}");
        }
        let late = RefreshToken { generation: i64::from(u32::MAX) + 1, ..token };
        let text = tokens(b"key").encode(late);
        assert!(!looks_like_refresh_token(&text.expose_secret()["pc_rt_".len()..]));
    }
}

//! Proof Key for Code Exchange (RFC 7636), S256 only.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The length of an S256 challenge: 32 bytes in base64url.
const CHALLENGE_LENGTH: usize = 43;

/// Whether the text can be an S256 challenge (§4.2).
#[must_use]
pub fn is_challenge(text: &str) -> bool {
    text.len() == CHALLENGE_LENGTH && URL_SAFE_NO_PAD.decode(text).is_ok()
}

/// Whether the verifier is well-formed (§4.1) and the one that the challenge was made of.
#[must_use]
pub fn matches(challenge: &str, verifier: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(is_unreserved) {
        return false;
    }
    let computed = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    verify_slices_are_equal(computed.as_bytes(), challenge.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 Appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_rfcs_own_example() {
        assert!(is_challenge(CHALLENGE) && matches(CHALLENGE, VERIFIER));
    }

    #[test]
    fn everything_else_is_refused() {
        assert!(!matches(CHALLENGE, CHALLENGE));
        assert!(!matches(CHALLENGE, &VERIFIER[1..]));
        assert!(!matches(CHALLENGE, &format!("{VERIFIER} ")));
        assert!(!matches(VERIFIER, VERIFIER));
        assert!(
            !is_challenge("")
                && !is_challenge(&CHALLENGE[1..])
                && !is_challenge(&CHALLENGE.replace('-', "+"))
        );
    }
}

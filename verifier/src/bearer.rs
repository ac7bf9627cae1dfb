//! Reading a bearer token from the `Authorization` header (RFC 6750 §2.1).

use crate::rejection::Rejection;
use crate::token;

/// The token of an `Authorization` header's value.
///
/// The scheme is compared in any case, as RFC 9110 §11.1 asks; another scheme counts as no credential at all.
/// At most [`token::MAX_LENGTH`] bytes of token are accepted.
pub fn bearer_token(header: &str) -> Result<&str, Rejection> {
    let credential = unchecked_bearer_token(header)?;
    if !is_b64token(credential) {
        return Err(Rejection::MalformedRequest(
            "The credential in the Authorization header has a character that no credential has.",
        ));
    }
    Ok(credential)
}

/// The same before its characters are looked at, which takes longer than to find it among those that are known.
pub(crate) fn unchecked_bearer_token(header: &str) -> Result<&str, Rejection> {
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Rejection::MissingCredential);
    }
    let credential = rest.trim_matches(' ');
    if credential.is_empty() {
        return Err(Rejection::MalformedRequest(
            "Nothing follows `Bearer` in the Authorization header.",
        ));
    }
    if credential.len() > token::MAX_LENGTH {
        return Err(Rejection::MalformedRequest(
            "The credential in the Authorization header is too long.",
        ));
    }
    Ok(credential)
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| IN_B64TOKEN[usize::from(byte)])
}

const IN_B64TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_may_be_in_any_case() {
        for header in ["Bearer abc", "bearer abc", "BEARER abc", "Bearer  abc "] {
            assert_eq!(bearer_token(header), Ok("abc"), "{header}");
        }
        assert_eq!(bearer_token("Bearer aZ0-._~+/=="), Ok("aZ0-._~+/=="));
    }

    #[test]
    fn another_scheme_is_no_credential() {
        for header in ["", "Basic YTpi", "Bearerabc", "DPoP abc", " Bearer abc"] {
            assert_eq!(bearer_token(header), Err(Rejection::MissingCredential), "{header}");
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_malformed() {
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer =",
            "Bearer a=b",
            "Bearer \"a\"",
            "Bearer é",
            "Bearer a\tb",
        ] {
            let refused = bearer_token(header);
            assert!(matches!(refused, Err(Rejection::MalformedRequest(_))), "{header}");
        }
        assert!(bearer_token(&format!("Bearer {}", "a".repeat(token::MAX_LENGTH))).is_ok());
        assert!(bearer_token(&format!("Bearer {}", "a".repeat(token::MAX_LENGTH + 1))).is_err());
    }
}

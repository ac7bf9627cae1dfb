//! The `Authorization` header: Basic credentials as OAuth encodes them, and the challenges that answer.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_verifier::{Rejection, bearer_token};
use secrecy::SecretString;

use super::Parameters;

/// What `Authorization: Basic` held, form-decoded (RFC 6749 §2.3.1).
pub struct BasicCredentials {
    pub username: String,
    pub password: SecretString,
}

/// Reads Basic credentials: `None` where the header is missing or of another scheme.
///
/// # Errors
/// When the scheme is Basic and the rest can't be read.
#[expect(clippy::result_unit_err, reason = "whatever is wrong with it, the answer is the same")]
pub fn basic_credentials(headers: &HeaderMap) -> Result<Option<BasicCredentials>, ()> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    let text = value.to_str().map_err(|_| ())?;
    let (scheme, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| ())?;
    let mut parts = decoded.splitn(2, |byte| *byte == b':');
    let username = form_decode(parts.next().unwrap_or_default())?;
    let password = form_decode(parts.next().ok_or(())?)?;
    Ok(Some(BasicCredentials { username, password: password.into() }))
}

fn form_decode(encoded: &[u8]) -> Result<String, ()> {
    if encoded.contains(&b'&') || encoded.contains(&b'=') {
        // Both are legal only when encoded; a client that forgot to encode is told so rather than misread.
        return Err(());
    }
    let parameters = Parameters::parse(&[b"v=", encoded].concat()).map_err(|_| ())?;
    Ok(parameters.first("v").to_owned())
}

/// The credential of the one `Authorization: Bearer` header.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn bearer_credential(headers: &HeaderMap) -> Result<&str, Rejection> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Rejection::MissingCredential),
        (Some(value), None) => value.to_str().map_err(|_| UNREADABLE).and_then(bearer_token),
        _ => Err(UNREADABLE),
    }
}

const UNREADABLE: Rejection = Rejection::MalformedRequest("the Authorization header can't be read");

/// `Bearer realm="…"`, for an endpoint that wants a bearer credential.
#[must_use]
pub fn bearer_challenge(error: Option<(&str, &str)>) -> String {
    match error {
        None => r#"Bearer realm="portcullis""#.to_owned(),
        Some((code, description)) => {
            format!(
                r#"Bearer realm="portcullis", error="{code}", error_description="{description}""#
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn read(value: &str) -> Result<Option<(String, String)>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().map_err(|_| ())?);
        let credentials = basic_credentials(&headers)?;
        Ok(credentials.map(|found| (found.username, found.password.expose_secret().to_owned())))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn both_parts_are_form_decoded() {
        assert_eq!(read(&basic("a%3Ab:s+e%2Bc")), Ok(Some(("a:b".to_owned(), "s e+c".to_owned()))));
        assert_eq!(read(&basic("app:s:t")), Ok(Some(("app".to_owned(), "s:t".to_owned()))));
    }

    #[test]
    fn another_scheme_is_none_and_garbage_is_an_error() {
        assert_eq!(read("Bearer abc"), Ok(None));
        assert_eq!(read("Basic ???"), Err(()));
        assert_eq!(read("Basic"), Err(()));
        assert_eq!(read(&basic("no colon")), Err(()));
        assert_eq!(read(&basic("a:%zz")), Err(()));
    }
}

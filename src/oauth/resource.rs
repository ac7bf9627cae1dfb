use super::{ErrorCode, OAuthError};
use crate::http::Parameters;

/// The `resource` of a request (RFC 8707 §2). It may come several times, but a token is for one audience here, and
/// whoever asks for more is told so by the code that the RFC has for it.
///
/// # Errors
/// `invalid_target` where several are named.
pub(super) fn resource(parameters: &Parameters) -> Result<Option<&str>, OAuthError> {
    let mut named = parameters.all("resource").filter(|resource| !resource.is_empty());
    let first = named.next();
    match named.any(|further| Some(further) != first) {
        true => Err(OAuthError::new(ErrorCode::InvalidTarget, "a token is for one resource")),
        false => Ok(first),
    }
}

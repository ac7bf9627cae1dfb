//! Why a request is refused, and how that is said in HTTP (RFC 6750 §3).

use std::borrow::Cow;

use crate::scope::Scope;
use crate::token::TokenError;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No credential was sent, or by a scheme other than `Bearer`.
    #[error("no credential was sent")]
    MissingCredential,
    /// The `Authorization` header can't be read. Says what is wrong with it.
    #[error("malformed request: {0}")]
    MalformedRequest(&'static str),
    /// The credential isn't accepted.
    #[error("invalid token: {0}")]
    InvalidToken(InvalidToken),
    /// The credential is good but does not allow this.
    #[error("the scope {required} is required")]
    InsufficientScope {
        /// What would be needed.
        required: Scope,
    },
    /// It can't be decided now, and so the request is refused.
    #[error("unavailable: {0}")]
    Unavailable(Unavailability),
}

/// What the outside is told of a credential that isn't accepted: enough to mend a script, too little to probe for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// Unknown, revoked or not signed by the authorization server; the outside can't tell which.
    #[error("the credential is not accepted")]
    NotAccepted,
    /// Neither an access token nor an API key by its form.
    #[error("the credential is malformed")]
    Malformed,
    /// It was good once.
    #[error("the credential has expired")]
    Expired,
    /// It will be good later.
    #[error("the credential is not valid yet")]
    NotYetValid,
    /// It is for another API.
    #[error("the token is for another audience")]
    WrongAudience,
}

/// What is missing for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailability {
    /// The revocation feed has been silent for longer than allowed.
    #[error("the revocation feed has been silent for too long")]
    RevocationFeed,
    /// The authorization server didn't answer a question about an API key.
    #[error("the authorization server gave no answer")]
    AuthorizationServer,
    /// The scope that the resource server asks for isn't one: a mistake in its code.
    #[error("the resource server requires something that is no scope")]
    Requirement,
}

impl Rejection {
    /// The HTTP status: 400, 401, 403 or 503.
    pub fn status(&self) -> u16 {
        match self {
            Rejection::MalformedRequest(_) => 400,
            Rejection::MissingCredential | Rejection::InvalidToken(_) => 401,
            Rejection::InsufficientScope { .. } => 403,
            Rejection::Unavailable(_) => 503,
        }
    }

    /// The error code for a body: that of RFC 6750 §3.1 where there is one.
    pub fn code(&self) -> &'static str {
        match self {
            Rejection::MissingCredential => "missing_credential",
            Rejection::MalformedRequest(_) => "invalid_request",
            Rejection::InvalidToken(_) => "invalid_token",
            Rejection::InsufficientScope { .. } => "insufficient_scope",
            Rejection::Unavailable(_) => "temporarily_unavailable",
        }
    }

    /// A sentence for whoever wrote the calling script.
    pub fn description(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Rejection::MissingCredential => {
                "Send an access token or an API key in the header `Authorization: Bearer ...`."
            }
            Rejection::MalformedRequest(what) => what,
            Rejection::InvalidToken(reason) => match reason {
                InvalidToken::NotAccepted => {
                    "The credential is not valid, or no longer: check it, or get a new one."
                }
                InvalidToken::Malformed => {
                    "The credential is neither an access token nor an API key: was it copied in full?"
                }
                InvalidToken::Expired => "The credential has expired: get a new one.",
                InvalidToken::NotYetValid => "The token is not valid yet: check the clocks.",
                InvalidToken::WrongAudience => "The token was issued for another API.",
            },
            Rejection::InsufficientScope { required } => {
                return Cow::Owned(format!("This call requires the scope {required}."));
            }
            Rejection::Unavailable(Unavailability::Requirement) => {
                "This call is misconfigured at the server."
            }
            Rejection::Unavailable(_) => {
                "The credential cannot be checked at the moment: try again shortly."
            }
        })
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3).
    ///
    /// Without a credential, and when it couldn't be checked, there is no error code in it. `resource_metadata` is the
    /// URL of the protected resource metadata (RFC 9728 §5.1).
    pub fn challenge(&self, realm: Option<&str>, resource_metadata: Option<&str>) -> String {
        let mut parameters = Vec::new();
        parameters.extend(realm.map(|realm| ("realm", Cow::Borrowed(realm))));
        if !matches!(self, Rejection::MissingCredential | Rejection::Unavailable(_)) {
            parameters.push(("error", Cow::Borrowed(self.code())));
            parameters.push(("error_description", self.description()));
        }
        if let Rejection::InsufficientScope { required } = self {
            parameters.push(("scope", Cow::Borrowed(required.as_str())));
        }
        parameters.extend(resource_metadata.map(|url| ("resource_metadata", Cow::Borrowed(url))));

        let mut challenge = String::from("Bearer");
        for (position, (name, value)) in parameters.iter().enumerate() {
            challenge.push_str(if position == 0 { " " } else { ", " });
            challenge.push_str(name);
            challenge.push_str("=\"");
            challenge.extend(value.chars().map(quotable));
            challenge.push('"');
        }
        challenge
    }
}

/// RFC 6750 §3 allows printable ASCII but `"` and `\`, so that nothing has to be escaped.
fn quotable(character: char) -> char {
    match character {
        '"' | '\\' => '\'',
        ' '..='~' => character,
        _ => '?',
    }
}

impl From<TokenError> for Rejection {
    fn from(error: TokenError) -> Rejection {
        Rejection::InvalidToken(match error {
            TokenError::TooLong | TokenError::Malformed => InvalidToken::Malformed,
            TokenError::Expired => InvalidToken::Expired,
            TokenError::NotYetValid => InvalidToken::NotYetValid,
            TokenError::WrongAudience => InvalidToken::WrongAudience,
            TokenError::UnknownKey { .. }
            | TokenError::WrongType
            | TokenError::WrongAlgorithm
            | TokenError::UnsupportedCritical
            | TokenError::BadSignature
            | TokenError::WrongIssuer => InvalidToken::NotAccepted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_credential_the_challenge_has_no_error() {
        let missing = Rejection::MissingCredential;
        assert_eq!(missing.status(), 401);
        assert_eq!(missing.challenge(None, None), "Bearer");
        assert_eq!(missing.challenge(Some("api"), None), r#"Bearer realm="api""#);
        assert_eq!(
            missing.challenge(Some("api"), Some("https://api.example.com/.well-known/x")),
            r#"Bearer realm="api", resource_metadata="https://api.example.com/.well-known/x""#
        );
    }

    #[test]
    fn a_refused_credential_is_named_so() {
        let expired = Rejection::InvalidToken(InvalidToken::Expired);
        assert_eq!(expired.status(), 401);
        assert_eq!(
            expired.challenge(None, None),
            r#"Bearer error="invalid_token", error_description="The credential has expired: get a new one.""#
        );
        let malformed = Rejection::MalformedRequest("Nothing follows `Bearer`.");
        assert_eq!(malformed.status(), 400);
        assert!(malformed.challenge(None, None).starts_with(r#"Bearer error="invalid_request""#));
    }

    #[test]
    fn a_missing_scope_is_named() {
        let rejection = Rejection::InsufficientScope { required: "read:tenants".parse().unwrap() };
        assert_eq!(rejection.status(), 403);
        assert_eq!(
            rejection.challenge(Some("api"), None),
            r#"Bearer realm="api", error="insufficient_scope", error_description="This call requires the scope read:tenants.", scope="read:tenants""#
        );
    }

    #[test]
    fn an_outage_does_not_blame_the_credential() {
        let rejection = Rejection::Unavailable(Unavailability::RevocationFeed);
        assert_eq!((rejection.status(), rejection.challenge(None, None).as_str()), (503, "Bearer"));
    }

    #[test]
    fn nothing_breaks_out_of_the_quotes() {
        let challenge = Rejection::MissingCredential.challenge(Some("a\"b\\c\r\nd\u{e9}"), None);
        assert_eq!(challenge, r#"Bearer realm="a'b'c??d?""#);
    }

    #[test]
    fn a_stranger_cannot_tell_unknown_from_forged() {
        let unknown = Rejection::from(TokenError::UnknownKey { kid: "k".to_owned() });
        for error in [TokenError::BadSignature, TokenError::WrongIssuer, TokenError::WrongType] {
            assert_eq!(Rejection::from(error), unknown);
        }
    }
}

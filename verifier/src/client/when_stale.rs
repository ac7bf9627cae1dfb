//! What to do when the authorization server has not been heard for too long.

use serde::{Deserialize, Serialize};

/// How a request is decided once the revocation feed has been silent for longer than
/// [`max_staleness`](crate::VerifierBuilder::max_staleness), so that what has been revoked meanwhile isn't known.
///
/// Whichever it is: what is known to have been revoked stays revoked, and what has expired stays expired. The default
/// is set with [`VerifierBuilder::when_stale`](crate::VerifierBuilder::when_stale); a route, or a scope, can have its
/// own by [`RequestContext::when_stale`](crate::RequestContext::when_stale).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenStale {
    /// Every request is refused with 503. Nobody gets in who shouldn't; nobody else does either.
    #[default]
    FailClosed,
    /// The server is asked about each credential (RFC 7662), and its answer is passed on for a second at most. Nobody
    /// gets in who shouldn't, at the price of a round trip for each request; where the server doesn't answer that
    /// either, the request is refused with 503. For when the feed is what fails: a proxy in between that holds it back.
    Introspect,
    /// Access tokens are accepted by their signature, and API keys that are remembered by what was last heard of them.
    /// Whoever was revoked since then still gets in: with a token until it expires, with a key until the feed is back.
    /// API keys that aren't remembered are asked about, and refused with 503 without an answer.
    KeepVerifyingSignatures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_a_name_for_settings() {
        for (policy, name) in [
            (WhenStale::FailClosed, "\"fail_closed\""),
            (WhenStale::Introspect, "\"introspect\""),
            (WhenStale::KeepVerifyingSignatures, "\"keep_verifying_signatures\""),
        ] {
            assert_eq!(serde_json::to_string(&policy).unwrap(), name);
            assert_eq!(serde_json::from_str::<WhenStale>(name).unwrap(), policy);
        }
        assert_eq!(WhenStale::default(), WhenStale::FailClosed);
    }
}

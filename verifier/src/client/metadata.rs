//! The authorization server's metadata (RFC 8414).

use serde::Deserialize;
use url::Url;

use super::build::BuildError;
use super::http::{Http, is_protected};

/// The endpoints that a resource server needs.
pub(super) struct Metadata {
    pub(super) jwks_uri: Url,
    pub(super) introspection_endpoint: Url,
    pub(super) revocations_endpoint: Url,
    /// What keys begin with that were made elsewhere and imported.
    pub(super) imported_prefixes: Vec<String>,
}

/// Members that are missing or unreadable are reported by name, so none is required here.
#[derive(Deserialize)]
struct Document {
    issuer: Option<String>,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    portcullis_revocations_endpoint: Option<String>,
    #[serde(default)]
    portcullis_imported_api_key_prefixes: Vec<String>,
}

/// The issuer as a URL, if it is one that may be asked (RFC 8414 §2: no query, no fragment).
pub(super) fn issuer_url(issuer: &str) -> Result<Url, BuildError> {
    let invalid = |reason| BuildError::InvalidIssuer { issuer: issuer.to_owned(), reason };
    let url: Url = issuer.parse().map_err(|_| invalid("it is no URL"))?;
    if !is_protected(&url) {
        return Err(invalid("it must begin with https:// (or http:// on this machine)"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it must have neither a query nor a fragment"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it must hold no user name or password"));
    }
    Ok(url)
}

/// `GET /.well-known/oauth-authorization-server`, RFC 8414 §3.
pub(super) async fn fetch(http: &Http, issuer: &str) -> Result<Metadata, BuildError> {
    let url = location(&issuer_url(issuer)?);
    let document = http
        .get(&url)
        .await
        .map_err(|source| BuildError::Metadata { url: url.to_string(), source: source.into() })?;
    let document: Document = serde_json::from_slice(&document.body)
        .map_err(|source| BuildError::Metadata { url: url.to_string(), source: source.into() })?;
    document.check(issuer)
}

/// The well-known path goes before the issuer's own (RFC 8414 §3.1).
fn location(issuer: &Url) -> Url {
    let mut url = issuer.clone();
    let path = issuer.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    url
}

impl Document {
    fn check(self, issuer: &str) -> Result<Metadata, BuildError> {
        // RFC 8414 §3.3: identical, or someone else's server is being impersonated.
        if self.issuer.as_deref() != Some(issuer) {
            return Err(BuildError::IssuerMismatch {
                expected: issuer.to_owned(),
                found: self.issuer.unwrap_or_default(),
            });
        }
        Ok(Metadata {
            jwks_uri: endpoint("jwks_uri", self.jwks_uri)?,
            introspection_endpoint: endpoint(
                "introspection_endpoint",
                self.introspection_endpoint,
            )?,
            revocations_endpoint: endpoint(
                "portcullis_revocations_endpoint",
                self.portcullis_revocations_endpoint,
            )?,
            imported_prefixes: self.portcullis_imported_api_key_prefixes,
        })
    }
}

fn endpoint(member: &'static str, value: Option<String>) -> Result<Url, BuildError> {
    let text = value.ok_or(BuildError::MissingEndpoint { member })?;
    match text.parse() {
        Ok(url) if is_protected(&url) => Ok(url),
        _ => Err(BuildError::UnusableEndpoint { member, url: text }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_well_known_path_is_inserted_before_the_issuers_own() {
        for (issuer, expected) in [
            ("https://a.example", "https://a.example/.well-known/oauth-authorization-server"),
            ("https://a.example/", "https://a.example/.well-known/oauth-authorization-server"),
            (
                "https://a.example/t/one",
                "https://a.example/.well-known/oauth-authorization-server/t/one",
            ),
            (
                "https://a.example:8443/t/",
                "https://a.example:8443/.well-known/oauth-authorization-server/t",
            ),
        ] {
            assert_eq!(location(&issuer_url(issuer).unwrap()).as_str(), expected);
        }
    }

    #[test]
    fn an_issuer_is_a_plain_protected_url() {
        for issuer in [
            "",
            "auth.example.com",
            "http://auth.example.com",
            "https://a.example?x",
            "https://a.example#x",
            "https://user:secret@a.example",
        ] {
            let refused = issuer_url(issuer);
            assert!(matches!(refused, Err(BuildError::InvalidIssuer { .. })), "{issuer}");
        }
    }

    #[test]
    fn what_is_missing_or_unprotected_is_named() {
        let document = json!({
            "issuer": "https://a.example",
            "jwks_uri": "https://a.example/jwks",
            "introspection_endpoint": "https://a.example/introspect",
            "portcullis_revocations_endpoint": "https://a.example/revocations",
        });
        let check = |member: &str, value: Value| {
            let mut document = document.clone();
            document[member] = value;
            let document: Document = serde_json::from_value(document).unwrap();
            document.check("https://a.example").map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(check("extra", json!(1)), Ok(()));
        let error = check("issuer", json!("https://a.example/")).unwrap_err();
        assert!(
            error.contains("\"https://a.example/\"") && error.contains("\"https://a.example\"")
        );
        assert!(check("issuer", Value::Null).is_err());
        for member in ["jwks_uri", "introspection_endpoint", "portcullis_revocations_endpoint"] {
            assert!(check(member, Value::Null).unwrap_err().contains(member));
            assert!(check(member, json!("http://b.example/x")).unwrap_err().contains(member));
            assert!(check(member, json!("/x")).unwrap_err().contains(member));
        }
    }
}

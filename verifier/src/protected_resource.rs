//! What an API says about itself, so that a client which was refused finds out whom to ask for a token (RFC 9728).

use serde::Serialize;
use url::Url;

use crate::scope::{Scope, ScopeError};

/// Where the document is, below the host and before the resource's own path (RFC 9728 §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What an API says about itself beyond its audience and its authorization server; for
/// [`VerifierBuilder::protected_resource`](crate::VerifierBuilder::protected_resource).
///
/// ```
/// use portcullis_verifier::ProtectedResource;
///
/// let tenants = ProtectedResource::new()
///     .scopes(["read:tenants", "write:tenants"])
///     .name("Tenants")
///     .documentation("https://docs.example.com/tenants");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProtectedResource {
    scopes: Vec<String>,
    name: Option<String>,
    documentation: Option<String>,
}

impl ProtectedResource {
    /// An API that says no more than where its tokens come from.
    pub fn new() -> ProtectedResource {
        ProtectedResource::default()
    }

    /// The scopes that its calls require: what a client should ask for.
    pub fn scopes(
        mut self,
        scopes: impl IntoIterator<Item = impl Into<String>>,
    ) -> ProtectedResource {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Its name, for people.
    pub fn name(mut self, name: impl Into<String>) -> ProtectedResource {
        self.name = Some(name.into());
        self
    }

    /// The URL of a page for whoever writes a client of it.
    pub fn documentation(mut self, url: impl Into<String>) -> ProtectedResource {
        self.documentation = Some(url.into());
        self
    }

    /// The document of the resource server with this audience, whose credentials this issuer makes.
    pub(crate) fn describe(
        &self,
        issuer: &str,
        audience: &str,
    ) -> Result<ResourceMetadata, ResourceError> {
        let mut location = resource_url(audience)?;
        for scope in &self.scopes {
            scope
                .parse::<Scope>()
                .map_err(|source| ResourceError::Scope { scope: scope.clone(), source })?;
        }
        if let Some(url) = &self.documentation {
            web_url(url).ok_or_else(|| ResourceError::Documentation { url: url.clone() })?;
        }
        let path = format!("{WELL_KNOWN}{}", own_path(&location));
        location.set_path(&path);
        let document = Document {
            resource: audience,
            authorization_servers: [issuer],
            scopes_supported: &self.scopes,
            bearer_methods_supported: ["header"],
            resource_name: self.name.as_deref(),
            resource_documentation: self.documentation.as_deref(),
        };
        let json = serde_json::to_string(&document).map_err(|_| ResourceError::Unwritable)?;
        Ok(ResourceMetadata { url: location.into(), path, json })
    }
}

/// Why an API can't describe itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// The document has its place below the URL that the audience is; this audience is none.
    #[error("the audience {audience:?} has no place for a description: {reason}")]
    Audience {
        /// The audience as it was given.
        audience: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One of the scopes is none.
    #[error("{scope:?} is no scope")]
    Scope {
        /// The text as it was given.
        scope: String,
        /// What is wrong with it.
        #[source]
        source: ScopeError,
    },
    /// The documentation has no `http` or `https` URL.
    #[error("the documentation {url:?} is no http or https URL")]
    Documentation {
        /// The text as it was given.
        url: String,
    },
    /// The document can't be written as JSON.
    #[error("the description can't be written as JSON")]
    Unwritable,
}

/// The metadata document of a resource server, and where it is to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceMetadata {
    url: String,
    path: String,
    json: String,
}

impl ResourceMetadata {
    /// The document's URL, as the challenges name it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path at which to serve it, on the host that the audience names.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The document, `application/json`.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// RFC 9728 §2.
#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    authorization_servers: [&'a str; 1],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes_supported: &'a [String],
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'a str>,
}

fn web_url(text: &str) -> Option<Url> {
    text.parse().ok().filter(|url: &Url| matches!(url.scheme(), "https" | "http"))
}

fn resource_url(audience: &str) -> Result<Url, ResourceError> {
    let refused = |reason| ResourceError::Audience { audience: audience.to_owned(), reason };
    let url = web_url(audience).ok_or_else(|| refused("it is no http or https URL"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it holds a user name or a password"));
    }
    // Routers would take these for patterns. Braces are percent-encoded by now.
    if url.path().split('/').any(|segment| segment.starts_with([':', '*'])) {
        return Err(refused("a segment of its path begins with `:` or `*`"));
    }
    Ok(url)
}

/// RFC 9728 §3.1: a slash that follows the host and nothing else is left out.
fn own_path(url: &Url) -> &str {
    match url.path() {
        "/" => "",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://auth.example.com";

    #[test]
    fn the_document_stands_between_host_and_path() {
        for (audience, path) in [
            ("https://api.example.com", WELL_KNOWN.to_owned()),
            ("https://api.example.com/", WELL_KNOWN.to_owned()),
            ("https://api.example.com/v1", format!("{WELL_KNOWN}/v1")),
            ("https://api.example.com/v1/", format!("{WELL_KNOWN}/v1/")),
            ("http://127.0.0.1:8081/a/b", format!("{WELL_KNOWN}/a/b")),
        ] {
            let described = ProtectedResource::new().describe(ISSUER, audience).unwrap();
            assert_eq!(described.path(), path);
            let host = audience.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            assert_eq!(described.url(), format!("{host}{path}"));
            // RFC 9728 §3.3: the value is the identifier, character by character.
            let document: Value = serde_json::from_str(described.json()).unwrap();
            assert_eq!(document["resource"], audience);
        }
    }

    #[test]
    fn what_was_not_said_is_left_out() {
        let bare = ProtectedResource::new().describe(ISSUER, "https://api.example.com").unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(bare.json()).unwrap(),
            json!({
                "resource": "https://api.example.com",
                "authorization_servers": [ISSUER],
                "bearer_methods_supported": ["header"],
            })
        );
        let full = ProtectedResource::new()
            .scopes(["read:tenants", "write:tenants"])
            .name("Tenants")
            .documentation("https://docs.example.com/tenants")
            .describe(ISSUER, "https://api.example.com")
            .unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(full.json()).unwrap(),
            json!({
                "resource": "https://api.example.com",
                "authorization_servers": [ISSUER],
                "scopes_supported": ["read:tenants", "write:tenants"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Tenants",
                "resource_documentation": "https://docs.example.com/tenants",
            })
        );
    }

    #[test]
    fn an_audience_that_is_no_place_is_refused() {
        for audience in [
            "",
            "tenants",
            "urn:example:tenants",
            "ftp://api.example.com",
            "https://api.example.com?x=1",
            "https://api.example.com/#x",
            "https://user:secret@api.example.com",
            "https://api.example.com/:v1",
            "https://api.example.com/v1/*all",
        ] {
            let refused = ProtectedResource::new().describe(ISSUER, audience);
            assert!(matches!(refused, Err(ResourceError::Audience { .. })), "{audience}");
        }
    }

    #[test]
    fn what_is_said_must_be_true_to_its_kind() {
        let describe = |resource: ProtectedResource| {
            resource.describe(ISSUER, "https://api.example.com").map(|_| ())
        };
        let resource = ProtectedResource::new().scopes(["read:tenants", "Read tenants"]);
        let refused = describe(resource).unwrap_err();
        assert!(matches!(&refused, ResourceError::Scope { scope, .. } if scope == "Read tenants"));
        for url in ["docs", "javascript:alert(1)"] {
            let refused = describe(ProtectedResource::new().documentation(url)).unwrap_err();
            assert!(matches!(refused, ResourceError::Documentation { .. }), "{url}");
        }
    }
}

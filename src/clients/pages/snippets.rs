//! Code to paste into an application, filled in with what is known of it; where its secret belongs stands a word that
//! is none.

use askama::Template;

use super::super::{Client, GrantType};

/// What stands in the place of the secret.
pub(super) const PLACEHOLDER: &str = "YOUR_CLIENT_SECRET";

/// What the code is filled in with.
pub(super) struct Values<'a> {
    pub issuer: &'a str,
    pub client: &'a Client,
    /// What to ask for, apart by spaces.
    pub scope: String,
    /// The API, where the application may ask for several.
    pub resource: Option<&'a str>,
}

/// Something to paste.
pub(super) struct Snippet {
    pub id: &'static str,
    pub title: &'static str,
    pub code: String,
}

impl Values<'_> {
    fn is_public(&self) -> bool {
        !self.client.is_confidential
    }

    /// Whether libraries must be told that there is no TLS.
    fn is_plain_http(&self) -> bool {
        self.issuer.starts_with("http://")
    }

    fn redirect_uri(&self) -> &str {
        self.client.redirect_uris.first().map_or("", String::as_str)
    }

    fn authorization_endpoint(&self) -> String {
        format!("{}/oauth/authorize", self.issuer)
    }

    fn token_endpoint(&self) -> String {
        format!("{}/oauth/token", self.issuer)
    }

    /// The client's credentials, as curl takes them.
    fn credentials(&self) -> String {
        format!("{}:{PLACEHOLDER}", self.client.id)
    }

    /// A parameter, as curl takes it.
    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn parameter(&self, name: &str, value: &str) -> String {
        format!("{name}={value}")
    }

    /// The address of an authorization request, but for what is made anew each time.
    fn authorization_request(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client.id.to_string())
            .append_pair("redirect_uri", self.redirect_uri())
            .append_pair("scope", &self.scope);
        if let Some(resource) = self.resource {
            query.append_pair("resource", resource);
        }
        format!("{}?{}", self.authorization_endpoint(), query.finish())
    }

    /// Code that sends people to log in and gets tokens for them.
    pub fn for_people(&self) -> askama::Result<Vec<Snippet>> {
        let snippet = |id, title, code| Snippet { id, title, code };
        Ok(vec![
            snippet("people-begin", "curl: send a browser", CurlBegin { it: self }.render()?),
            snippet("people-end", "curl: trade the code", CurlEnd { it: self }.render()?),
            snippet(
                "people-node",
                "Node: openid-client",
                Node { it: self, is_own: false }.render()?,
            ),
            snippet(
                "people-python",
                "Python: Authlib",
                Python { it: self, is_own: false }.render()?,
            ),
            snippet(
                "people-go",
                "Go: golang.org/x/oauth2",
                Go { it: self, is_own: false }.render()?,
            ),
        ])
    }

    /// Code that gets tokens for the application itself.
    pub fn for_itself(&self) -> askama::Result<Vec<Snippet>> {
        let snippet = |id, title, code| Snippet { id, title, code };
        Ok(vec![
            snippet("own-curl", "curl", CurlOwn { it: self }.render()?),
            snippet("own-node", "Node: openid-client", Node { it: self, is_own: true }.render()?),
            snippet("own-python", "Python: Authlib", Python { it: self, is_own: true }.render()?),
            snippet("own-go", "Go: golang.org/x/oauth2", Go { it: self, is_own: true }.render()?),
        ])
    }

    /// Whether tokens can be had anew without asking people.
    fn refreshes(&self) -> bool {
        self.client.may_use(GrantType::RefreshToken)
    }
}

#[derive(Template)]
#[template(path = "clients/pages/snippet_curl_own.txt", escape = "none")]
struct CurlOwn<'a> {
    it: &'a Values<'a>,
}

#[derive(Template)]
#[template(path = "clients/pages/snippet_curl_begin.txt", escape = "none")]
struct CurlBegin<'a> {
    it: &'a Values<'a>,
}

#[derive(Template)]
#[template(path = "clients/pages/snippet_curl_end.txt", escape = "none")]
struct CurlEnd<'a> {
    it: &'a Values<'a>,
}

#[derive(Template)]
#[template(path = "clients/pages/snippet_node.txt", escape = "none")]
struct Node<'a> {
    it: &'a Values<'a>,
    is_own: bool,
}

#[derive(Template)]
#[template(path = "clients/pages/snippet_python.txt", escape = "none")]
struct Python<'a> {
    it: &'a Values<'a>,
    is_own: bool,
}

#[derive(Template)]
#[template(path = "clients/pages/snippet_go.txt", escape = "none")]
struct Go<'a> {
    it: &'a Values<'a>,
    is_own: bool,
}

/// One word for a shell.
fn sh(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/=@,+".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A string literal of JSON, which JavaScript, Python and Go read alike.
fn literal(text: impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_one_word() {
        assert_eq!(sh("https://a.example/x"), "https://a.example/x");
        assert_eq!(sh("scope=a b"), "'scope=a b'");
        assert_eq!(sh("it's $(x)"), r"'it'\''s $(x)'");
        assert_eq!(literal("a\"b\\\u{1}"), r#""a\"b\\\u0001""#);
    }
}

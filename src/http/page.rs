//! Pages for people, and the headers that keep them from being framed, sniffed or scripted.

use askama::Template;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::PageError;

/// A rendered page.
pub struct Page<T> {
    template: T,
    status: StatusCode,
    form_target: Option<String>,
    image_source: Option<String>,
    /// In the place of the usual policy.
    policy: Option<&'static str>,
}

impl<T: Template> Page<T> {
    pub fn new(template: T) -> Self {
        let status = StatusCode::OK;
        Self { template, status, form_target: None, image_source: None, policy: None }
    }

    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Lets the page's forms end at this redirect URI too: browsers hold `form-action` against redirects as well.
    #[must_use]
    pub fn with_form_target(mut self, redirect_uri: &str) -> Self {
        self.form_target = form_source(redirect_uri);
        self
    }

    /// Gives the page a policy of its own.
    #[must_use]
    pub fn with_policy(mut self, policy: &'static str) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Lets the page show a picture from the origin of this URL too.
    #[must_use]
    pub fn with_image(mut self, uri: &str) -> Self {
        self.image_source = url::Url::parse(uri).ok().as_ref().and_then(origin_source);
        self
    }
}

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let html = match self.template.render() {
            Ok(html) => html,
            Err(error) => return PageError::from(error).into_response(),
        };
        let mut response = (self.status, Html(html)).into_response();
        let policy = match self.policy {
            Some(policy) => policy.to_owned(),
            None => {
                content_security_policy(self.form_target.as_deref(), self.image_source.as_deref())
            }
        };
        if let Ok(policy) = HeaderValue::try_from(policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What every page says of itself besides its policy: it is kept nowhere, no other site may have it as a part of its
/// own, and it asks for no powers over the device.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), serial=(), hid=(), midi=(), \
         display-capture=(), browsing-topics=()",
    ),
];

/// No script but ours, none in the page itself, no framing, nothing from elsewhere but pictures of one source, where it
/// is named; forms go to ourselves and, where named, to one target more.
#[must_use]
pub fn content_security_policy(form_target: Option<&str>, image_source: Option<&str>) -> String {
    let more = |source: Option<&str>| source.map(|it| format!(" {it}")).unwrap_or_default();
    let (target, image) = (more(form_target), more(image_source));
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'{image}; script-src 'self'; base-uri 'none'; \
         frame-ancestors 'none'; form-action 'self'{target}"
    )
}

/// The source expression that covers a redirect URI: its origin, or its scheme where it has no origin that
/// the grammar of source expressions can spell (private-use schemes, IPv6 addresses).
fn form_source(redirect_uri: &str) -> Option<String> {
    let uri = url::Url::parse(redirect_uri).ok()?;
    let scheme = uri.scheme();
    if !matches!(scheme, "http" | "https") || matches!(uri.host(), Some(url::Host::Ipv6(_))) {
        return Some(format!("{scheme}:"));
    }
    origin_source(&uri)
}

/// The source expression of a URL's origin, where its grammar can spell it.
fn origin_source(uri: &url::Url) -> Option<String> {
    // A URL's host may hold what ends a directive or a policy, or is a wildcard to it.
    let is_spellable =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    uri.host_str()?.bytes().all(is_spellable).then(|| uri.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_target_is_the_origin_or_the_scheme() {
        assert_eq!(
            form_source("https://app.example/cb?x=1").as_deref(),
            Some("https://app.example")
        );
        assert_eq!(
            form_source("http://127.0.0.1:4567/cb").as_deref(),
            Some("http://127.0.0.1:4567")
        );
        assert_eq!(form_source("http://[::1]:4567/cb").as_deref(), Some("http:"));
        assert_eq!(form_source("com.example.app:/cb").as_deref(), Some("com.example.app:"));
        let image = |uri: &str| origin_source(&uri.parse().unwrap());
        assert_eq!(image("https://app.example:8443/x.svg").unwrap(), "https://app.example:8443");
        for hostile in ["https://x;sandbox/x", "https://*.example/x", "http://[::1]/x"] {
            assert_eq!(image(hostile), None, "{hostile}");
        }
        for hostile in [
            "; script-src *",
            "https://x;sandbox/cb",
            "https://x,sandbox/cb",
            "https://*/cb",
            "https://*.example/cb",
            "https://'self'/cb",
        ] {
            assert_eq!(form_source(hostile), None, "{hostile}");
        }
    }
}

//! Talking to the authorization server: bounded in time and size, without redirects.

use std::time::Duration;

use reqwest::header::{
    ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A client that may present the resource server's credential. Never prints it.
pub(super) struct Http {
    client: reqwest::Client,
    credential: SecretString,
}

/// A public document.
pub(super) struct Document {
    pub(super) body: Vec<u8>,
    /// For how long it may be kept, if the server said so.
    pub(super) fresh_for: Option<Duration>,
}

/// Why a request to the authorization server brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection, no TLS, or no complete answer in time.
    #[error("no answer")]
    NoAnswer(#[source] reqwest::Error),
    /// The answer's status was not 200.
    #[error("the answer's status was {0}")]
    Status(u16),
    /// The answer's body was larger than 64 KiB.
    #[error("the answer was larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// The answer was not of the expected media type.
    #[error("the answer was no event stream")]
    NoEventStream,
    /// Nothing was heard for too long.
    #[error("no answer in time")]
    TimedOut,
}

impl FetchError {
    /// Whether the server was there and then was not, so that it may be another one that answers the next time.
    pub(super) fn is_broken_connection(&self) -> bool {
        matches!(self, FetchError::NoAnswer(error) if !error.is_timeout())
    }
}

impl Http {
    /// `loopback` says that the server is on this machine, which no proxy can reach.
    pub(super) fn new(credential: SecretString, loopback: bool) -> Result<Http, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("portcullis-verifier/", env!("CARGO_PKG_VERSION")));
        if loopback {
            builder = builder.no_proxy();
        }
        Ok(Http { client: builder.build()?, credential })
    }

    /// A public document.
    pub(super) async fn get(&self, url: &Url) -> Result<Document, FetchError> {
        let request = self.client.get(url.clone()).header(ACCEPT, "application/json");
        let response = send(request).await?;
        let fresh_for = fresh_for(response.headers());
        Ok(Document { body: bounded_body(response).await?, fresh_for })
    }

    /// A question that only an authenticated resource server may ask.
    pub(super) async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<Vec<u8>, FetchError> {
        let request = self.client.post(url.clone()).header(ACCEPT, "application/json").form(form);
        bounded_body(send(self.authenticate(request)).await?).await
    }

    /// Opens a stream of server-sent events, after `last_event_id` if there is one.
    pub(super) async fn open_events(
        &self,
        url: &Url,
        last_event_id: Option<i64>,
    ) -> Result<Response, FetchError> {
        let mut request = self.client.get(url.clone()).header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        // Not the request's own timeout: that would end the stream as well.
        let response = tokio::time::timeout(REQUEST_TIMEOUT, self.authenticate(request).send())
            .await
            .map_err(|_| FetchError::TimedOut)?
            .map_err(FetchError::NoAnswer)?;
        require_ok(&response)?;
        let is_event_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("text/event-stream"));
        if is_event_stream { Ok(response) } else { Err(FetchError::NoEventStream) }
    }

    fn authenticate(&self, request: RequestBuilder) -> RequestBuilder {
        let value = format!("Bearer {}", self.credential.expose_secret());
        match HeaderValue::try_from(value) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // The builder has refused such a credential; without one the server will.
            Err(_) => request,
        }
    }
}

/// The timeout is for the body as well.
async fn send(request: RequestBuilder) -> Result<Response, FetchError> {
    let response = request.timeout(REQUEST_TIMEOUT).send().await.map_err(FetchError::NoAnswer)?;
    require_ok(&response)?;
    Ok(response)
}

async fn bounded_body(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(FetchError::NoAnswer)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn require_ok(response: &Response) -> Result<(), FetchError> {
    match response.status() {
        StatusCode::OK => Ok(()),
        status => Err(FetchError::Status(status.as_u16())),
    }
}

/// What is left of the `max-age` of RFC 9111 §5.2.2.1. `no-store` and `no-cache` leave nothing.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut max_age = None;
    for directive in directives {
        match directive.split_once('=').unwrap_or((&directive, "")) {
            ("no-store" | "no-cache", _) => return Some(Duration::ZERO),
            ("max-age", seconds) => max_age = seconds.trim_matches('"').parse::<u64>().ok(),
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    max_age.map(|seconds| Duration::from_secs(seconds.saturating_sub(age.unwrap_or(0))))
}

/// Whether a URL leads to this very machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether credentials may be sent there: over TLS, or without leaving the machine.
pub(super) fn is_protected(url: &Url) -> bool {
    url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_fresh_for_as_long_as_its_headers_say() {
        let fresh = |cache_control: &'static str, age: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
            headers.insert(AGE, HeaderValue::from_static(age));
            fresh_for(&headers).map(|duration| duration.as_secs())
        };
        assert_eq!(fresh_for(&HeaderMap::new()), None);
        assert_eq!(fresh("public, max-age=300", ""), Some(300));
        assert_eq!(fresh("MAX-AGE=\"300\"", "100"), Some(200));
        assert_eq!(fresh("max-age=300", "400"), Some(0));
        assert_eq!(fresh("max-age=300, no-cache", ""), Some(0));
        assert_eq!(fresh("no-store", ""), Some(0));
        assert_eq!(fresh("public", ""), None);
        assert_eq!(fresh("max-age=-1", ""), None);
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        let protected = |text: &str| is_protected(&text.parse().unwrap());
        for text in [
            "https://auth.example.com",
            "http://localhost:8080/",
            "http://127.0.0.1:8080/x",
            "http://127.1.2.3",
            "http://[::1]:8080",
        ] {
            assert!(protected(text), "{text}");
        }
        for text in [
            "http://auth.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[::2]",
            "ftp://localhost",
            "file:///etc/passwd",
            "data:,x",
        ] {
            assert!(!protected(text), "{text}");
        }
    }
}

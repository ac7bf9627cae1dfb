//! Requests that leave the server over HTTP: to addresses that the settings name, without following redirects, and
//! within bounds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::{Host, Url};

/// A client that follows no redirect and gives up after `limit`, the answer's body included.
///
/// # Errors
/// When the certificates of the operating system can't be read.
pub fn client(limit: Duration) -> Result<Client> {
    Client::builder()
        .redirect(Policy::none())
        .timeout(limit)
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client can't be made")
}

/// The URL that a setting names: `https`, or `http` to this machine itself, and without a password.
///
/// # Errors
/// The sentence that says what is wrong. It does not repeat the value.
pub fn checked_url(setting: &str, text: &str) -> Result<Url, String> {
    let wrong = || format!("{setting} must be a URL such as https://example.com/hook");
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{setting} must not hold a user name or password"));
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_loopback(&host) => Ok(url),
        ("http", _) => Err(format!("{setting} must use https unless it is on a loopback address")),
        _ => Err(wrong()),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// The body of an answer, which may have so many bytes.
///
/// # Errors
/// When it has more, or breaks off.
pub async fn body_up_to(mut response: Response, most: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
        ensure!(body.len() + chunk.len() <= most, "the answer is larger than {most} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_encrypted_or_on_this_machine() {
        for url in [
            "https://example.com/hook?a=b",
            "https://192.0.2.1",
            "http://localhost:8080/x",
            "http://127.0.0.9/x",
            "http://[::1]:80/x",
        ] {
            assert!(checked_url("webhook.url", url).is_ok(), "{url}");
        }
        for url in [
            "",
            "example.com",
            "ftp://example.com",
            "http://example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "https://me:hunter2@example.com",
            "https://me@example.com",
            "file:///etc/passwd",
        ] {
            let sentence = checked_url("webhook.url", url).unwrap_err();
            assert!(
                sentence.contains("webhook.url") && !sentence.contains("hunter2"),
                "{sentence}"
            );
        }
    }
}

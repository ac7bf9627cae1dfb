//! What a server is asked about what was found: whether it is live, and to end it.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::Url;

use super::{Kind, State};
use crate::clients::is_loopback;

/// The server takes 1,000 a call, but no request above 64 KiB, which so many of the longest stay below.
const AT_ONCE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(20);

/// A Portcullis server, as anybody can reach it.
pub struct Server {
    url: String,
    http: Client,
}

/// No server can be asked there: one plain sentence.
#[derive(Debug, thiserror::Error)]
pub enum BadServer {
    #[error("--server must be an https URL; http only on a loopback address")]
    Url,
    #[error("the HTTP client can't be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Not everything was handed over.
#[derive(Debug, thiserror::Error)]
#[error("{handed_over} of {all} credentials were handed to the server, the others not: {why}")]
pub struct NotRevoked {
    handed_over: usize,
    all: usize,
    why: String,
}

impl Server {
    /// The server at this issuer URL.
    ///
    /// # Errors
    /// When secrets can't be sent there.
    pub fn at(issuer: &str) -> Result<Self, BadServer> {
        let url = Url::parse(issuer).map_err(|_| BadServer::Url)?;
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        if !is_safe || url.query().is_some() || url.fragment().is_some() {
            return Err(BadServer::Url);
        }
        // A redirect would carry secrets elsewhere.
        let http =
            Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE).build()?;
        Ok(Self { url: url.as_str().trim_end_matches('/').to_owned(), http })
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the credential works. Only an API key can be asked about: it may always ask who it is.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn state(&self, kind: Kind, secret: &SecretString) -> Result<State, String> {
        if kind != Kind::ApiKey {
            return Ok(State::Unknown);
        }
        let request = self.http.get(format!("{}/v1/me", self.url));
        let answer = request.bearer_auth(secret.expose_secret()).send().await;
        match answer.map_err(why)?.status() {
            // 403: good, but not for this.
            StatusCode::OK | StatusCode::FORBIDDEN => Ok(State::Live),
            StatusCode::UNAUTHORIZED => Ok(State::NotAcceptedFromHere),
            other => Err(format!("it answered {other}")),
        }
    }

    /// Hands credentials to the server, which ends what it knows of them and tells nobody here what that was.
    ///
    /// # Errors
    /// When the server did not take all of them.
    pub async fn revoke(&self, secrets: &[&SecretString]) -> Result<(), NotRevoked> {
        for (at, batch) in secrets.chunks(AT_ONCE).enumerate() {
            let credentials: Vec<&str> = batch.iter().map(|it| it.expose_secret()).collect();
            let request = self.http.post(format!("{}/v1/credentials:revoke", self.url));
            let answer = request.json(&json!({ "credentials": credentials })).send().await;
            let why = match answer {
                Ok(answer) if answer.status() == StatusCode::ACCEPTED => continue,
                Ok(answer) => format!("it answered {}", answer.status()),
                Err(error) => why(error),
            };
            return Err(NotRevoked { handed_over: at * AT_ONCE, all: secrets.len(), why });
        }
        Ok(())
    }
}

/// The innermost cause; the outer ones only repeat the URL.
fn why(error: reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_sent_only_where_nobody_listens() {
        for url in [
            "https://auth.example.com",
            "https://example.com/auth/",
            "http://127.0.0.1:8080",
            "http://localhost",
        ] {
            assert!(Server::at(url).is_ok(), "{url}");
        }
        assert_eq!(
            Server::at("https://example.com/auth/").ok().unwrap().url(),
            "https://example.com/auth"
        );
        for url in
            ["http://auth.example.com", "auth.example.com", "file:///tmp", "https://a.example?x"]
        {
            assert!(Server::at(url).is_err(), "{url}");
        }
    }
}

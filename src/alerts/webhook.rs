//! The webhook, in the form and with the signature of Standard Webhooks (<https://www.standardwebhooks.com>).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entity::Timestamp;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::Url;

use super::{Queued, WebhookSettings};
use crate::platform::fetch;

/// For everything, from the name's look-up to the answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Where alerts are posted to.
pub(super) struct Webhook {
    http: reqwest::Client,
    url: Url,
    key: hmac::Key,
}

pub(super) fn check(settings: &WebhookSettings) -> Result<(), String> {
    match (settings.url.as_str(), settings.secret.expose_secret()) {
        ("", "") => Ok(()),
        ("", _) => {
            Err("webhook.url and webhook.secret must be set together; webhook.url is missing"
                .to_owned())
        }
        (_, "") => {
            Err("webhook.url and webhook.secret must be set together; webhook.secret is missing"
                .to_owned())
        }
        (url, _) => {
            fetch::checked_url("webhook.url", url)?;
            key(&settings.secret).map(|_| ())
        }
    }
}

fn key(secret: &SecretString) -> Result<hmac::Key, String> {
    let bytes =
        secret.expose_secret().strip_prefix("whsec_").and_then(|it| STANDARD.decode(it).ok());
    match bytes {
        Some(bytes) if (24..=64).contains(&bytes.len()) => {
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        }
        _ => Err("webhook.secret must be whsec_ and the base64 of 24 to 64 bytes".to_owned()),
    }
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings) -> Result<Option<Self>> {
        settings.check().map_err(anyhow::Error::msg)?;
        if settings.url.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            http: fetch::client(LIMIT)?,
            url: fetch::checked_url("webhook.url", &settings.url).map_err(anyhow::Error::msg)?,
            key: key(&settings.secret).map_err(anyhow::Error::msg)?,
        }))
    }

    /// Posts one alert. An attempt that is repeated bears the same id, by which the receiver knows it.
    pub(super) async fn post(&self, now: Timestamp, queued: &Queued) -> Result<()> {
        let body = json!({
            "type": queued.kind.as_str(),
            "timestamp": queued.at,
            "data": queued.body,
        })
        .to_string();
        let (id, at) = (queued.id.to_string(), now.unix_seconds());
        let signature = signature(&self.key, &id, at, &body);
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body(body);
        // What the answer says beside its status is nobody's business, and is not read.
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        let status = answer.context("the webhook did not answer")?.status();
        ensure!(status.is_success(), "the webhook answered {}", status.as_u16());
        Ok(())
    }
}

fn signature(key: &hmac::Key, id: &str, at: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = r#"{"test": 2432232314}"#;
        let signed =
            signature(&key(&secret).unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn url_and_secret_are_checked_and_the_secret_is_never_told() {
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let check = |url: &str, secret: &str| {
            check(&WebhookSettings { url: url.to_owned(), secret: secret.into() })
        };
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check("https://example.com/hook", good), Ok(()));
        for (url, secret) in [
            ("", good),
            ("https://example.com/hook", ""),
            ("https://example.com/hook", "hunter2"),
            ("https://example.com/hook", "whsec_hunter2"),
            ("https://example.com/hook", "whsec_aHVudGVyMg=="),
            ("http://example.com/hook", good),
        ] {
            let sentence = check(url, secret).unwrap_err();
            assert!(sentence.contains("webhook."), "{sentence}");
            assert!(secret.is_empty() || !sentence.contains(secret), "{sentence}");
        }
    }
}

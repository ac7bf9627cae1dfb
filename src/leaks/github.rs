//! GitHub's public keys and signatures, as its secret-scanning partner program has them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entity::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::SecretScanningSettings;
use crate::platform::fetch;

/// For everything, from the name's look-up to the last byte.
const LIMIT: Duration = Duration::from_secs(5);
const MAX_DOCUMENT: usize = 256 * 1024;
const MAX_KEYS: usize = 100;
/// GitHub is asked no more often than this, however many unknown keys strangers name.
const PAUSE: Duration = Duration::from_secs(60);
/// After how long the keys are read anew although all that were named are known: GitHub may have withdrawn one.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// What stands before the point of a P-256 key in DER: the algorithm and the curve.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An uncompressed point of P-256.
type Point = [u8; 65];

/// Tells what GitHub has signed.
pub struct GithubKeys {
    /// None where GitHub may report nothing.
    source: Option<(reqwest::Client, Url)>,
    known: RwLock<HashMap<String, Point>>,
    fetching: Mutex<Fetching>,
}

#[derive(Default)]
struct Fetching {
    tried_at: Option<Timestamp>,
    /// When the keys were read, or found to be still the same.
    read_at: Option<Timestamp>,
    etag: Option<HeaderValue>,
}

/// GitHub's keys can't be had at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("GitHub's public keys can't be read")]
pub struct Unavailable;

#[derive(Deserialize)]
struct Document {
    public_keys: Vec<DocumentKey>,
}

#[derive(Deserialize)]
struct DocumentKey {
    key_identifier: String,
    key: String,
}

impl GithubKeys {
    /// It connects to nothing yet.
    ///
    /// # Errors
    /// When the settings are wrong, or the certificates of the operating system can't be read.
    pub fn new(settings: &SecretScanningSettings) -> Result<Self> {
        settings.check().map_err(anyhow::Error::msg)?;
        let name = "secret_scanning.github_keys_url";
        let url =
            fetch::checked_url(name, &settings.github_keys_url).map_err(anyhow::Error::msg)?;
        let source = match settings.github {
            true => Some((fetch::client(LIMIT)?, url)),
            false => None,
        };
        Ok(Self { source, known: RwLock::default(), fetching: Mutex::default() })
    }

    /// Whether GitHub may report anything here.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.source.is_some()
    }

    /// Whether this is GitHub's signature of just these bytes, under the key of that name. An unknown key is asked for,
    /// once a minute at most.
    ///
    /// # Errors
    /// When the key is not known and GitHub's keys can't be had.
    pub async fn have_signed(
        &self,
        now: Timestamp,
        identifier: &str,
        signature: &[u8],
        body: &[u8],
    ) -> Result<bool, Unavailable> {
        self.refresh(now, identifier).await?;
        let Some(point) = self.find(identifier) else { return Ok(false) };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        Ok(key.verify(body, signature).is_ok())
    }

    fn find(&self, identifier: &str) -> Option<Point> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(identifier).copied()
    }

    /// Reads the keys where that is due, and not too soon.
    async fn refresh(&self, now: Timestamp, identifier: &str) -> Result<(), Unavailable> {
        let Some((http, url)) = &self.source else { return Err(Unavailable) };
        let mut fetching = self.fetching.lock().await;
        let is_fresh = fetching.read_at.is_some_and(|at| now.since(at) < STALE);
        let is_known = self.find(identifier).is_some();
        if is_known && is_fresh {
            return Ok(());
        }
        let has_just_tried = fetching.tried_at.is_some_and(|at| now.since(at) < PAUSE);
        // What is known serves while it can't be renewed. After a failure nobody can say that a key is unknown.
        let has_failed = fetching.tried_at != fetching.read_at;
        if has_just_tried {
            return if is_known || !has_failed { Ok(()) } else { Err(Unavailable) };
        }
        fetching.tried_at = Some(now);
        match self.read(http, url, &mut fetching.etag).await {
            Ok(()) => {
                fetching.read_at = Some(now);
                Ok(())
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "GitHub's public keys can't be read");
                if is_known { Ok(()) } else { Err(Unavailable) }
            }
        }
    }

    async fn read(
        &self,
        http: &reqwest::Client,
        url: &Url,
        etag: &mut Option<HeaderValue>,
    ) -> Result<()> {
        let mut request = http.get(url.clone());
        if let Some(etag) = etag.clone() {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let answer = request.send().await.context("there is no answer")?;
        let new_etag = answer.headers().get(ETAG).cloned();
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(()),
            status => bail!("the answer is {}", status.as_u16()),
        }
        let body = fetch::body_up_to(answer, MAX_DOCUMENT).await?;
        let keys = parsed(&body)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
        *etag = new_etag;
        Ok(())
    }
}

fn parsed(document: &[u8]) -> Result<HashMap<String, Point>> {
    let document: Document =
        serde_json::from_slice(document).context("the answer is no list of keys")?;
    let mut keys = HashMap::new();
    for entry in document.public_keys.into_iter().take(MAX_KEYS) {
        // One of another kind is none that anything is signed with here.
        match point(&entry.key) {
            Some(point) => drop(keys.insert(entry.key_identifier, point)),
            None => tracing::warn!("GitHub has a public key that is not one of P-256"),
        }
    }
    Ok(keys)
}

/// The point of a P-256 key in PEM.
fn point(pem: &str) -> Option<Point> {
    let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?;
    let body = body.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    der.strip_prefix(&P256_SPKI)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\nAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n";
    const BODY: &str = r#"[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]"#;
    /// Its `s` is 31 bytes long.
    const SIGNATURE: &str = "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==";

    fn is_signed(signature: &str, body: &str) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point(PEM).unwrap());
        key.verify(body.as_bytes(), &STANDARD.decode(signature).unwrap()).is_ok()
    }

    #[test]
    fn githubs_own_example_is_accepted_and_nothing_that_differs_from_it() {
        assert_eq!(BODY.len(), 104);
        assert!(is_signed(SIGNATURE, BODY));
        assert!(!is_signed(SIGNATURE, &format!("{BODY}\n")));
        assert!(!is_signed(SIGNATURE, &BODY.replace("some_token", "same_token")));
        assert!(!is_signed("", BODY));
        assert!(!is_signed("MAYCAQACAQA=", BODY), "zeros sign nothing");
    }

    #[test]
    fn only_keys_of_the_one_curve_are_read() {
        let document = |key: &str| {
            serde_json::json!({ "public_keys": [
                { "key_identifier": "a", "key": key, "is_current": true },
            ]})
            .to_string()
        };
        assert_eq!(parsed(document(PEM).as_bytes()).unwrap().len(), 1);
        let inner = PEM.lines().nth(1).unwrap();
        for bad in ["", "nonsense", inner, &PEM.replace("MFkw", "MFkx"), &PEM.replace("Vw==", "")] {
            assert!(parsed(document(bad).as_bytes()).unwrap().is_empty(), "{bad}");
        }
        assert!(parsed(b"{}").is_err() && parsed(b"[]").is_err() && parsed(b"").is_err());
    }
}

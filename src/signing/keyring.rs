//! The keys that matter now, ready for use: private halves parsed once, the JWKS rendered once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use portcullis_verifier::KeySet;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::Algorithm;
use crate::platform::document::Document;

/// Where a key stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Upcoming,
    Active,
    Retiring,
    Retired,
}

impl State {
    const ALL: [Self; 4] = [Self::Upcoming, Self::Active, Self::Retiring, Self::Retired];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// A stored key, opened.
pub(super) struct OpenedKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub public: Jwk,
    /// Only of an active key.
    pub pkcs8: Option<SecretSlice<u8>>,
}

pub(super) struct Keyring {
    active: BTreeMap<Algorithm, ActiveKey>,
    pub public: Arc<KeySet>,
    /// The public keys as the JWKS endpoint serves them.
    pub jwks: Document,
}

/// What is signed. The `typ` of its header keeps one kind from passing for another (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 9068 §2.1.
    AccessToken,
    /// draft-ietf-oauth-status-list, section 5.1.
    StatusList,
}

struct ActiveKey {
    /// `base64url(header) "."`, the same for every token of this key and kind.
    access_token_header: String,
    status_list_header: String,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(rsa::KeyPair),
}

impl Keyring {
    pub fn new(keys: Vec<OpenedKey>) -> Result<Self> {
        let mut active = BTreeMap::new();
        for key in &keys {
            if let Some(pkcs8) = &key.pkcs8 {
                active.insert(
                    key.algorithm,
                    ActiveKey::new(&key.kid, key.algorithm, pkcs8.expose_secret())?,
                );
            }
        }
        let set = JwkSet { keys: keys.into_iter().map(|key| key.public).collect() };
        let jwks = Document::new(serde_json::to_string(&set)?);
        let public = Arc::new(KeySet::from_jwks(&set)?);
        Ok(Self { active, public, jwks })
    }

    pub fn has_active(&self, algorithm: Algorithm) -> bool {
        self.active.contains_key(&algorithm)
    }

    /// The signed token: header, claims, signature.
    pub fn sign(&self, algorithm: Algorithm, kind: Kind, claims: &[u8]) -> Result<String> {
        let key = self
            .active
            .get(&algorithm)
            .with_context(|| format!("there is no active key for {algorithm}"))?;
        let header = match kind {
            Kind::AccessToken => &key.access_token_header,
            Kind::StatusList => &key.status_list_header,
        };
        // Room for an RS256 signature too.
        let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 350);
        token.push_str(header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let mut rsa_signature = Vec::new();
        let ecdsa_signature;
        let eddsa_signature;
        let signature: &[u8] = match &key.pair {
            Pair::Es256(pair) => {
                ecdsa_signature =
                    pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| failed())?;
                ecdsa_signature.as_ref()
            }
            Pair::EdDsa(pair) => {
                eddsa_signature = pair.sign(token.as_bytes());
                eddsa_signature.as_ref()
            }
            Pair::Rs256(pair) => {
                rsa_signature.resize(pair.public_modulus_len(), 0);
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    token.as_bytes(),
                    &mut rsa_signature,
                )
                .map_err(|_| failed())?;
                &rsa_signature
            }
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

fn failed() -> anyhow::Error {
    anyhow!("signing failed")
}

impl ActiveKey {
    fn new(kid: &str, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self> {
        let unreadable = |_| anyhow!("the private key {kid} can't be read");
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Es256(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                    .map_err(unreadable)?,
            ),
            Algorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(unreadable)?),
            Algorithm::Rs256 => Pair::Rs256(rsa::KeyPair::from_pkcs8(pkcs8).map_err(unreadable)?),
        };
        let header = |typ: &str| {
            let header = serde_json::json!({ "typ": typ, "alg": algorithm.as_str(), "kid": kid });
            URL_SAFE_NO_PAD.encode(header.to_string()) + "."
        };
        let (access_token_header, status_list_header) =
            (header("at+jwt"), header("statuslist+jwt"));
        Ok(Self { access_token_header, status_list_header, pair })
    }
}

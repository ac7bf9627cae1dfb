use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, Result};
use portcullis_verifier::KeySet;
use serde::Serialize;

use super::keyring::{Keyring, Kind};
use super::{Algorithm, store};
use crate::platform::db::Db;
use crate::platform::document::Document;
use crate::platform::master_key::SealingKey;

/// Signs tokens with the active keys, and knows the public ones.
pub struct Signer {
    sealing_key: SealingKey,
    keyring: RwLock<Arc<Keyring>>,
}

impl Signer {
    /// Reads the keys from the database.
    ///
    /// # Errors
    /// When the database fails or a key was sealed under another master key.
    pub async fn load(db: &Db, sealing_key: SealingKey) -> Result<Self> {
        let keyring = read(db, &sealing_key).await?;
        Ok(Self { sealing_key, keyring: RwLock::new(Arc::new(keyring)) })
    }

    /// Reads the keys anew.
    ///
    /// # Errors
    /// As `load`; the keys of before stay in use then.
    pub async fn reload(&self, db: &Db) -> Result<()> {
        let keyring = Arc::new(read(db, &self.sealing_key).await?);
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring;
        Ok(())
    }

    /// Signs claims as an access token (`typ: at+jwt`, RFC 9068 §2.1).
    ///
    /// # Errors
    /// When there is no active key for the algorithm.
    pub fn sign(&self, algorithm: Algorithm, claims: &impl Serialize) -> Result<String> {
        self.keyring().sign(algorithm, Kind::AccessToken, &serde_json::to_vec(claims)?)
    }

    /// Signs claims as a status list (`typ: statuslist+jwt`).
    ///
    /// # Errors
    /// When there is no active key for the algorithm.
    pub fn sign_status_list(
        &self,
        algorithm: Algorithm,
        claims: &impl Serialize,
    ) -> Result<String> {
        self.keyring().sign(algorithm, Kind::StatusList, &serde_json::to_vec(claims)?)
    }

    #[must_use]
    pub fn has_active(&self, algorithm: Algorithm) -> bool {
        self.keyring().has_active(algorithm)
    }

    /// The keys that our tokens may be signed with.
    #[must_use]
    pub fn public_keys(&self) -> Arc<KeySet> {
        self.keyring().public.clone()
    }

    /// The public keys as they are published (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Document {
        self.keyring().jwks.clone()
    }

    fn keyring(&self) -> Arc<Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn read(db: &Db, sealing_key: &SealingKey) -> Result<Keyring> {
    let keys = store::open_published(db.reader(), sealing_key)
        .await
        .context("the signing keys can't be read")?;
    Keyring::new(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::generate::generate;
    use crate::signing::keyring::OpenedKey;
    use portcullis_verifier::token::TokenError;
    use portcullis_verifier::{AccessTokenClaims, Expected, verify_access_token};

    #[test]
    fn what_each_algorithm_signs_the_verifier_accepts() -> Result<()> {
        let keys = Algorithm::ALL
            .into_iter()
            .map(|algorithm| {
                let key = generate(algorithm)?;
                Ok(OpenedKey {
                    kid: key.kid,
                    algorithm,
                    public: key.public,
                    pkcs8: Some(key.pkcs8),
                })
            })
            .collect::<Result<_>>()?;
        let keyring = Keyring::new(keys)?;
        let claims: AccessTokenClaims = serde_json::from_value(serde_json::json!({
            "iss": "https://issuer.example", "sub": "usr_1", "aud": "https://api.example.com", "exp": 2000,
            "iat": 1000, "jti": "tok_1", "client_id": "app_1", "scope": "read:tenants"
        }))?;
        for algorithm in Algorithm::ALL {
            let signed = |kind| keyring.sign(algorithm, kind, &serde_json::to_vec(&claims)?);
            let token = signed(Kind::AccessToken)?;
            let expected = Expected {
                issuer: "https://issuer.example",
                audience: Some("https://api.example.com"),
                leeway_seconds: 0,
            };
            let read = verify_access_token(&token, &keyring.public, &expected, 1500);
            assert_eq!(read.map(|claims| claims.sub).ok().as_deref(), Some("usr_1"), "{algorithm}");
            let other = signed(Kind::StatusList)?;
            let refused = verify_access_token(&other, &keyring.public, &expected, 1500).err();
            assert_eq!(refused, Some(TokenError::WrongType), "it passes for an access token");
        }
        Ok(())
    }
}

//! New key pairs, and their public halves as JWKs.

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use secrecy::SecretSlice;

use super::Algorithm;

/// A key pair fresh from the random generator.
pub(super) struct Generated {
    /// RFC 7638 thumbprint of the public key.
    pub kid: String,
    pub algorithm: Algorithm,
    pub public: Jwk,
    pub pkcs8: SecretSlice<u8>,
}

pub(super) fn generate(algorithm: Algorithm) -> Result<Generated> {
    let random = SystemRandom::new();
    let failed = |_| anyhow!("can't generate a key for {algorithm}");
    let (pkcs8, encoding, jwt_algorithm) = match algorithm {
        Algorithm::Es256 => {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(failed)?;
            let pkcs8 = pkcs8.as_ref().to_vec();
            let encoding = EncodingKey::from_ec_der(&pkcs8);
            (pkcs8, encoding, jsonwebtoken::Algorithm::ES256)
        }
        Algorithm::EdDsa => {
            // Version 1: jsonwebtoken reads no other.
            let pkcs8 =
                Ed25519KeyPair::generate_pkcs8v1(&random).map_err(failed)?.as_ref().to_vec();
            let encoding = EncodingKey::from_ed_der(&pkcs8);
            (pkcs8, encoding, jsonwebtoken::Algorithm::EdDSA)
        }
        Algorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?.as_ref().to_vec();
            let body = STANDARD.encode(&pkcs8);
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            let encoding = EncodingKey::from_rsa_pem(pem.as_bytes())
                .context("an RSA key can't be read back")?;
            (pkcs8, encoding, jsonwebtoken::Algorithm::RS256)
        }
    };
    let mut public =
        Jwk::from_encoding_key(&encoding, jwt_algorithm).context("a key has no public half")?;
    let kid = public.thumbprint(ThumbprintHash::SHA256).context("a key has no thumbprint")?;
    public.common.key_id = Some(kid.clone());
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(Generated { kid, algorithm, public, pkcs8: pkcs8.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_jwk_holds_nothing_private() -> Result<()> {
        for algorithm in Algorithm::ALL {
            let generated = generate(algorithm)?;
            let json = serde_json::to_value(&generated.public)?;
            assert_eq!(json["kid"], generated.kid);
            assert_eq!(json["alg"], algorithm.as_str());
            assert_eq!(json["use"], "sig");
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(json.get(private).is_none(), "{algorithm}: {private}");
            }
        }
        Ok(())
    }
}

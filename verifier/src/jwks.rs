//! The public keys of an authorization server: a JWK Set (RFC 7517) narrowed to what may verify an access token.

use std::collections::HashMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Verification keys by their `kid`.
///
/// Only ES256, EdDSA (Ed25519) and RS256 (2048 to 8192 bits) keys are taken in. Keys of another type, for another
/// use, for another algorithm or without a `kid` are passed over, as RFC 7517 §5 asks; of several with the same
/// `kid` the first wins.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: HashMap<String, VerificationKey>,
}

/// One key and the only algorithm that it verifies, so that a token can't choose its own.
#[derive(Clone)]
pub(crate) struct VerificationKey {
    /// As it was published, to tell whether it is still the same.
    parameters: AlgorithmParameters,
    pub(crate) algorithm: Algorithm,
    key: DecodingKey,
    /// The same as `key`, where it can be read once for all tokens. `None` of an RSA key, and of one that is no point of
    /// the curve.
    parsed: Option<ParsedPublicKey>,
}

/// Why a JWK Set was refused as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The document is larger than [`KeySet::MAX_BYTES`].
    #[error("the key set is larger than {max} bytes", max = KeySet::MAX_BYTES)]
    TooLarge,
    /// The set has more than [`KeySet::MAX_KEYS`] keys.
    #[error("the key set has more than {max} keys", max = KeySet::MAX_KEYS)]
    TooManyKeys,
    /// The document is not a JSON object with an array `keys`.
    #[error("the document is no JWK Set")]
    Malformed(#[source] serde_json::Error),
}

impl KeySet {
    /// The greatest size of a JWK Set document, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The greatest number of keys, those included that are passed over.
    pub const MAX_KEYS: usize = 64;

    /// Reads a JWK Set document.
    pub fn from_json(json: &[u8]) -> Result<KeySet, KeySetError> {
        /// Not `JwkSet`, in which one unreadable key would spoil the others.
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        if json.len() > KeySet::MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let document: Document = serde_json::from_slice(json).map_err(KeySetError::Malformed)?;
        if document.keys.len() > KeySet::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let readable =
            document.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(KeySet::from_keys(readable))
    }

    /// Takes the keys of a JWK Set that has been read already.
    pub fn from_jwks(jwks: &JwkSet) -> Result<KeySet, KeySetError> {
        if jwks.keys.len() > KeySet::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        Ok(KeySet::from_keys(jwks.keys.iter().cloned()))
    }

    fn from_keys(jwks: impl Iterator<Item = Jwk>) -> KeySet {
        let mut keys = HashMap::new();
        for jwk in jwks {
            if let (Some(kid), Some(key)) = (&jwk.common.key_id, VerificationKey::from_jwk(&jwk)) {
                keys.entry(kid.clone()).or_insert(key);
            }
        }
        KeySet { keys }
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is a key with this `kid`.
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Whether each key of `other` is here, and the same.
    pub(crate) fn has_all_of(&self, other: &KeySet) -> bool {
        other.keys.iter().all(|(kid, key)| {
            self.find(kid).is_some_and(|found| found.parameters == key.parameters)
        })
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&VerificationKey> {
        self.keys.get(kid)
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl VerificationKey {
    fn from_jwk(jwk: &Jwk) -> Option<VerificationKey> {
        let common = &jwk.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let algorithm = algorithm_of(&jwk.algorithm)?;
        let matches =
            common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(algorithm));
        if !for_signatures || !matches {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        let parsed = parse(algorithm, &key);
        Some(VerificationKey { parameters: jwk.algorithm.clone(), algorithm, key, parsed })
    }

    /// Whether `signature`, in base64url, is one of `message` by this key. `None` if it isn't even base64url.
    pub(crate) fn verifies(&self, message: &str, signature: &str) -> Option<bool> {
        let message = message.as_bytes();
        match &self.parsed {
            Some(key) => {
                let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
                Some(key.verify_sig(message, &signature).is_ok())
            }
            None => {
                jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm).ok()
            }
        }
    }
}

fn parse(algorithm: Algorithm, key: &DecodingKey) -> Option<ParsedPublicKey> {
    let bytes = key.try_get_as_bytes().ok()?;
    match algorithm {
        Algorithm::ES256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).ok(),
        Algorithm::EdDSA => ParsedPublicKey::new(&ED25519, bytes).ok(),
        _ => None,
    }
}

fn algorithm_of(parameters: &AlgorithmParameters) -> Option<Algorithm> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    match parameters {
        AlgorithmParameters::EllipticCurve(ec) => {
            let coordinates_fit = decode(&ec.x)?.len() == 32 && decode(&ec.y)?.len() == 32;
            (ec.curve == EllipticCurve::P256 && coordinates_fit).then_some(Algorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(okp) => {
            let fits = okp.curve == EllipticCurve::Ed25519 && decode(&okp.x)?.len() == 32;
            fits.then_some(Algorithm::EdDSA)
        }
        AlgorithmParameters::RSA(rsa) => {
            let bits = significant_bits(&decode(&rsa.n)?);
            (2048..=8192).contains(&bits).then_some(Algorithm::RS256)
        }
        _ => None,
    }
}

fn significant_bits(big_endian: &[u8]) -> usize {
    let leading_zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    match big_endian.get(leading_zeros) {
        Some(first) => (big_endian.len() - leading_zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ec(kid: &str) -> Value {
        let coordinate = URL_SAFE_NO_PAD.encode([1; 32]);
        json!({"kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate, "kid": kid})
    }

    fn ed(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 32]), "kid": kid})
    }

    fn rsa(kid: &str, modulus: &[u8]) -> Value {
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB", "kid": kid})
    }

    fn with(mut jwk: Value, member: &str, value: Value) -> Value {
        jwk[member] = value;
        jwk
    }

    fn read(keys: Vec<Value>) -> KeySet {
        let json = serde_json::to_vec(&json!({ "keys": keys })).unwrap();
        KeySet::from_json(&json).unwrap()
    }

    #[test]
    fn the_three_algorithms_are_taken_with_or_without_alg_and_use() {
        let keys = read(vec![
            ec("a"),
            with(ec("b"), "alg", json!("ES256")),
            ed("c"),
            with(ed("d"), "alg", json!("EdDSA")),
            rsa("e", &[0xff; 256]),
            with(rsa("f", &[0xff; 256]), "use", json!("sig")),
            with(ec("g"), "key_ops", json!(["verify"])),
        ]);
        assert_eq!(keys.len(), 7);
        assert_eq!(keys.find("a").map(|key| key.algorithm), Some(Algorithm::ES256));
        assert_eq!(keys.find("c").map(|key| key.algorithm), Some(Algorithm::EdDSA));
        assert_eq!(keys.find("e").map(|key| key.algorithm), Some(Algorithm::RS256));
    }

    #[test]
    fn unfit_keys_are_passed_over_without_spoiling_the_others() {
        let keys = read(vec![
            json!({"kty": "oct", "k": "AAAA", "kid": "symmetric"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "unknown type"}),
            json!("no object"),
            json!({}),
            with(ec("encryption"), "use", json!("enc")),
            with(ec("other operation"), "key_ops", json!(["sign"])),
            with(ec("other algorithm"), "alg", json!("ES384")),
            with(ec("hmac"), "alg", json!("HS256")),
            with(ec("other curve"), "crv", json!("P-384")),
            with(ec("short coordinate"), "x", json!("AQ")),
            with(ed("short key"), "x", json!("AQ")),
            with(rsa("pss", &[0xff; 256]), "alg", json!("PS256")),
            rsa("1024 bits", &[0xff; 128]),
            rsa("2047 bits", &[&[0x7f][..], &[0xff; 255]].concat()),
            rsa("padded", &[&[0; 200][..], &[0xff; 128]].concat()),
            rsa("huge", &[0xff; 1025]),
            with(ec(""), "kid", Value::Null),
            ed("good"),
        ]);
        assert_eq!(format!("{keys:?}"), r#"{"good"}"#);
    }

    #[test]
    fn a_key_that_has_gone_or_is_another_is_missed() {
        let both = read(vec![ec("a"), ed("b")]);
        assert!(both.has_all_of(&read(vec![])) && both.has_all_of(&both));
        assert!(both.has_all_of(&read(vec![ed("b")])));
        assert!(!read(vec![ed("b")]).has_all_of(&both));
        let changed = with(ed("b"), "x", json!(URL_SAFE_NO_PAD.encode([2; 32])));
        assert!(!read(vec![ec("a"), changed]).has_all_of(&both));
        assert!(!read(vec![ec("a"), ec("b")]).has_all_of(&both));
    }

    #[test]
    fn the_first_of_two_keys_with_one_id_wins() {
        let keys = read(vec![ed("a"), ec("a")]);
        assert_eq!(keys.find("a").map(|key| key.algorithm), Some(Algorithm::EdDSA));
    }

    #[test]
    fn a_document_is_limited_and_must_be_a_key_set() {
        assert!(read(vec![]).is_empty());
        for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
            let error = KeySet::from_json(text.as_bytes());
            assert!(matches!(error, Err(KeySetError::Malformed(_))), "{text}");
        }
        let many = serde_json::to_vec(&json!({ "keys": vec![json!({}); 65] })).unwrap();
        assert!(matches!(KeySet::from_json(&many), Err(KeySetError::TooManyKeys)));
        let large = vec![b' '; KeySet::MAX_BYTES + 1];
        assert!(matches!(KeySet::from_json(&large), Err(KeySetError::TooLarge)));
    }
}

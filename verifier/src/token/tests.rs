use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://auth.example.com";
const AUDIENCE: &str = "https://api.example.com";
const NOW: i64 = 1_700_000_000;
const EXPECTED: Expected<'static> =
    Expected { issuer: ISSUER, audience: Some(AUDIENCE), leeway_seconds: 5 };

struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Jwk,
}

impl Issuer {
    fn new(kid: &str, algorithm: Algorithm) -> Issuer {
        let key = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().unwrap();
                EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            _ => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let pem = format!(
                    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                    STANDARD.encode(AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref())
                );
                EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
            }
        };
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        Issuer { algorithm, key, jwk }
    }

    fn keys(&self) -> KeySet {
        let jwks = JwkSet { keys: vec![self.jwk.clone()] };
        KeySet::from_jwks(&jwks).unwrap()
    }

    fn signs(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(json).unwrap())
}

fn header() -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "usr_1", "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW, "jti": "tok_1",
        "client_id": "app_1", "scope": "read:tenants", "org": "org_1", "grant": "gnt_1", "extra": {"a": 1},
    })
}

fn with(mut json: Value, member: &str, value: Value) -> Value {
    json[member] = value;
    json
}

fn without(mut json: Value, member: &str) -> Value {
    json.as_object_mut().unwrap().remove(member);
    json
}

#[test]
fn a_good_token_of_each_algorithm_is_accepted() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
        let issuer = Issuer::new("k1", algorithm);
        let token = issuer.signs(&with(header(), "alg", json!(algorithm)), &claims());
        let read = verify_access_token(&token, &issuer.keys(), &EXPECTED, NOW).unwrap();
        assert_eq!((read.sub.as_str(), read.jti.as_str()), ("usr_1", "tok_1"));
        assert_eq!(read.scope.to_string(), "read:tenants");
        assert_eq!(read.grant.as_deref(), Some("gnt_1"));
    }
}

#[test]
fn the_type_may_be_spelled_out_and_in_any_case_but_must_be_there() {
    let issuer = Issuer::new("k1", Algorithm::ES256);
    let verify = |header: &Value| {
        verify_access_token(&issuer.signs(header, &claims()), &issuer.keys(), &EXPECTED, NOW)
    };
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(verify(&with(header(), "typ", json!(typ))).is_ok(), "{typ}");
    }
    for typ in ["JWT", "jwt", "", "at+jwt ", "secevent+jwt", "logout+jwt"] {
        let refused = verify(&with(header(), "typ", json!(typ)));
        assert_eq!(refused, Err(TokenError::WrongType), "{typ}");
    }
    assert_eq!(verify(&without(header(), "typ")), Err(TokenError::WrongType));
    assert_eq!(verify(&with(header(), "typ", json!(1))), Err(TokenError::Malformed));
}

#[test]
fn any_critical_header_is_refused() {
    let issuer = Issuer::new("k1", Algorithm::ES256);
    for crit in [json!(["b64"]), json!([]), json!("x"), Value::Null] {
        let token = issuer.signs(&with(header(), "crit", crit), &claims());
        let refused = verify_access_token(&token, &issuer.keys(), &EXPECTED, NOW);
        assert_eq!(refused, Err(TokenError::UnsupportedCritical));
    }
}

#[test]
fn a_token_cannot_choose_its_algorithm() {
    let issuer = Issuer::new("k1", Algorithm::ES256);
    let keys = issuer.keys();
    let refused = |token: &str| verify_access_token(token, &keys, &EXPECTED, NOW).unwrap_err();

    for alg in ["none", "None", "HS256", "ES384", "RS256", "EdDSA", ""] {
        let token = issuer.signs(&with(header(), "alg", json!(alg)), &claims());
        assert_eq!(refused(&token), TokenError::WrongAlgorithm, "{alg}");
    }
    let unsigned = format!("{}.{}.", part(&with(header(), "alg", json!("none"))), part(&claims()));
    assert_eq!(refused(&unsigned), TokenError::WrongAlgorithm);
    let unsigned = format!("{}.{}.", part(&header()), part(&claims()));
    assert_eq!(refused(&unsigned), TokenError::BadSignature);

    // HMAC with the public key as the secret, in each form that a careless library might take it.
    let jwk = serde_json::to_value(&issuer.jwk).unwrap();
    let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let y = URL_SAFE_NO_PAD.decode(jwk["y"].as_str().unwrap()).unwrap();
    let point = [&[4][..], &x, &y].concat();
    for secret in [point, x, serde_json::to_vec(&jwk).unwrap()] {
        for alg in ["HS256", "ES256"] {
            let message =
                format!("{}.{}", part(&with(header(), "alg", json!(alg))), part(&claims()));
            let key = EncodingKey::from_secret(&secret);
            let signature =
                jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            let error = refused(&format!("{message}.{signature}"));
            assert!(matches!(error, TokenError::WrongAlgorithm | TokenError::BadSignature));
        }
    }
}

#[test]
fn keys_come_from_the_key_set_alone() {
    let (issuer, stranger) =
        (Issuer::new("k1", Algorithm::ES256), Issuer::new("k1", Algorithm::ES256));
    let keys = issuer.keys();
    let refused = |token: String| verify_access_token(&token, &keys, &EXPECTED, NOW).unwrap_err();

    assert_eq!(refused(stranger.signs(&header(), &claims())), TokenError::BadSignature);
    let brought_along = with(header(), "jwk", serde_json::to_value(&stranger.jwk).unwrap());
    assert_eq!(refused(stranger.signs(&brought_along, &claims())), TokenError::BadSignature);
    assert_eq!(
        refused(issuer.signs(&with(header(), "kid", json!("k2")), &claims())),
        TokenError::UnknownKey { kid: "k2".to_owned() }
    );
    assert_eq!(refused(issuer.signs(&without(header(), "kid"), &claims())), TokenError::Malformed);
    let long = json!("k".repeat(257));
    assert_eq!(
        refused(issuer.signs(&with(header(), "kid", long), &claims())),
        TokenError::Malformed
    );
}

#[test]
fn issuer_audience_and_time_are_checked() {
    let issuer = Issuer::new("k1", Algorithm::ES256);
    let keys = issuer.keys();
    let verify = |claims: &Value| {
        verify_access_token(&issuer.signs(&header(), claims), &keys, &EXPECTED, NOW).map(|_| ())
    };
    let changed = |claim: &str, value: Value| verify(&with(claims(), claim, value));

    assert_eq!(changed("iss", json!("https://auth.example.com/")), Err(TokenError::WrongIssuer));
    assert_eq!(changed("aud", json!("https://other.example.com")), Err(TokenError::WrongAudience));
    assert_eq!(changed("aud", json!([])), Err(TokenError::WrongAudience));
    assert_eq!(changed("aud", json!(["https://other.example.com", AUDIENCE])), Ok(()));
    assert_eq!(changed("exp", json!(NOW - 5)), Err(TokenError::Expired));
    assert_eq!(changed("exp", json!(NOW - 4)), Ok(()));
    assert_eq!(changed("exp", json!(i64::MIN)), Err(TokenError::Expired));
    assert_eq!(changed("exp", json!(i64::MAX)), Ok(()));
    assert_eq!(changed("nbf", json!(NOW + 6)), Err(TokenError::NotYetValid));
    assert_eq!(changed("nbf", json!(NOW + 5)), Ok(()));

    let token = issuer.signs(&header(), &with(claims(), "aud", json!("https://other.example.com")));
    let any_audience = Expected { audience: None, ..EXPECTED };
    assert!(verify_access_token(&token, &keys, &any_audience, NOW).is_ok());
    let endless = Expected { leeway_seconds: u64::MAX, ..EXPECTED };
    assert!(
        verify_access_token(&issuer.signs(&header(), &claims()), &keys, &endless, i64::MAX - 1)
            .is_ok()
    );
}

#[test]
fn what_is_no_jwt_is_malformed() {
    let issuer = Issuer::new("k1", Algorithm::ES256);
    let keys = issuer.keys();
    let verify = |token: &str| verify_access_token(token, &keys, &EXPECTED, NOW).unwrap_err();

    for claim in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"] {
        let token = issuer.signs(&header(), &without(claims(), claim));
        assert_eq!(verify(&token), TokenError::Malformed, "{claim}");
    }
    for (claim, value) in [("exp", json!("soon")), ("scope", json!("READ")), ("org", json!(1))] {
        let token = issuer.signs(&header(), &with(claims(), claim, value));
        assert_eq!(verify(&token), TokenError::Malformed, "{claim}");
    }
    let token = issuer.signs(&header(), &claims());
    for text in ["", ".", "..", "a.b", "a.b.c.d", &format!("{token}.x"), &token.replace('.', "..")]
    {
        assert_eq!(verify(text), TokenError::Malformed, "{text}");
    }
    assert_eq!(verify(&format!("{token}{}", "A".repeat(MAX_LENGTH))), TokenError::TooLong);
    let truncated = &token[..token.len() - 4];
    assert!(matches!(verify(truncated), TokenError::BadSignature | TokenError::Malformed));
}

use std::time::{Duration, Instant};

use futures::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_verifier::Rejection;
use portcullis_verifier::rejection::{InvalidToken, Unavailability};
use serde_json::{Value, json};

use super::authorization_server::{AuthorizationServer, now, unsigned};
use super::{check, until, verifier};

fn with(mut json: Value, member: &str, value: Value) -> Value {
    json[member] = value;
    json
}

fn refused(reason: InvalidToken) -> Result<String, Rejection> {
    Err(Rejection::InvalidToken(reason))
}

#[tokio::test]
async fn a_good_token_is_accepted_and_says_who_is_calling() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let caller = check(&verifier, &server.issues(&server.claims())).await.unwrap();
    assert_eq!((caller.subject(), caller.organization()), ("usr_1", Some("org_1")));
    assert_eq!(caller.client(), Some("app_1"));
    assert_eq!(caller.require("read:tenants"), Ok(()));
    assert!(caller.require("write:tenants").is_err());
    assert_eq!(server.introspections(), 0);
}

#[tokio::test]
async fn tokens_that_are_not_for_us_or_not_valid_now_are_refused() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let claims = server.claims();
    for (claim, value, reason) in [
        ("aud", json!("https://other.example.com"), InvalidToken::WrongAudience),
        ("iss", json!("https://other.example.com"), InvalidToken::NotAccepted),
        ("exp", json!(now() - 60), InvalidToken::Expired),
        ("nbf", json!(now() + 60), InvalidToken::NotYetValid),
        ("jti", Value::Null, InvalidToken::Malformed),
    ] {
        let token = server.issues(&with(claims.clone(), claim, value));
        let answer = check(&verifier, &token).await.map(|caller| caller.subject().to_owned());
        assert_eq!(answer, refused(reason), "{claim}");
    }
    for (member, value) in [
        ("typ", json!("JWT")),
        ("typ", Value::Null),
        ("crit", json!(["exp"])),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES384")),
    ] {
        let token = server.signs(&with(server.header(), member, value.clone()), &claims);
        let answer = check(&verifier, &token).await.map(|caller| caller.subject().to_owned());
        assert_eq!(answer, refused(InvalidToken::NotAccepted), "{member} {value}");
    }
}

#[tokio::test]
async fn a_token_without_a_signature_or_signed_with_the_public_key_is_refused() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let claims = server.claims();
    let none = unsigned(&with(server.header(), "alg", json!("none")), &claims);
    let hmac = unsigned(&with(server.header(), "alg", json!("HS256")), &claims);
    let public_key = EncodingKey::from_secret(&serde_json::to_vec(&server.jwks()[0]).unwrap());
    let mac = jsonwebtoken::crypto::sign(hmac.as_bytes(), &public_key, Algorithm::HS256).unwrap();
    for token in [format!("{none}."), format!("{hmac}.{mac}")] {
        let answer = check(&verifier, &token).await.map(|caller| caller.subject().to_owned());
        assert_eq!(answer, refused(InvalidToken::NotAccepted));
    }
}

#[tokio::test]
async fn a_token_signed_with_a_new_key_fetches_the_keys_once() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    assert_eq!(server.jwks_asked(), 1);
    server.rotates_its_signing_key();
    let token = server.issues(&server.claims());
    let answers = join_all((0..20).map(|_| check(&verifier, &token))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.jwks_asked(), 2);
}

#[tokio::test]
async fn made_up_key_ids_ask_for_the_keys_at_most_once_a_second() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let begun = Instant::now();
    for n in 0..50 {
        let header = with(server.header(), "kid", json!(format!("made up {n}")));
        let answer = check(&verifier, &server.signs(&header, &server.claims())).await;
        assert_eq!(answer, Err(Rejection::InvalidToken(InvalidToken::NotAccepted)));
    }
    let at_most = 2 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!((2..=at_most).contains(&server.jwks_asked()));
}

#[tokio::test]
async fn an_unknown_key_is_no_fault_of_the_token_when_the_keys_cannot_be_had() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let old = server.issues(&server.claims());
    server.rotates_its_signing_key();
    server.serves_its_keys(false);
    let new = server.issues(&server.claims());
    let answer = check(&verifier, &new).await;
    assert_eq!(answer, Err(Rejection::Unavailable(Unavailability::AuthorizationServer)));
    assert!(check(&verifier, &old).await.is_ok(), "the keys at hand stay good");
    server.serves_its_keys(true);
    until(async || check(&verifier, &new).await.is_ok()).await;
}

#[tokio::test]
async fn whatever_a_token_descends_from_can_be_revoked() {
    for subject in ["tok_1", "gnt_1", "app_1", "usr_1", "org_1", "prj_1"] {
        let server = AuthorizationServer::start().await;
        let verifier = verifier(&server).await;
        let token = server.issues(&server.claims());
        assert!(check(&verifier, &token).await.is_ok());
        server.revokes("tok_2");
        let begun = Instant::now();
        server.revokes(subject);
        until(async || check(&verifier, &token).await.is_err()).await;
        assert!(begun.elapsed() < Duration::from_secs(2));
        let answer = check(&verifier, &token).await.map(|caller| caller.subject().to_owned());
        assert_eq!(answer, refused(InvalidToken::NotAccepted), "{subject}");
    }
}

#[tokio::test]
async fn a_change_can_ask_for_tokens_that_are_newer() {
    for subject in ["tok_1", "gnt_1", "app_1", "usr_1", "org_1", "prj_1"] {
        let server = AuthorizationServer::start().await;
        let verifier = verifier(&server).await;
        let issued_at = |iat: i64| server.issues(&with(server.claims(), "iat", json!(iat)));
        let changed_at = now();
        let (old, new) = (issued_at(changed_at - 1), issued_at(changed_at));
        let seq = server.changes(subject);
        until(async || verifier.revocations().last_seq() == seq).await;
        assert!(check(&verifier, &old).await.is_ok(), "{subject}: a mere change");
        server.outdates_tokens(subject, changed_at);
        until(async || check(&verifier, &old).await.is_err()).await;
        let answer = check(&verifier, &old).await.map(|caller| caller.subject().to_owned());
        assert_eq!(answer, refused(InvalidToken::NotAccepted), "{subject}");
        assert!(check(&verifier, &new).await.is_ok(), "{subject}: refreshed");
    }
}

#[tokio::test]
async fn a_header_that_is_no_bearer_token_is_refused() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let context = Default::default();
    assert_eq!(verifier.verify(None, &context).await, Err(Rejection::MissingCredential));
    let basic = verifier.verify(Some("Basic YTpi"), &context).await;
    assert_eq!(basic, Err(Rejection::MissingCredential));
    let empty = verifier.verify(Some("Bearer "), &context).await;
    assert!(matches!(empty, Err(Rejection::MalformedRequest(_))));
}

use std::time::{Duration, Instant};

use futures::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_verifier::rejection::{InvalidToken, Unavailability};
use portcullis_verifier::{Rejection, RequestContext};
use serde_json::{Value, json};

use super::authorization_server::{AuthorizationServer, now, unsigned};
use super::{builder, check, later, until, verifier};

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

#[tokio::test]
async fn a_token_is_checked_once_and_then_remembered() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let token = server.issues(&server.claims());
    for _ in 0..5 {
        assert!(check(&verifier, &token).await.is_ok());
    }
    let health = verifier.health();
    assert_eq!((health.checks.accepted_anew, health.checks.accepted_from_memory), (1, 4));
    assert_eq!(health.remembered_tokens, 1);
    // The text is all that counts: a token that differs in one character of its signature is another one.
    let last = if token.ends_with('A') { "B" } else { "A" };
    let other = format!("{}{last}", &token[..token.len() - 2]);
    assert!(check(&verifier, &other).await.is_err());
    assert_eq!(verifier.health().remembered_tokens, 1, "what is refused isn't remembered");
}

#[tokio::test]
async fn a_remembered_token_is_forgotten_when_it_dies() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let token = server.issues(&server.claims());
    assert!(check(&verifier, &token).await.is_ok());
    let seq = server.revokes("tok_2");
    until(async || verifier.revocations().last_seq() == seq).await;
    assert!(check(&verifier, &token).await.is_ok(), "another's end is none of its");
    server.revokes("gnt_1");
    until(async || check(&verifier, &token).await.is_err()).await;
    let answer = check(&verifier, &token).await.map(|caller| caller.subject().to_owned());
    assert_eq!(answer, refused(InvalidToken::NotAccepted));
    assert_eq!(verifier.health().remembered_tokens, 0);
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_expires() {
    let server = AuthorizationServer::start().await;
    let verifier = builder(&server).leeway(Duration::ZERO).build().await.unwrap();
    let token = server.issues(&with(server.claims(), "exp", json!(now() + 2)));
    assert!(check(&verifier, &token).await.is_ok());
    assert!(check(&verifier, &token).await.is_ok());
    until(async || check(&verifier, &token).await.is_err()).await;
    let answer = check(&verifier, &token).await.map(|caller| caller.subject().to_owned());
    assert_eq!(answer, refused(InvalidToken::Expired));
    assert_eq!(verifier.health().remembered_tokens, 0);
}

#[tokio::test]
async fn a_remembered_token_keeps_to_its_networks() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let claims = with(server.claims(), "allowed_ips", json!(["192.0.2.0/24"]));
    let header = format!("Bearer {}", server.issues(&claims));
    let is_accepted = async |address: &str| {
        let client_address = Some(address.parse().unwrap());
        let context = RequestContext { client_address, ..RequestContext::default() };
        verifier.verify(Some(&header), &context).await.is_ok()
    };
    for _ in 0..2 {
        assert!(!is_accepted("198.51.100.1").await);
        assert!(is_accepted("192.0.2.1").await);
    }
}

#[tokio::test]
async fn only_so_many_tokens_are_remembered() {
    let server = AuthorizationServer::start().await;
    for (most, expected) in [(0, 0), (3, 3)] {
        let verifier = builder(&server).remember_tokens(most).build().await.unwrap();
        for _ in 0..10 {
            assert!(check(&verifier, &server.issues(&server.claims())).await.is_ok());
        }
        assert_eq!(verifier.health().remembered_tokens, expected);
    }
}

#[tokio::test]
async fn a_signing_key_that_is_withdrawn_takes_its_tokens_along() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let old = server.issues(&server.claims());
    assert!(check(&verifier, &old).await.is_ok());
    server.rotates_its_signing_key();
    let new = server.issues(&server.claims());
    assert!(check(&verifier, &new).await.is_ok());
    let anew = verifier.health().checks.accepted_anew;
    assert!(check(&verifier, &old).await.is_ok());
    assert_eq!(verifier.health().checks.accepted_anew, anew, "a key that comes costs nothing");

    server.retires_its_oldest_key();
    let asked = server.jwks_asked();
    later(Duration::from_secs(300)).await;
    until(async || server.jwks_asked() > asked && verifier.health().signing_keys == 1).await;
    let answer = async || check(&verifier, &old).await.map(|caller| caller.subject().to_owned());
    until(async || answer().await == refused(InvalidToken::NotAccepted)).await;
    assert!(check(&verifier, &new).await.is_ok());
    assert_eq!(verifier.health().remembered_tokens, 1);
}

//! What becomes of requests while the authorization server is away.

use std::time::Duration;

use futures::future::join_all;
use portcullis_verifier::rejection::{InvalidToken, Unavailability};
use portcullis_verifier::{Principal, Rejection, RequestContext, Verifier, WhenStale};
use serde_json::json;

use super::authorization_server::{AuthorizationServer, now};
use super::{builder, check, later, until};

const STALE: Rejection = Rejection::Unavailable(Unavailability::RevocationFeed);
const NO_ANSWER: Rejection = Rejection::Unavailable(Unavailability::AuthorizationServer);
const NOT_ACCEPTED: Rejection = Rejection::InvalidToken(InvalidToken::NotAccepted);
const LONG: Duration = Duration::from_secs(10 * 60);

async fn verifier(server: &AuthorizationServer, when_stale: WhenStale) -> Verifier {
    builder(server).when_stale(when_stale).build().await.unwrap()
}

/// With a policy of the request's own.
async fn check_by(
    policy: WhenStale,
    verifier: &Verifier,
    credential: &str,
) -> Result<Principal, Rejection> {
    let context = RequestContext { when_stale: Some(policy), ..RequestContext::default() };
    verifier.verify(Some(&format!("Bearer {credential}")), &context).await
}

/// The feed ends and nothing comes back, but the endpoints go on answering.
async fn loses_its_feed(server: &AuthorizationServer, verifier: &Verifier) {
    server.refuses_listeners(Some(axum::http::StatusCode::BAD_GATEWAY));
    server.drops_its_listeners();
    until(async || server.last_event_ids().len() > 1).await;
    later(LONG).await;
    assert!(!verifier.is_available());
}

#[tokio::test]
async fn what_was_learned_stays_valid_for_as_long_as_it_may_and_then_nothing_is() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::FailClosed).await;
    let (token, other) = (server.issues(&server.claims()), server.issues(&server.claims()));
    let (key, new) = (server.makes_key("key_1", json!({})), server.makes_key("key_2", json!({})));
    assert!(check(&verifier, &token).await.is_ok());
    assert!(check(&verifier, &key).await.is_ok());
    server.is_away(true);
    until(async || verifier.health().feed_interruptions > 0).await;

    // Five minutes are the default.
    for _ in 0..4 {
        later(Duration::from_secs(70)).await;
        assert!(check(&verifier, &token).await.is_ok());
        assert!(check(&verifier, &other).await.is_ok(), "its key is known");
        assert!(check(&verifier, &key).await.is_ok());
        assert_eq!(check(&verifier, &new).await, Err(NO_ANSWER));
    }
    later(Duration::from_secs(30)).await;
    for credential in [token.as_str(), &other, &key, &new] {
        assert_eq!(check(&verifier, credential).await, Err(STALE));
    }

    server.is_away(false);
    until(async || check(&verifier, &token).await.is_ok()).await;
    assert!(check(&verifier, &key).await.is_ok());
    assert!(check(&verifier, &new).await.is_ok());
}

#[tokio::test]
async fn a_known_key_needs_no_answer_while_the_feed_lives() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::FailClosed).await;
    let key = server.makes_key("key_1", json!({}));
    assert!(check(&verifier, &key).await.is_ok());
    server.answers_introspections(false);
    for _ in 0..3 {
        later(LONG).await;
        until(async || verifier.is_available()).await;
        assert!(check(&verifier, &key).await.is_ok());
    }
    assert!(server.introspections() > 1, "it was asked for");
    server.revokes("key_1");
    until(async || check(&verifier, &key).await == Err(NOT_ACCEPTED)).await;
}

#[tokio::test]
async fn a_known_key_is_asked_about_again_while_it_is_used() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::FailClosed).await;
    let key = server.makes_key("key_1", json!({}));
    assert!(check(&verifier, &key).await.is_ok());
    server.describes_key(&key, "key_1", json!({"scope": "read:users"}));
    later(Duration::from_secs(61)).await;
    until(async || verifier.is_available()).await;
    // Behind the back of whoever uses it, and once however many do.
    server.holds_introspections(true);
    let answers = join_all((0..20).map(|_| check(&verifier, &key))).await;
    assert!(answers.iter().all(|caller| caller.as_ref().unwrap().require("read:tenants").is_ok()));
    server.holds_introspections(false);
    let has_new_scope =
        async || check(&verifier, &key).await.unwrap().require("read:users").is_ok();
    until(has_new_scope).await;
    assert_eq!(server.introspections(), 2);

    // One that the server no longer knows is refused, even if the log never said so.
    server.describes_key(&key, "key_1", json!({"active": false}));
    later(Duration::from_secs(61)).await;
    until(async || verifier.is_available()).await;
    until(async || check(&verifier, &key).await == Err(NOT_ACCEPTED)).await;
}

#[tokio::test]
async fn introspection_decides_each_time() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::Introspect).await;
    let token = server.issues(&server.claims());
    let key = server.makes_key("key_1", json!({}));
    assert!(check(&verifier, &token).await.is_ok());
    assert!(check(&verifier, &key).await.is_ok());
    assert_eq!(server.introspections(), 1);
    loses_its_feed(&server, &verifier).await;

    // The token is remembered and its signature is good; the server doesn't vouch for it, though.
    assert_eq!(check(&verifier, &token).await, Err(NOT_ACCEPTED));
    server.answers_for_token(&token, true);
    until(async || check(&verifier, &token).await.is_ok()).await;
    server.answers_for_token(&token, false);
    until(async || check(&verifier, &token).await == Err(NOT_ACCEPTED)).await;
    let forged = format!("{}x", &token[..token.len() - 1]);
    let asked = server.introspections();
    assert!(check(&verifier, &forged).await.is_err());
    assert_eq!(server.introspections(), asked, "nobody is asked about a forgery");

    assert!(check(&verifier, &key).await.is_ok());
    server.describes_key(&key, "key_1", json!({"active": false}));
    until(async || check(&verifier, &key).await == Err(NOT_ACCEPTED)).await;

    // What isn't answered is refused, and the refusal isn't remembered.
    server.answers_introspections(false);
    server.describes_key(&key, "key_1", json!({}));
    server.answers_for_token(&token, true);
    until(async || check(&verifier, &token).await == Err(NO_ANSWER)).await;
    until(async || check(&verifier, &key).await == Err(NO_ANSWER)).await;
    server.answers_introspections(true);
    until(async || check(&verifier, &token).await.is_ok()).await;
    until(async || check(&verifier, &key).await.is_ok()).await;
}

#[tokio::test]
async fn concurrent_live_checks_share_one_question() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::Introspect).await;
    let token = server.issues(&server.claims());
    let key = server.makes_key("key_1", json!({}));
    server.answers_for_token(&token, true);
    loses_its_feed(&server, &verifier).await;
    for credential in [&token, &key] {
        let before = server.introspections();
        server.holds_introspections(true);
        let checks = join_all((0..20).map(|_| check(&verifier, credential)));
        let release = async {
            until(async || server.introspections() > before).await;
            server.holds_introspections(false);
        };
        let (answers, ()) = tokio::join!(checks, release);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(server.introspections(), before + 1);
    }
}

#[tokio::test]
async fn signatures_and_what_is_known_go_on_if_that_is_wanted() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::KeepVerifyingSignatures).await;
    let claims = |jti: &str| {
        let mut claims = server.claims();
        claims["jti"] = json!(jti);
        claims
    };
    let (token, other) = (server.issues(&claims("tok_1")), server.issues(&claims("tok_2")));
    let revoked = server.issues(&claims("tok_3"));
    let key = server.makes_key("key_1", json!({"exp": now() + 600}));
    let revoked_key = server.makes_key("key_2", json!({"org": "org_2"}));
    let ending = server.makes_key("key_3", json!({"exp": now() + 1}));
    for key in [&key, &revoked_key, &ending] {
        assert!(check(&verifier, key).await.is_ok());
    }
    assert!(check(&verifier, &token).await.is_ok());
    server.revokes("tok_3");
    let seq = server.revokes("key_2");
    until(async || verifier.revocations().last_seq() == seq).await;
    let new = server.makes_key("key_4", json!({}));
    server.is_away(true);
    until(async || server.last_event_ids().len() > 1).await;
    later(LONG).await;
    assert!(!verifier.is_available());

    assert!(check(&verifier, &token).await.is_ok());
    assert!(check(&verifier, &other).await.is_ok(), "it was never seen before");
    assert_eq!(check(&verifier, &revoked).await, Err(NOT_ACCEPTED));
    assert!(check(&verifier, &key).await.is_ok());
    assert_eq!(check(&verifier, &revoked_key).await, Err(NOT_ACCEPTED));
    assert_eq!(check(&verifier, &new).await, Err(NO_ANSWER));
    let expired = Rejection::InvalidToken(InvalidToken::Expired);
    until(async || check(&verifier, &ending).await == Err(expired.clone())).await;

    // A key that isn't known is asked about as ever.
    server.answers_introspections(true);
    assert!(check(&verifier, &new).await.is_ok());
}

#[tokio::test]
async fn each_request_can_have_a_policy_of_its_own() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server, WhenStale::FailClosed).await;
    let token = server.issues(&server.claims());
    let key = server.makes_key("key_1", json!({}));
    for policy in [WhenStale::FailClosed, WhenStale::Introspect, WhenStale::KeepVerifyingSignatures]
    {
        // While the feed lives it makes no difference.
        assert!(check_by(policy, &verifier, &token).await.is_ok());
        assert!(check_by(policy, &verifier, &key).await.is_ok());
    }
    assert_eq!(server.introspections(), 1);
    loses_its_feed(&server, &verifier).await;
    for credential in [&token, &key] {
        assert_eq!(check(&verifier, credential).await, Err(STALE));
        assert_eq!(check_by(WhenStale::FailClosed, &verifier, credential).await, Err(STALE));
        let kept = check_by(WhenStale::KeepVerifyingSignatures, &verifier, credential).await;
        assert!(kept.is_ok());
    }
    assert!(check_by(WhenStale::Introspect, &verifier, &key).await.is_ok());
    let refused = check_by(WhenStale::Introspect, &verifier, &token).await;
    assert_eq!(refused, Err(NOT_ACCEPTED));
}

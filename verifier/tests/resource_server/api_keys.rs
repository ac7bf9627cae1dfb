use futures::future::join_all;
use portcullis_verifier::rejection::{InvalidToken, Unavailability};
use portcullis_verifier::{Rejection, RequestContext};
use serde_json::json;

use super::authorization_server::{AuthorizationServer, now};
use super::{check, until, verifier};

const NOT_ACCEPTED: Rejection = Rejection::InvalidToken(InvalidToken::NotAccepted);

#[tokio::test]
async fn a_key_is_asked_about_once() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key =
        server.makes_key("key_1", json!({"project": "prj_1", "owner": "usr_2", "exp": now() + 60}));
    for _ in 0..10 {
        let caller = check(&verifier, &key).await.unwrap();
        assert_eq!((caller.api_key(), caller.subject()), (Some("key_1"), "key_1"));
        assert_eq!((caller.organization(), caller.project()), (Some("org_1"), Some("prj_1")));
        assert_eq!((caller.creator(), caller.owner()), (Some("usr_1"), Some("usr_2")));
        assert_eq!(caller.client(), None);
        assert_eq!(caller.require("read:tenants"), Ok(()));
    }
    assert_eq!(server.introspections(), 1);
}

#[tokio::test]
async fn concurrent_first_checks_share_one_question() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({}));
    server.holds_introspections(true);
    let checks = join_all((0..20).map(|_| check(&verifier, &key)));
    let release = async {
        until(async || server.introspections() > 0).await;
        server.holds_introspections(false);
    };
    let (answers, ()) = tokio::join!(checks, release);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.introspections(), 1);
}

#[tokio::test]
async fn garbage_is_refused_without_asking_anyone() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({}));
    let mistyped = format!("{}x", &key[..key.len() - 1]);
    let mistyped = if mistyped == key { format!("{}y", &key[..key.len() - 1]) } else { mistyped };
    for garbage in [mistyped.as_str(), "garbage", "a.b", "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"]
    {
        let answer = check(&verifier, garbage).await;
        assert_eq!(answer, Err(Rejection::InvalidToken(InvalidToken::Malformed)), "{garbage}");
    }
    assert_eq!(server.introspections(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_remembered_as_such_for_a_moment() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({"active": false}));
    for _ in 0..5 {
        assert_eq!(check(&verifier, &key).await, Err(NOT_ACCEPTED));
    }
    assert_eq!(server.introspections(), 1);
    server.describes_key(&key, "key_1", json!({}));
    until(async || check(&verifier, &key).await.is_ok()).await;
}

#[tokio::test]
async fn another_kind_of_credential_does_not_pass_for_a_key() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({"token_type": "refresh_token"}));
    assert_eq!(check(&verifier, &key).await, Err(NOT_ACCEPTED));
}

#[tokio::test]
async fn a_revoked_key_is_refused_as_soon_as_the_feed_says_so() {
    for subject in ["key_1", "org_1"] {
        let server = AuthorizationServer::start().await;
        let verifier = verifier(&server).await;
        let key = server.makes_key("key_1", json!({}));
        assert!(check(&verifier, &key).await.is_ok());
        server.revokes(subject);
        until(async || check(&verifier, &key).await.is_err()).await;
        assert_eq!(check(&verifier, &key).await, Err(NOT_ACCEPTED), "{subject}");
        assert_eq!(server.introspections(), 1, "the feed alone decides");
    }
}

#[tokio::test]
async fn a_change_of_whatever_a_key_depends_on_asks_again() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let described = |scope: &str| json!({"project": "prj_1", "owner": "usr_2", "scope": scope});
    let key = server.makes_key("key_1", described("read:tenants"));
    let strangers =
        json!({"org": "org_2", "project": "prj_2", "creator": "usr_3", "owner": "usr_4"});
    let other = server.makes_key("key_2", strangers);
    assert!(check(&verifier, &other).await.is_ok());
    let subjects = ["key_1", "org_1", "prj_1", "usr_1", "usr_2"];
    for (asked, subject) in subjects.into_iter().enumerate() {
        let scope = format!("read:tenants read:{}", subject.replace('_', "-"));
        assert!(check(&verifier, &key).await.is_ok());
        assert_eq!(server.introspections(), asked + 2);
        server.describes_key(&key, "key_1", described(&scope));
        server.changes(subject);
        let seen = async || check(&verifier, &key).await.unwrap().scopes().to_string();
        let expected = scope.parse::<portcullis_verifier::ScopeSet>().unwrap().to_string();
        until(async || seen().await == expected).await;
    }
    assert!(check(&verifier, &other).await.is_ok());
    assert_eq!(server.introspections(), subjects.len() + 2, "the other key wasn't concerned");
}

#[tokio::test]
async fn a_revoked_creator_or_owner_asks_again() {
    for user in ["usr_1", "usr_2"] {
        let server = AuthorizationServer::start().await;
        let verifier = verifier(&server).await;
        let key = server.makes_key("key_1", json!({"owner": "usr_2"}));
        assert!(check(&verifier, &key).await.is_ok());
        // Handed over to the organization before the user left.
        server.describes_key(&key, "key_1", json!({"owner": null}));
        server.revokes(user);
        until(async || check(&verifier, &key).await.unwrap().owner().is_none()).await;
        assert_eq!(server.introspections(), 2, "{user}");
    }
}

#[tokio::test]
async fn a_change_during_a_question_makes_its_answer_stale() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({}));
    server.holds_introspections(true);
    let first = check(&verifier, &key);
    let meanwhile = async {
        until(async || server.introspections() == 1).await;
        server.describes_key(&key, "key_1", json!({"scope": "read:users"}));
        let seq = server.changes("key_1");
        until(async || verifier.revocations().last_seq() == seq).await;
        server.holds_introspections(false);
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.unwrap().scopes().to_string(), "read:tenants");
    let second = check(&verifier, &key).await.unwrap();
    assert_eq!(second.scopes().to_string(), "read:users");
    assert_eq!(server.introspections(), 2);
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({"exp": now() - 1}));
    let answer = check(&verifier, &key).await;
    assert_eq!(answer, Err(Rejection::InvalidToken(InvalidToken::Expired)));
}

#[tokio::test]
async fn an_outage_refuses_unknown_keys_and_is_not_remembered() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let (known, new) = (server.makes_key("key_1", json!({})), server.makes_key("key_2", json!({})));
    assert!(check(&verifier, &known).await.is_ok());
    server.answers_introspections(false);
    let answer = check(&verifier, &new).await;
    assert_eq!(answer, Err(Rejection::Unavailable(Unavailability::AuthorizationServer)));
    assert!(check(&verifier, &known).await.is_ok());
    server.answers_introspections(true);
    assert!(check(&verifier, &new).await.is_ok());
}

#[tokio::test]
async fn a_key_may_be_confined_to_networks() {
    let server = AuthorizationServer::start().await;
    let verifier = verifier(&server).await;
    let key = server.makes_key("key_1", json!({"allowed_ips": ["192.0.2.0/24"]}));
    let header = format!("Bearer {key}");
    let from = async |address: Option<&str>| {
        let client_address = address.map(|text| text.parse().unwrap());
        let context = RequestContext { client_address, ..RequestContext::default() };
        verifier.verify(Some(&header), &context).await.is_ok()
    };
    assert!(from(Some("192.0.2.1")).await);
    assert!(from(Some("::ffff:192.0.2.1")).await);
    assert!(!from(Some("192.0.3.1")).await);
    assert!(!from(Some("2001:db8::1")).await);
    assert!(!from(None).await);
}

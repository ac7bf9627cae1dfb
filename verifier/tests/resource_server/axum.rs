use std::time::Duration;

use ::axum::body::{Body, to_bytes};
use ::axum::extract::{FromRef, Request};
use ::axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use ::axum::http::{HeaderMap, StatusCode};
use ::axum::routing::{get, post};
use ::axum::{Extension, Router};
use portcullis_verifier::axum::{RequireScope, Verified};
use portcullis_verifier::{Principal, Rejection, RequestContext, Verifier};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::authorization_server::AuthorizationServer;
use super::{builder, until, verifier};

#[derive(Clone)]
struct App {
    verifier: Verifier,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Verifier {
        app.verifier.clone()
    }
}

async fn who(Verified(caller): Verified) -> String {
    caller.subject().to_owned()
}

async fn rename(Verified(caller): Verified) -> Result<&'static str, Rejection> {
    caller.require("write:tenants")?;
    Ok("renamed")
}

async fn list(Extension(caller): Extension<Principal>) -> String {
    format!("for {}", caller.subject())
}

fn api(verifier: Verifier) -> Router {
    let layer = RequireScope::new(verifier.clone(), "read:tenants").unwrap();
    Router::new()
        .route("/tenants", get(list).route_layer(layer))
        .route("/tenants/rename", post(rename))
        .route("/who", get(who))
        .with_state(App { verifier })
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn challenge(&self) -> &str {
        self.headers.get(WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn send(api: &Router, request: Request) -> Answer {
    let response = api.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 10_000).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(text.to_vec()).unwrap(),
    }
}

async fn call(api: &Router, method: &str, path: &str, credential: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(credential) = credential {
        request = request.header(AUTHORIZATION, format!("Bearer {credential}"));
    }
    send(api, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_caller_with_the_scope_gets_through() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let token = server.issues(&server.claims());
    let answer = call(&api, "GET", "/tenants", Some(&token)).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "for usr_1"));
    let answer = call(&api, "GET", "/who", Some(&token)).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "usr_1"));
    let key = server.makes_key("key_1", json!({}));
    let answer = call(&api, "GET", "/tenants", Some(&key)).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "for key_1"));
}

#[tokio::test]
async fn without_a_credential_the_scheme_is_named() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    for path in ["/tenants", "/who"] {
        let answer = call(&api, "GET", path, None).await;
        assert_eq!((answer.status, answer.challenge()), (StatusCode::UNAUTHORIZED, "Bearer"));
        assert_eq!(answer.json()["error"], "missing_credential");
        assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_bad_credential_is_challenged_with_the_reason() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).realm("tenants").resource_metadata("https://api.example.com/m");
    let api = api(settings.build().await.unwrap());
    for path in ["/tenants", "/who"] {
        let answer = call(&api, "GET", path, Some("garbage")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let description = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert_eq!(
            answer.challenge(),
            format!(
                r#"Bearer realm="tenants", error="invalid_token", error_description="{description}", resource_metadata="https://api.example.com/m""#
            )
        );
        assert_eq!(answer.json()["error"], "invalid_token");
    }
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let key = server.makes_key("key_1", json!({"scope": "read:users"}));
    let token = server.issues(&server.claims());
    for (method, path, credential, scope) in [
        ("GET", "/tenants", &key, r#"scope="read:tenants""#),
        ("POST", "/tenants/rename", &token, r#"scope="write:tenants""#),
    ] {
        let answer = call(&api, method, path, Some(credential)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.challenge().contains(r#"error="insufficient_scope""#));
        assert!(answer.challenge().contains(scope));
        assert_eq!(answer.json()["error"], "insufficient_scope");
    }
}

#[tokio::test]
async fn while_it_cannot_be_decided_the_answer_is_503() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).max_staleness(Duration::from_millis(100));
    let verifier = settings.build().await.unwrap();
    let api = api(verifier.clone());
    let token = server.issues(&server.claims());
    server.beats(false);
    until(async || !verifier.is_available()).await;
    for path in ["/tenants", "/who"] {
        let answer = call(&api, "GET", path, Some(&token)).await;
        assert_eq!(
            (answer.status, answer.challenge()),
            (StatusCode::SERVICE_UNAVAILABLE, "Bearer")
        );
        assert_eq!(answer.headers[RETRY_AFTER], "1");
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_one_too_many() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let bearer = format!("Bearer {}", server.issues(&server.claims()));
    let request = Request::builder()
        .uri("/who")
        .header(AUTHORIZATION, &bearer)
        .header(AUTHORIZATION, &bearer)
        .body(Body::empty());
    let answer = send(&api, request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"], "invalid_request");
}

#[tokio::test]
async fn the_clients_address_comes_from_the_request_context() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let key = server.makes_key("key_1", json!({"allowed_ips": ["192.0.2.0/24"]}));
    let from = async |address: &str| {
        let request = Request::builder()
            .uri("/who")
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .extension(RequestContext {
                client_address: Some(address.parse().unwrap()),
                ..RequestContext::default()
            })
            .body(Body::empty());
        send(&api, request.unwrap()).await.status
    };
    assert_eq!(from("192.0.2.1").await, StatusCode::OK);
    assert_eq!(from("192.0.3.1").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_layer_wants_a_scope() {
    let server = AuthorizationServer::start().await;
    assert!(RequireScope::new(verifier(&server).await, "Read tenants").is_err());
}

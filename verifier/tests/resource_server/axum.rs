use std::net::SocketAddr;
use std::time::Duration;

use ::axum::body::{Body, to_bytes};
use ::axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use ::axum::extract::{FromRef, Request};
use ::axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use ::axum::http::{HeaderMap, StatusCode};
use ::axum::routing::{get, post};
use ::axum::{Extension, Router};
use portcullis_verifier::axum::{Refusal, RequireScope, Verified, protected_resource};
use portcullis_verifier::network::Network;
use portcullis_verifier::{
    BuildError, Principal, ProtectedResource, Rejection, RequestContext, Verifier, WhenStale,
};
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

async fn who(caller: Verified) -> String {
    caller.subject().to_owned()
}

async fn rename(caller: Verified) -> Result<&'static str, Refusal> {
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
        .merge(protected_resource(&verifier))
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
            // What the application says goes before what was found out.
            .extension(ConnectInfo("192.0.2.7:4711".parse::<SocketAddr>().unwrap()))
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

/// Asks for `/tenants` (guarded by the layer) and `/who` (by the extractor) and gives what both answered.
async fn from(api: &Router, key: &str, peer: Option<&str>, forwarded: &[&str]) -> StatusCode {
    let mut answers = Vec::new();
    for path in ["/tenants", "/who"] {
        let mut request = Request::builder().uri(path);
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        if let Some(peer) = peer {
            request = request.extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        }
        answers.push(send(api, request.body(Body::empty()).unwrap()).await.status);
    }
    assert_eq!(answers[0], answers[1]);
    answers[0]
}

#[tokio::test]
async fn a_key_bound_to_networks_is_held_against_the_peer() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let key = server.makes_key("key_1", json!({"allowed_ips": ["192.0.2.0/24"]}));
    for (peer, forwarded, status) in [
        (Some("192.0.2.1:4711"), &[][..], StatusCode::OK),
        (Some("[::ffff:192.0.2.1]:4711"), &[], StatusCode::OK),
        (Some("192.0.3.1:4711"), &[], StatusCode::UNAUTHORIZED),
        (None, &[], StatusCode::UNAUTHORIZED),
        // No proxy is trusted, so the header is anybody's word.
        (Some("192.0.3.1:4711"), &["192.0.2.1"], StatusCode::UNAUTHORIZED),
        (None, &["192.0.2.1"], StatusCode::UNAUTHORIZED),
        (Some("192.0.2.1:4711"), &["192.0.3.1"], StatusCode::OK),
    ] {
        assert_eq!(from(&api, &key, peer, forwarded).await, status, "{peer:?} {forwarded:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_caller() {
    let server = AuthorizationServer::start().await;
    let proxies: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
    let api = api(builder(&server).trusted_proxies(proxies).build().await.unwrap());
    let key = server.makes_key("key_1", json!({"allowed_ips": ["192.0.2.0/24", "10.9.0.0/16"]}));
    let proxy = Some("10.0.0.1:4711");
    for (peer, forwarded, status) in [
        (proxy, &["192.0.2.1"][..], StatusCode::OK),
        (proxy, &["198.51.100.1, 192.0.2.1", "10.0.0.2"], StatusCode::OK),
        // What a caller writes itself stands left of what the proxy adds.
        (proxy, &["192.0.2.1, 198.51.100.1"], StatusCode::UNAUTHORIZED),
        (proxy, &["192.0.2.1", "198.51.100.1"], StatusCode::UNAUTHORIZED),
        (proxy, &[], StatusCode::UNAUTHORIZED),
        (Some("198.51.100.1:4711"), &["192.0.2.1"], StatusCode::UNAUTHORIZED),
        (None, &["192.0.2.1"], StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(from(&api, &key, peer, forwarded).await, status, "{peer:?} {forwarded:?}");
    }
}

#[tokio::test]
async fn a_mocked_connection_counts_as_one() {
    let server = AuthorizationServer::start().await;
    let key = server.makes_key("key_1", json!({"allowed_ips": ["192.0.2.0/24"]}));
    let api = api(verifier(&server).await);
    for (peer, status) in
        [("192.0.2.1:1", StatusCode::OK), ("192.0.3.1:1", StatusCode::UNAUTHORIZED)]
    {
        let api = api.clone().layer(MockConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        assert_eq!(from(&api, &key, None, &[]).await, status);
    }
}

fn tenants() -> ProtectedResource {
    ProtectedResource::new().scopes(["read:tenants", "write:tenants"]).name("Tenants")
}

#[tokio::test]
async fn the_api_describes_itself_and_every_challenge_says_where() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).protected_resource(tenants());
    let api = api(settings.build().await.unwrap());
    let path = "/.well-known/oauth-protected-resource";
    let answer = call(&api, "GET", path, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({
            "resource": "https://api.example.com",
            "authorization_servers": [server.issuer()],
            "scopes_supported": ["read:tenants", "write:tenants"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Tenants",
        })
    );
    assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers[CACHE_CONTROL], "public, max-age=300");
    assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");

    let named = format!(r#"resource_metadata="https://api.example.com{path}""#);
    let key = server.makes_key("key_1", json!({"scope": "read:users"}));
    for (method, path, credential, status) in [
        ("GET", "/tenants", None, StatusCode::UNAUTHORIZED),
        ("GET", "/who", None, StatusCode::UNAUTHORIZED),
        ("GET", "/who", Some("garbage"), StatusCode::UNAUTHORIZED),
        ("GET", "/tenants", Some(key.as_str()), StatusCode::FORBIDDEN),
        ("POST", "/tenants/rename", Some(key.as_str()), StatusCode::FORBIDDEN),
    ] {
        let answer = call(&api, method, path, credential).await;
        assert_eq!(answer.status, status);
        assert!(answer.challenge().ends_with(&named), "{}", answer.challenge());
    }
}

#[tokio::test]
async fn a_page_of_any_origin_may_ask_for_the_description() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).protected_resource(tenants());
    let api = api(settings.build().await.unwrap());
    let answer = call(&api, "OPTIONS", "/.well-known/oauth-protected-resource", None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    for (header, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
    ] {
        assert_eq!(answer.headers[header], value);
    }
    let answer = call(&api, "POST", "/.well-known/oauth-protected-resource", None).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_audience_with_a_path_has_its_description_at_a_path_of_its_own() {
    let server = AuthorizationServer::start().await;
    for path in ["/v1", "/v1/", "/{v1}/%7Ball%7D"] {
        let audience = format!("https://api.example.com{path}");
        let settings = builder(&server).audience(&audience).protected_resource(tenants());
        let verifier = settings.build().await.unwrap();
        let at = verifier.protected_resource().unwrap().path().to_owned();
        let api = api(verifier);
        let answer = call(&api, "GET", &at, None).await;
        assert_eq!((answer.status, &answer.json()["resource"]), (StatusCode::OK, &json!(audience)));
        let answer = call(&api, "GET", "/.well-known/oauth-protected-resource", None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let answer = call(&api, "GET", "/who", None).await;
        assert!(answer.challenge().contains(&format!("https://api.example.com{at}")));
    }
}

#[tokio::test]
async fn an_api_that_was_told_nothing_describes_nothing() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let answer = call(&api, "GET", "/.well-known/oauth-protected-resource", None).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_place_that_was_named_goes_before_the_one_that_follows() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).protected_resource(tenants());
    let settings = settings.resource_metadata("https://www.example.com/m");
    let api = api(settings.build().await.unwrap());
    let answer = call(&api, "GET", "/who", None).await;
    assert_eq!(answer.challenge(), r#"Bearer resource_metadata="https://www.example.com/m""#);
}

#[tokio::test]
async fn what_has_no_place_can_not_be_described() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).audience("urn:tenants").protected_resource(tenants());
    let refused = settings.build().await.unwrap_err();
    assert!(matches!(refused, BuildError::ProtectedResource(_)), "{refused}");
}

async fn alone(Extension(caller): Extension<Principal>) -> Result<&'static str, Rejection> {
    caller.require("write:tenants")?;
    Ok("changed")
}

#[tokio::test]
async fn a_rejection_is_an_answer_of_its_own() {
    let server = AuthorizationServer::start().await;
    let guard = RequireScope::new(verifier(&server).await, "read:tenants").unwrap();
    let api = Router::new().route("/alone", get(alone).route_layer(guard));
    let token = server.issues(&server.claims());
    let answer = call(&api, "GET", "/alone", Some(&token)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.challenge().ends_with(r#"scope="write:tenants""#), "{}", answer.challenge());
}

#[tokio::test]
async fn a_route_with_the_extractor_can_have_a_policy_too() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).max_staleness(Duration::from_millis(500));
    let verifier = settings.build().await.unwrap();
    let policy = Extension(WhenStale::KeepVerifyingSignatures);
    let api = Router::new()
        .route("/open", get(who).layer(policy))
        .route("/closed", get(who))
        .with_state(App { verifier: verifier.clone() });
    let token = server.issues(&server.claims());
    server.beats(false);
    until(async || !verifier.is_available()).await;
    for (path, status) in [("/open", StatusCode::OK), ("/closed", StatusCode::SERVICE_UNAVAILABLE)]
    {
        assert_eq!(call(&api, "GET", path, Some(&token)).await.status, status, "{path}");
    }
}

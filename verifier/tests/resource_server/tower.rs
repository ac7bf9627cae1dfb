use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use portcullis_verifier::network::Network;
use portcullis_verifier::tower::RequireScope;
use portcullis_verifier::{Principal, ProtectedResource, RequestContext, Verifier, WhenStale};
use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::{builder, until, verifier};

/// The service itself, counting how often it was reached.
async fn list(
    reached: Arc<AtomicUsize>,
    request: Request<String>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    reached.fetch_add(1, Ordering::SeqCst);
    let caller = request.extensions().get::<Principal>().unwrap().subject().to_owned();
    Ok(Response::new(Full::from(format!("{} for {caller}", request.into_body()))))
}

struct Api<S> {
    service: S,
    reached: Arc<AtomicUsize>,
}

fn api(
    verifier: Verifier,
) -> Api<impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone>
{
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = reached.clone();
    let service = service_fn(move |request| list(counter.clone(), request));
    Api { service: RequireScope::new(verifier, "read:tenants").unwrap().layer(service), reached }
}

/// What it answers: the head and the text.
async fn send<S>(api: &Api<S>, request: Request<String>) -> (http::response::Parts, String)
where
    S: Service<Request<String>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone,
{
    let (parts, body) = api.service.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts, String::from_utf8(body.to_vec()).unwrap())
}

fn request(credential: Option<&str>) -> http::request::Builder {
    let request = Request::get("/tenants");
    match credential {
        Some(credential) => request.header(AUTHORIZATION, format!("Bearer {credential}")),
        None => request,
    }
}

#[tokio::test]
async fn a_service_of_any_body_is_guarded() {
    let server = AuthorizationServer::start().await;
    let api = api(verifier(&server).await);
    let token = server.issues(&server.claims());
    for credential in [token, server.makes_key("key_1", json!({}))] {
        let request = request(Some(&credential)).body("the tenants".to_owned());
        let (parts, body) = send(&api, request.unwrap()).await;
        assert_eq!(parts.status, StatusCode::OK);
        assert!(body.starts_with("the tenants for "), "{body}");
    }
    assert_eq!(api.reached.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn refusals_are_those_of_rfc_6750_and_reach_nothing() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).realm("tenants").protected_resource(ProtectedResource::new());
    let verifier = settings.max_staleness(Duration::from_millis(500)).build().await.unwrap();
    let api = api(verifier.clone());
    let weak = server.makes_key("key_1", json!({"scope": "read:users"}));
    let token = server.issues(&server.claims());
    let metadata =
        r#"resource_metadata="https://api.example.com/.well-known/oauth-protected-resource""#;
    let twice = request(Some(&token)).header(AUTHORIZATION, "Bearer x");
    for (request, status, error) in [
        (request(None), 401, "missing_credential"),
        (request(Some("garbage")), 401, "invalid_token"),
        (request(Some(&weak)), 403, "insufficient_scope"),
        (request(Some("")), 400, "invalid_request"),
        (twice, 400, "invalid_request"),
    ] {
        let (parts, body) = send(&api, request.body(String::new()).unwrap()).await;
        assert_eq!(parts.status, status, "{body}");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(told["error"], error);
        assert_eq!(parts.headers[CONTENT_TYPE], "application/json");
        assert_eq!(parts.headers[CACHE_CONTROL], "no-store");
        let challenge = parts.headers[WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.starts_with(r#"Bearer realm="tenants""#), "{challenge}");
        assert!(challenge.ends_with(metadata), "{challenge}");
        assert_eq!(
            challenge.contains(&format!(r#"error="{error}""#)),
            error != "missing_credential"
        );
        assert_eq!(challenge.contains(r#"scope="read:tenants""#), status == 403);
    }

    server.beats(false);
    until(async || !verifier.is_available()).await;
    let (parts, body) = send(&api, request(Some(&token)).body(String::new()).unwrap()).await;
    assert_eq!(parts.status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(parts.headers[RETRY_AFTER], "1");
    assert_eq!(api.reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_caller_is_known_by_the_address_of_its_connection() {
    let server = AuthorizationServer::start().await;
    let proxies: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
    let api = api(builder(&server).trusted_proxies(proxies).build().await.unwrap());
    let key = server.makes_key("key_1", json!({"allowed_ips": ["192.0.2.0/24"]}));
    let request = || request(Some(&key));
    let from = |peer: &str| request().extension(peer.parse::<SocketAddr>().unwrap());
    let said = |address: &str| RequestContext {
        client_address: Some(address.parse().unwrap()),
        ..RequestContext::default()
    };
    for (request, status) in [
        (request(), StatusCode::UNAUTHORIZED),
        (from("192.0.2.1:1"), StatusCode::OK),
        (from("192.0.3.1:1"), StatusCode::UNAUTHORIZED),
        (from("10.0.0.1:1").header("x-forwarded-for", "192.0.2.1"), StatusCode::OK),
        (from("10.0.0.1:1").header("x-forwarded-for", "192.0.3.1"), StatusCode::UNAUTHORIZED),
        (from("192.0.3.1:1").header("x-forwarded-for", "192.0.2.1"), StatusCode::UNAUTHORIZED),
        (from("192.0.3.1:1").extension(said("192.0.2.1")), StatusCode::OK),
        (from("192.0.2.1:1").extension(said("192.0.3.1")), StatusCode::UNAUTHORIZED),
    ] {
        let (parts, body) = send(&api, request.body(String::new()).unwrap()).await;
        assert_eq!(parts.status, status, "{body}");
    }
}

#[tokio::test]
async fn it_stands_among_other_layers_and_passes_their_errors_on() {
    let server = AuthorizationServer::start().await;
    let token = server.issues(&server.claims());
    let guard = RequireScope::new(verifier(&server).await, "read:tenants").unwrap();
    let service = ServiceBuilder::new().layer(guard).service(service_fn(async |_: Request<()>| {
        Err::<Response<String>, _>("the service failed")
    }));
    let call = |credential| request(credential).body(()).unwrap();
    assert_eq!(
        service.clone().oneshot(call(Some(&token))).await.unwrap_err(),
        "the service failed"
    );
    let refused = service.oneshot(call(None)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_becomes_of_requests_while_the_log_is_silent_is_a_matter_of_the_route() {
    let server = AuthorizationServer::start().await;
    let settings = builder(&server).max_staleness(Duration::from_millis(500));
    let verifier = settings.build().await.unwrap();
    let guard = RequireScope::new(verifier.clone(), "read:tenants").unwrap();
    let route = |guard: RequireScope| {
        let service = service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(Full::default()))
        });
        Api { service: guard.layer(service), reached: Arc::default() }
    };
    let closed = route(guard.clone());
    let open = route(guard.clone().when_stale(WhenStale::KeepVerifyingSignatures));
    let asking = route(guard.when_stale(WhenStale::Introspect));
    let token = server.issues(&server.claims());
    let key = server.makes_key("key_1", json!({}));
    let call = |credential: &str| request(Some(credential));
    server.beats(false);
    until(async || !verifier.is_available()).await;

    let context = |when_stale| RequestContext { when_stale, ..RequestContext::default() };
    let closed_by_hand = call(&token).extension(context(Some(WhenStale::FailClosed)));
    let left_alone = call(&token).extension(context(None));
    let by_extension = call(&token).extension(WhenStale::KeepVerifyingSignatures);
    for (api, request, status) in [
        (&closed, call(&token), 503),
        (&open, call(&token), 200),
        (&asking, call(&key), 200),
        // What is said of the request itself goes before what is said of its route.
        (&open, closed_by_hand, 503),
        (&open, left_alone, 200),
    ] {
        let (parts, body) = send(api, request.body(String::new()).unwrap()).await;
        assert_eq!(parts.status, status, "{body}");
    }
    let (parts, body) = send(&closed, by_extension.body(String::new()).unwrap()).await;
    assert_eq!(parts.status, StatusCode::OK, "{body}");
}

//! The examples, run as they stand there.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::AUDIENCE;
use super::authorization_server::{AuthorizationServer, CREDENTIAL};

/// Where cargo puts it. It builds the examples along with the tests, unless it is asked for one test binary alone.
fn binary(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.parent()?.parent()?.join("examples").join(name);
    if !binary.exists() {
        eprintln!("skipped: the example {name} is not built (cargo build --examples)");
        return None;
    }
    Some(binary)
}

/// A running example; killed when it is dropped.
struct Example {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn start(name: &str, server: &AuthorizationServer, settings: &[(&str, &str)]) -> Option<Self> {
        let mut child = Command::new(binary(name)?)
            .env("PORTCULLIS_ISSUER", server.issuer())
            .env("PORTCULLIS_CREDENTIAL", CREDENTIAL)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Self { child, input, lines })
    }

    fn says(&mut self) -> String {
        self.lines.next().expect("the example ended").unwrap()
    }

    /// The address in the line that it begins with.
    fn address(&mut self) -> String {
        let line = self.says();
        let address = line.split(' ').find(|word| word.starts_with("http://"));
        address.unwrap_or_else(|| panic!("{line}")).to_owned()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ask(method: Method, url: String, credential: Option<&str>, body: &Value) -> Response {
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(credential) = credential {
        request = request.bearer_auth(credential);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    request.send().await.unwrap()
}

async fn get(url: String, credential: Option<&str>) -> Response {
    ask(Method::GET, url, credential, &Value::Null).await
}

fn challenge(response: &Response) -> &str {
    response.headers()[WWW_AUTHENTICATE].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenants_api_guards_its_tenants() {
    let server = AuthorizationServer::start().await;
    let settings = [
        ("TENANTS_API_LISTEN", "127.0.0.1:0"),
        ("TENANTS_API_AUDIENCE", AUDIENCE),
        ("TENANTS_API_PROXIES", "127.0.0.1"),
    ];
    let Some(mut example) = Example::start("tenants_api", &server, &settings) else { return };
    let api = example.address();
    let tenants = format!("{api}/v1/tenants");
    let writer = server.makes_key("key_1", json!({"scope": "write:tenants"}));
    let stranger = server.makes_key("key_2", json!({"org": "org_2"}));
    let narrow = server.makes_key("key_3", json!({"scope": "read:tenants/2"}));

    let created = ask(Method::POST, tenants.clone(), Some(&writer), &json!({"name": "Acme"})).await;
    assert_eq!(created.status(), 201);
    let one = json!({"id": 1, "name": "Acme"});
    let listed: Value = get(tenants.clone(), Some(&writer)).await.json().await.unwrap();
    assert_eq!(listed, json!([one]));
    let listed: Value = get(tenants.clone(), Some(&stranger)).await.json().await.unwrap();
    assert_eq!(listed, json!([]));
    let shown: Value = get(format!("{tenants}/1"), Some(&writer)).await.json().await.unwrap();
    assert_eq!(shown, one);
    assert_eq!(get(format!("{tenants}/1"), Some(&stranger)).await.status(), 404);
    let refused = get(format!("{tenants}/1"), Some(&narrow)).await;
    assert_eq!(refused.status(), 403);
    assert!(challenge(&refused).contains(r#"scope="read:tenants/1""#), "{}", challenge(&refused));
    let posted = ask(Method::POST, tenants.clone(), Some(&stranger), &json!({"name": "x"})).await;
    assert_eq!(posted.status(), 403);

    let refused = get(tenants.clone(), None).await;
    let metadata = format!("{AUDIENCE}/.well-known/oauth-protected-resource");
    assert_eq!(challenge(&refused), format!(r#"Bearer resource_metadata="{metadata}""#));
    let metadata = get(format!("{api}/.well-known/oauth-protected-resource"), None).await;
    let metadata: Value = metadata.json().await.unwrap();
    assert_eq!(metadata["scopes_supported"], json!(["read:tenants", "write:tenants"]));

    // The test stands where a proxy would, and may say who calls.
    let bound = server.makes_key("key_4", json!({"allowed_ips": ["192.0.2.0/24"]}));
    for (forwarded, status) in [(Some("192.0.2.1"), 200), (Some("192.0.3.1"), 401), (None, 401)] {
        let mut request = reqwest::Client::new().get(&tenants).bearer_auth(&bound);
        if let Some(address) = forwarded {
            request = request.header("x-forwarded-for", address);
        }
        assert_eq!(request.send().await.unwrap().status(), status, "{forwarded:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tower_service_guards_its_tenants() {
    let server = AuthorizationServer::start().await;
    let settings = [("TOWER_SERVICE_LISTEN", "127.0.0.1:0"), ("TOWER_SERVICE_AUDIENCE", AUDIENCE)];
    let Some(mut example) = Example::start("tower_service", &server, &settings) else { return };
    let api = example.address();
    let tenants = format!("{api}/v1/tenants");
    let token = server.issues(&server.claims());
    let answer: Value = get(tenants.clone(), Some(&token)).await.json().await.unwrap();
    assert_eq!(answer["organization"], "org_1");
    let refused = get(tenants.clone(), None).await;
    assert_eq!(refused.status(), 401);
    assert!(challenge(&refused).contains("resource_metadata"), "{}", challenge(&refused));
    let weak = server.makes_key("key_1", json!({"scope": "read:users"}));
    assert_eq!(get(tenants.clone(), Some(&weak)).await.status(), 403);
    for (id, networks, status) in [("key_2", "127.0.0.0/8", 200), ("key_3", "192.0.2.0/24", 401)] {
        let key = server.makes_key(id, json!({"allowed_ips": [networks]}));
        assert_eq!(get(tenants.clone(), Some(&key)).await.status(), status, "{networks}");
    }
    let metadata = get(format!("{api}/.well-known/oauth-protected-resource"), None).await;
    let metadata: Value = metadata.json().await.unwrap();
    assert_eq!(metadata["authorization_servers"], json!([server.issuer()]));
    assert_eq!(get(format!("{api}/elsewhere"), Some(&token)).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_example_tells_how_its_verifier_is_doing() {
    let server = AuthorizationServer::start().await;
    let settings = [("METRICS_LISTEN", "127.0.0.1:0"), ("METRICS_AUDIENCE", AUDIENCE)];
    let Some(mut example) = Example::start("metrics", &server, &settings) else { return };
    let address = example.address();
    let api = address.trim_end_matches("/metrics");
    let token = server.issues(&server.claims());
    assert_eq!(get(format!("{api}/whoami"), Some(&token)).await.status(), 200);
    assert_eq!(get(format!("{api}/whoami"), None).await.status(), 401);
    let health: Value = get(format!("{api}/health"), None).await.json().await.unwrap();
    assert_eq!((&health["is_available"], &health["feed"]), (&json!(true), &json!("live")));
    let available = format!("portcullis_verifier_available{{audience=\"{AUDIENCE}\"}} 1");
    super::until(async || {
        let metrics = get(format!("{api}/metrics"), None).await.text().await.unwrap();
        metrics.lines().any(|line| line == available)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_example_tells_what_a_header_allows() {
    let server = AuthorizationServer::start().await;
    let Some(mut example) = Example::start("plain", &server, &[("PLAIN_AUDIENCE", AUDIENCE)])
    else {
        return;
    };
    let token = server.issues(&server.claims());
    let weak = server.makes_key("key_1", json!({"scope": "read:users"}));
    for (header, answer) in [
        (format!("Bearer {token}"), "200 usr_1 of org_1 may read:tenants"),
        (format!("Bearer {weak}"), "403 WWW-Authenticate: Bearer error=\"insufficient_scope\""),
        ("Bearer garbage".to_owned(), "401 WWW-Authenticate: Bearer error=\"invalid_token\""),
        ("Basic YTpi".to_owned(), "401 WWW-Authenticate: Bearer"),
    ] {
        writeln!(example.input, "{header}").unwrap();
        let said = example.says();
        assert!(said.starts_with(answer), "{said}");
    }
    server.revokes("usr_1");
    let mut said = String::new();
    super::until(async || {
        writeln!(example.input, "Bearer {token}").unwrap();
        said = example.says();
        said.starts_with("401 ")
    })
    .await;
    assert!(said.contains("invalid_token"), "{said}");
}

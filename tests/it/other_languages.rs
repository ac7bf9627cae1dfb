//! The programs that the guides show for resource servers in other languages, run as they stand there: what they
//! accept, what they refuse, and how.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis::signing;
use portcullis_verifier::Scope;
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::actors::{claims, http, jose_header};
use crate::harness::services::{node, python};
use crate::harness::world::AUDIENCE;
use crate::harness::{Database, World, eventually};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Node,
    Python,
}

impl Language {
    fn page(self) -> &'static str {
        match self {
            Self::Node => include_str!("../../docs/guides/node.md"),
            Self::Python => include_str!("../../docs/guides/python.md"),
        }
    }

    /// A folder with the page's files, and what runs them; none where the language is missing.
    fn installed(self) -> Option<Installed> {
        let directory = tempfile::tempdir().unwrap();
        for file in files(self.page()) {
            std::fs::write(directory.path().join(file.name), file.text).unwrap();
        }
        let program = match self {
            Self::Node => node(directory.path(), "jose")?,
            Self::Python => python("PyJWT[crypto]")?,
        };
        Some(Installed { language: self, directory, program })
    }
}

struct File<'a> {
    name: &'a str,
    text: &'a str,
}

/// The blocks of a page that begin with a comment which is the name of a file.
fn files(page: &str) -> Vec<File<'_>> {
    let blocks = page.split("\n```").filter_map(|block| block.split_once('\n'));
    let files = blocks.filter_map(|(_, text)| {
        let comment = text.lines().next()?;
        let name = comment.strip_prefix("// ").or_else(|| comment.strip_prefix("# "))?;
        let is_name = [".mjs", ".py"].iter().any(|end| name.ends_with(end));
        is_name.then_some(File { name, text })
    });
    let files: Vec<_> = files.collect();
    assert!(files.len() >= 2, "the programs were not found");
    files
}

struct Installed {
    language: Language,
    directory: TempDir,
    program: PathBuf,
}

impl Installed {
    fn runs(&self, issuer: &str, arguments: &[&str]) -> Running {
        let log = self.directory.path().join("log");
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(self.directory.path())
            .env("ISSUER", issuer)
            .env("AUDIENCE", AUDIENCE)
            .env("PORT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Running { child, input, output, log }
    }

    /// Starts the page's API, for tokens of this issuer.
    fn serves(&self, issuer: &str) -> Api {
        let server = match self.language {
            Language::Node => "server.mjs",
            Language::Python => "server.py",
        };
        let mut running = self.runs(issuer, &[server]);
        let line = running.says();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        Api { address: address.to_owned(), _running: running }
    }

    /// Runs a few lines of ours beside the page's files.
    fn runs_lines(&self, issuer: &str, lines: &str) -> Running {
        match self.language {
            Language::Node => self.runs(issuer, &["--input-type=module", "--eval", lines]),
            Language::Python => self.runs(issuer, &["-c", lines]),
        }
    }
}

/// A program that runs until it is dropped.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it writes to standard error.
    log: PathBuf,
}

impl Running {
    fn is_told(&mut self, line: &Value) {
        writeln!(self.input.as_ref().unwrap(), "{line}").unwrap();
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(&self.log).unwrap();
        assert!(read > 0, "the program has ended: {}", log());
        line.trim_end().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Api {
    address: String,
    _running: Running,
}

/// What the API answered.
#[derive(Debug)]
struct Told {
    status: StatusCode,
    challenge: Option<String>,
    body: Value,
}

impl Api {
    async fn told(&self, header: Option<&str>) -> Told {
        let mut request = http().get(format!("{}/tenants", self.address));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let answer = request.send().await.unwrap();
        let challenge = answer.headers().get("www-authenticate");
        Told {
            status: answer.status(),
            challenge: challenge.map(|value| value.to_str().unwrap().to_owned()),
            body: answer.json().await.unwrap(),
        }
    }

    async fn accepts(&self, token: &str) -> Value {
        let told = self.told(Some(&format!("Bearer {token}"))).await;
        assert_eq!(told.status, StatusCode::OK, "{told:?}");
        told.body
    }

    async fn refuses(&self, why: &str, token: &str) {
        let told = self.told(Some(&format!("Bearer {token}"))).await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{why}: {told:?}");
        assert_eq!(told.body["error"], "invalid_token", "{why}");
        let challenge = told.challenge.unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{why}: {challenge}");
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A key pair that Portcullis knows nothing of.
struct Forger {
    key: EncodingKey,
}

impl Forger {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { key: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()) }
    }

    fn signs(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256);
        format!("{message}.{}", signature.unwrap())
    }

    fn public_key(&self, kid: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_accept_what_they_should_and_nothing_else(
    #[values(Language::Node, Language::Python)] language: Language,
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(installed) = language.installed() else { return };
    let Some(world) = World::on(database).await else { return };
    let api = installed.serves(&world.server.issuer);
    let app = world.confidential_app().await;
    let issued =
        async |scope: &str| app.acts_for_itself(scope).await.member("access_token").to_owned();
    let good = issued("read:tenants").await;
    let body = api.accepts(&good).await;
    assert_eq!(body["organization"], world.organization.to_string());
    assert_eq!(body["subject"], app.id);
    api.accepts(&issued("write:tenants").await).await;

    let told = api.told(Some(&format!("Bearer {}", issued("read:users").await))).await;
    assert_eq!(told.status, StatusCode::FORBIDDEN, "{told:?}");
    let challenge = told.challenge.unwrap();
    assert!(challenge.starts_with(r#"Bearer error="insufficient_scope""#), "{challenge}");
    assert!(challenge.ends_with(r#"scope="read:tenants""#), "{challenge}");

    let (header, claims) = (jose_header(&good), claims(&good));
    let with = |changes: Value| {
        let mut claims = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let signed =
        |claims: &Value| world.server.app.signer.sign(signing::Algorithm::Es256, claims).unwrap();
    let now = claims["iat"].as_i64().unwrap();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let tampered = unsigned(&header, &with(json!({"org": "org_another"})));
    let none = unsigned(&json!({"alg": "none", "typ": "at+jwt", "kid": header["kid"]}), &claims);
    // The trick of old: the public key, taken for a secret.
    let hmac = json!({"alg": "HS256", "typ": "at+jwt", "kid": header["kid"]});
    let public = world.server.app.signer.jwks().body;
    let confused = unsigned(&hmac, &claims);
    let confused_signature = jsonwebtoken::crypto::sign(
        confused.as_bytes(),
        &EncodingKey::from_secret(&public),
        Algorithm::HS256,
    );
    let unknown_key = json!({"alg": "ES256", "typ": "at+jwt", "kid": "unknown"});
    let mut incomplete = claims.clone();
    incomplete.as_object_mut().unwrap().remove("client_id");
    let refresh = world.owner.approves(&app, "read:tenants").await;
    let refresh = app.redeems(&refresh).await.member("refresh_token").to_owned();
    let key = world.api_key(&["read:tenants"]).await;
    let (other, _) = world.second_api("https://other.example.com", signing::Algorithm::Es256).await;
    let elsewhere = world.app_for(&other).await;
    let elsewhere = elsewhere.acts_for_itself("read:tenants").await;
    // Signed as they should be; only what they say is wrong, or what they are.
    api.accepts(&signed(&claims)).await;
    for (why, token) in [
        ("for another API", elsewhere.member("access_token").to_owned()),
        ("for another API too", signed(&with(json!({"aud": "https://api.example.com.evil"})))),
        ("of another issuer", signed(&with(json!({"iss": "https://evil.example.com"})))),
        ("expired", signed(&with(json!({"iat": now - 700, "exp": now - 100})))),
        ("not valid yet", signed(&with(json!({"nbf": now + 300})))),
        ("without a client", signed(&incomplete)),
        ("bound to another network", signed(&with(json!({"allowed_ips": ["192.0.2.0/24"]})))),
        ("bound to IPv6", signed(&with(json!({"allowed_ips": ["::/0"]})))),
        ("signed with another key", Forger::new().signs(&header, &claims)),
        ("signed with an unknown key", Forger::new().signs(&unknown_key, &claims)),
        ("tampered with", format!("{tampered}.{signature}")),
        ("without a signature", format!("{message}.")),
        ("of no algorithm", format!("{none}.")),
        ("of no algorithm, with a signature", format!("{none}.{signature}")),
        ("signed with what everyone knows", format!("{confused}.{}", confused_signature.unwrap())),
        ("a refresh token", refresh),
        ("an API key", key.secret),
        ("garbage", "garbage".to_owned()),
        ("garbage in three parts", "a.b.c".to_owned()),
        ("no JSON", format!("{0}.{0}.{0}", URL_SAFE_NO_PAD.encode("[]"))),
    ] {
        api.refuses(why, &token).await;
    }
    api.accepts(&signed(&with(json!({"allowed_ips": ["192.0.2.0/24", "127.0.0.0/8"]})))).await;

    for (header, status, challenge) in [
        (None, StatusCode::UNAUTHORIZED, "Bearer"),
        (Some("Basic YTpi"), StatusCode::UNAUTHORIZED, "Bearer"),
        (Some("Bearer"), StatusCode::BAD_REQUEST, r#"Bearer error="invalid_request""#),
        (Some("Bearer a b"), StatusCode::BAD_REQUEST, r#"Bearer error="invalid_request""#),
    ] {
        let told = api.told(header).await;
        assert_eq!(told.status, status, "{header:?}: {told:?}");
        let given = told.challenge.unwrap();
        assert!(given.starts_with(challenge), "{header:?}: {given}");
        assert_eq!(given.len() == challenge.len(), status == StatusCode::UNAUTHORIZED, "{given}");
    }
    let lower = api.told(Some(&format!("bearer {good}"))).await;
    assert_eq!(lower.status, StatusCode::OK, "{lower:?}");
}

/// Serves keys alone, as an issuer would that signs other things with them than access tokens.
async fn issuer_of(keys: Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let keys = axum::Json(json!({"keys": [keys]}));
    let router = axum::Router::new().route("/oauth/jwks", axum::routing::get(async || keys));
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    issuer
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_take_no_other_token_of_the_same_issuer_for_an_access_token(
    #[values(Language::Node, Language::Python)] language: Language,
) {
    let Some(installed) = language.installed() else { return };
    let keys = Forger::new();
    let issuer = issuer_of(keys.public_key("k")).await;
    let api = installed.serves(&issuer);
    let now = portcullis::platform::clock::Clock::System.now().unix_seconds();
    // All that an access token has, so that nothing but the type can give it away.
    let claims = json!({
        "iss": issuer, "aud": AUDIENCE, "sub": "usr_1", "iat": now, "exp": now + 600, "jti": "tok_1",
        "client_id": "app_1", "org": "org_1", "scope": "read:tenants",
    });
    let typed = |typ: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k"});
        if !typ.is_null() {
            header["typ"] = typ;
        }
        keys.signs(&header, &claims)
    };
    api.accepts(&typed(json!("at+jwt"))).await;
    api.accepts(&typed(json!("application/at+jwt"))).await;
    for typ in [json!("JWT"), json!("logout+jwt"), json!("statuslist+jwt"), json!(""), Value::Null]
    {
        api.refuses(&format!("the type {typ}"), &typed(typ)).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn without_keys_the_programs_blame_no_token(
    #[values(Language::Node, Language::Python)] language: Language,
) {
    let Some(installed) = language.installed() else { return };
    // Nobody listens there any more.
    let issuer = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let api = installed.serves(&issuer);
    let header = json!({"alg": "ES256", "kid": "k", "typ": "at+jwt"});
    let token = Forger::new().signs(&header, &json!({"iss": issuer}));
    let told = api.told(Some(&format!("Bearer {token}"))).await;
    assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE, "{told:?}");
    assert_eq!(told.challenge.as_deref(), Some("Bearer"));
}

#[rstest]
#[test]
fn the_programs_know_the_rule_of_scopes(
    #[values(Language::Node, Language::Python)] language: Language,
) {
    let Some(installed) = language.installed() else { return };
    let scopes = [
        "*",
        "admin",
        "read",
        "write",
        "read:*",
        "*:tenants",
        "admin:tenants",
        "read:tenants",
        "write:tenants",
        "create:tenants",
        "read:users",
        "read:tenants/acme",
        "write:tenants/acme",
        "read:tenants/*",
        "read:tenants/**",
        "read:tenants/acme/x",
        "read:tenants/acme/*",
        "read:tenants/*/x",
        "read:tenants/acme/**",
        "read:*/acme",
        "*:*/acme",
        "write:*/**",
        "read:tenants/acme/x/y",
        "read:tenants/*/*",
        "ingest:events",
        "ingest:events/eu-1/**",
    ];
    let mut pairs = Vec::new();
    for granted in scopes {
        for required in scopes {
            let covers = |granted: Scope, required: Scope| granted.covers(&required);
            let expected = covers(granted.parse().unwrap(), required.parse().unwrap());
            pairs.push((granted, required, expected));
        }
    }
    assert!(pairs.iter().any(|pair| pair.2) && pairs.iter().any(|pair| !pair.2));
    let lines = match language {
        Language::Node => {
            "import { createInterface } from 'node:readline'
            import { covers } from './portcullis.mjs'
            for await (const line of createInterface({ input: process.stdin })) {
              console.log(JSON.stringify(JSON.parse(line).map(([granted, required]) => covers(granted, required))))
            }"
        }
        Language::Python => {
            "import json, sys\nfrom portcullis import covers\n\
             print(json.dumps([covers(*pair) for pair in json.loads(sys.stdin.readline())]))"
        }
    };
    let mut program = installed.runs_lines("http://127.0.0.1:1", lines);
    program.is_told(&pairs.iter().map(|pair| json!([pair.0, pair.1])).collect());
    let said: Vec<bool> = serde_json::from_str(&program.says()).unwrap();
    assert_eq!(said.len(), pairs.len());
    for ((granted, required, expected), said) in pairs.into_iter().zip(said) {
        assert_eq!(said, expected, "{granted} and {required}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_follows_the_log_sees_revocations(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(installed) = Language::Node.installed() else { return };
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let issued =
        async || app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    let (before, after, other) = (issued().await, issued().await, issued().await);
    assert_eq!(app.revokes(&before).await.status, StatusCode::OK);
    let lines = format!(
        "process.env.CREDENTIAL = {}
        const {{ followForever, isAlive, isRevoked }} = await import('./revocations.mjs')
        const {{ createInterface }} = await import('node:readline')
        followForever()
        for await (const line of createInterface({{ input: process.stdin }})) {{
          console.log(JSON.stringify([isAlive(), isRevoked(JSON.parse(line))]))
        }}",
        json!(world.credential)
    );
    let mut program = installed.runs_lines(&world.server.issuer, &lines);
    let mut is_revoked = |token: &str| {
        program.is_told(&claims(token));
        let [alive, revoked]: [bool; 2] = serde_json::from_str(&program.says()).unwrap();
        alive.then_some(revoked)
    };
    eventually(async || is_revoked(&before) == Some(true)).await;
    assert_eq!(is_revoked(&after), Some(false));
    assert_eq!(app.revokes(&after).await.status, StatusCode::OK);
    eventually(async || is_revoked(&after) == Some(true)).await;
    assert_eq!(is_revoked(&other), Some(false), "its siblings live on");
}

//! How many API keys are verified in a second, beside a bare axum route on the same machine in the same run.
//!
//! `cargo bench --bench verify_api_keys` fills a SQLite database with a million keys (`-- 10000` for fewer), starts a
//! server in this process, and drives it over loopback with 32 connections that are kept. The load comes from the same
//! cores: the ratios mean something, the rates only beside one another.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use entity::{ApiKeyId, SecretId, Timestamp, api_key, api_key_secret};
use portcullis::app::App;
use portcullis::audit::By;
use portcullis::config::Settings;
use portcullis::identity::{SetUp, set_up};
use portcullis::platform::clock::Clock;
use portcullis::resource_servers::{self, Catalog, CatalogScope, NewResourceServer};
use portcullis::server;
use portcullis::signing::Algorithm;
use portcullis_verifier::key::{self, Prefix};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _, Set};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// Keys that are asked about again and again.
const WARM: usize = 1000;

/// What one key is asked by.
type Request = Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>;

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(count));
}

async fn run(count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        listen: address.to_string(),
        data_dir: directory.path().to_path_buf(),
        ..Settings::default()
    };
    let (app, requests) = App::open(settings.check().unwrap(), Clock::System).await.unwrap();
    let credential = company(&app).await;
    let began = Instant::now();
    let keys = Arc::new(fill(&app, count).await);
    println!("{count} keys in the table, in {:.0} s", began.elapsed().as_secs_f64());
    let served = app.clone();
    tokio::spawn(server::serve(served, requests, listener, std::future::pending()));

    let asks = |keys: Arc<Vec<String>>, of: usize| -> Request {
        let credential = credential.clone();
        Arc::new(move |at| {
            let key = &keys[at % of];
            let body = format!(r#"{{"key":"{key}","scope":"read:tenants"}}"#);
            let head =
                "POST /v1/api-keys/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
            let length = body.len();
            format!("{head}\r\nauthorization: Bearer {credential}\r\ncontent-length: {length}\r\n\r\n{body}")
                .into_bytes()
        })
    };
    let warm = asks(keys.clone(), WARM.min(count));
    let cold = asks(keys.clone(), count);
    let answer = one(address, &warm(0)).await;
    assert!(answer.contains(r#""valid":true"#), "{answer}");
    let length = answer.split("\r\n\r\n").nth(1).unwrap().len();
    let bare = bare_route("x".repeat(length)).await;
    println!(
        "an answer has {length} bytes; {CONNECTIONS} connections, {ROUNDS} rounds of {ROUND:?}"
    );

    let mut asked_cold = WARM;
    for round in 1..=ROUNDS {
        let floor = drive(bare, &warm, 0).await;
        let cached = drive(address, &warm, 0).await;
        let reads = point_reads(&app, &keys, asked_cold).await;
        let missed = drive(address, &cold, asked_cold).await;
        asked_cold += usize::try_from(missed.calls).unwrap();
        assert!(asked_cold < count, "more keys are needed for this machine");
        println!(
            "{round}: bare {floor}\n   cached {cached} = {:.0} % of bare\n   cold {missed} = {:.0} % of {:.0} point reads/s",
            100.0 * cached.rate() / floor.rate(),
            100.0 * missed.rate() / reads,
            reads,
        );
    }
}

/// An organization with an API, and the API's credential.
async fn company(app: &App) -> String {
    let (now, by) = (app.clock.now(), By::operator());
    let wanted = SetUp {
        email: "ada@example.com",
        name: "Ada",
        organization: "Example",
        password: &"correct horse battery staple".into(),
        link: None,
    };
    let Ok((_, organization)) = set_up(&app.db, &app.passwords, now, &by, wanted).await else {
        panic!("the installation can't be set up");
    };
    let scope = CatalogScope {
        scope: "read:tenants".parse().unwrap(),
        sentence: "See your tenants".to_owned(),
        needs_admin: false,
    };
    let new = NewResourceServer {
        organization,
        audience: "https://api.example.com",
        name: "Example API",
        algorithm: Algorithm::Es256,
        catalog: Catalog(vec![scope]),
        access_token_seconds: None,
        is_shared: true,
        status_list: false,
    };
    let tx = app.db.begin().await.unwrap();
    let Ok((_, credential)) = resource_servers::create(&tx, now, &by, "pc", new).await else {
        panic!("the API can't be registered");
    };
    tx.commit().await.unwrap();
    credential.expose_secret().to_owned()
}

/// Keys of the company's owner, as many as wanted.
async fn fill(app: &App, count: usize) -> Vec<String> {
    let organization = entity::organization::Entity::find().one(app.db.reader()).await.unwrap();
    let owner = entity::user::Entity::find().one(app.db.reader()).await.unwrap().unwrap().id;
    let organization = organization.unwrap().id;
    let (now, prefix) = (app.clock.now(), Prefix::new("pc", "live").unwrap());
    let mut texts = Vec::with_capacity(count);
    while texts.len() < count {
        let tx = app.db.begin().await.unwrap();
        for _ in 0..50 {
            let batch = (count - texts.len()).min(200);
            let (mut keys, mut secrets) = (Vec::new(), Vec::new());
            for _ in 0..batch {
                let secret = key::generate(&prefix).unwrap();
                let text = secret.expose_secret();
                let id = ApiKeyId::new(now);
                keys.push(row(id, organization, owner, now));
                secrets.push(api_key_secret::ActiveModel {
                    id: Set(SecretId::new(now)),
                    api_key_id: Set(id),
                    digest: Set(key::digest(text).to_vec()),
                    start: Set(text[..12].to_owned()),
                    end: Set(text[text.len() - 4..].to_owned()),
                    created_at: Set(now),
                    expires_at: Set(None),
                    ..Default::default()
                });
                texts.push(text.to_owned());
            }
            if batch > 0 {
                api_key::Entity::insert_many(keys).exec_without_returning(&tx).await.unwrap();
                let secrets = api_key_secret::Entity::insert_many(secrets);
                secrets.exec_without_returning(&tx).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    }
    texts
}

fn row(
    id: ApiKeyId,
    organization: entity::OrganizationId,
    owner: entity::UserId,
    now: Timestamp,
) -> api_key::ActiveModel {
    api_key::ActiveModel {
        id: Set(id),
        organization_id: Set(organization),
        project_id: Set(None),
        name: Set("script".to_owned()),
        search_name: Set("script".to_owned()),
        description: Set(String::new()),
        labels: Set("{}".to_owned()),
        allowed_ips: Set(None),
        scopes: Set("read:tenants".to_owned()),
        environment: Set("live".to_owned()),
        created_by: Set(owner),
        owner_id: Set(Some(owner)),
        version: Set(1),
        created_at: Set(now),
        expires_at: Set(None),
        revoked_at: Set(None),
        // So that no limit is measured.
        requests_per_minute: Set(Some(1_000_000)),
        is_decoy: Set(false),
        ..Default::default()
    }
}

/// A route that reads as much and answers as much, and does nothing.
async fn bare_route(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = move |_: Bytes| {
        let answer = answer.clone();
        async move { answer }
    };
    let router = Router::new().route("/v1/api-keys/verify", post(answers));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

struct Measured {
    calls: u64,
    took: Duration,
    /// In microseconds, sorted.
    times: Vec<u32>,
}

impl Measured {
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let calls = self.calls as f64;
        calls / self.took.as_secs_f64()
    }

    fn percentile(&self, hundredths: usize) -> u32 {
        self.times[(self.times.len() - 1) * hundredths / 100]
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99) = (self.percentile(50), self.percentile(99));
        write!(f, "{:.0}/s (p50 {p50} µs, p99 {p99} µs)", self.rate())
    }
}

/// Sends requests from all connections for one round, beginning with the one of this number.
async fn drive(address: SocketAddr, request: &Request, first: usize) -> Measured {
    let next = Arc::new(AtomicUsize::new(first));
    let began = Instant::now();
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (next, request) = (next.clone(), request.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut times, mut buffer) = (Vec::new(), Vec::new());
                while began.elapsed() < ROUND {
                    let bytes = request(next.fetch_add(1, Ordering::Relaxed));
                    let sent = Instant::now();
                    stream.write_all(&bytes).await.unwrap();
                    read_answer(&mut stream, &mut buffer).await;
                    assert!(
                        buffer.starts_with(b"HTTP/1.1 200"),
                        "{}",
                        String::from_utf8_lossy(&buffer)
                    );
                    times.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for connection in connections {
        times.extend(connection.await.unwrap());
    }
    times.sort_unstable();
    Measured { calls: times.len() as u64, took: began.elapsed(), times }
}

/// Reads one whole answer; those measured here all say how long they are.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the connection was closed");
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.unwrap().trim().parse().unwrap();
        if buffer.len() >= head + 4 + length {
            return;
        }
    }
}

async fn one(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = Vec::new();
    stream.write_all(request).await.unwrap();
    read_answer(&mut stream, &mut buffer).await;
    String::from_utf8(buffer).unwrap()
}

/// How many times in a second the database itself finds a secret by its digest, through the same pool.
async fn point_reads(app: &App, keys: &Arc<Vec<String>>, first: usize) -> f64 {
    let (next, done) = (Arc::new(AtomicUsize::new(first)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let readers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (app, keys) = (app.clone(), keys.clone());
            let (next, done) = (next.clone(), done.clone());
            tokio::spawn(async move {
                while began.elapsed() < ROUND {
                    let at = next.fetch_add(1, Ordering::Relaxed) % keys.len();
                    let digest = key::digest(&keys[at]).to_vec();
                    let found: Option<ApiKeyId> = api_key_secret::Entity::find()
                        .select_only()
                        .column(api_key_secret::Column::ApiKeyId)
                        .filter(api_key_secret::Column::Digest.eq(digest))
                        .into_tuple()
                        .one(app.db.reader())
                        .await
                        .unwrap();
                    assert!(found.is_some());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let done = done.load(Ordering::Relaxed) as f64;
    done / began.elapsed().as_secs_f64()
}

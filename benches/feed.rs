//! How long after a revoke call's response a thousand connected feeds have heard of it, and what a feed costs in memory.
//!
//! `cargo bench --bench feed` (`-- 100` for fewer feeds) runs the binary as a process of its own on SQLite, and on
//! PostgreSQL too where `PORTCULLIS_TEST_POSTGRES_URL` names a server. The readers run on the same cores as the server,
//! so that what is measured is more than the server's own share.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis::api_keys::{self, Labels, NewApiKey};
use portcullis::app::App;
use portcullis::audit::By;
use portcullis::config::Settings;
use portcullis::identity::{SetUp, set_up};
use portcullis::platform::clock::Clock;
use portcullis::resource_servers::{self, Catalog, CatalogScope, NewResourceServer};
use portcullis::signing::Algorithm;
use portcullis::tenancy::Role;
use sea_orm::ConnectionTrait as _;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const REVOCATIONS: usize = 200;
const PAUSE: Duration = Duration::from_millis(125);

fn main() {
    let feeds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("portcullis.db").display());
        run("SQLite", directory.path(), &url, feeds).await;
        if let Ok(admin) = std::env::var("PORTCULLIS_TEST_POSTGRES_URL") {
            let directory = tempfile::tempdir().unwrap();
            let url = postgres(&admin).await;
            run("PostgreSQL", directory.path(), &url, feeds).await;
        }
    });
}

/// A database of its own.
async fn postgres(admin: &str) -> String {
    let name = format!("portcullis_bench_{}", uuid::Uuid::now_v7().simple());
    let connection = sea_orm::Database::connect(admin).await.unwrap();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut url = url::Url::parse(admin).unwrap();
    url.set_path(&name);
    url.into()
}

async fn run(name: &str, directory: &Path, url: &str, feeds: usize) {
    let company = company(directory, url).await;
    let server = Server::start(directory, url);
    // What the first request of its kind makes is no feed's.
    let mut warm = Feed::connect(server.address, &company.credential).await;
    warm.until_ready().await;
    drop(warm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = server.resident_kib();

    let hearts = Arc::new(AtomicUsize::new(0));
    let heard = Arc::new(Mutex::new(vec![Vec::with_capacity(REVOCATIONS); feeds]));
    let mut readers = Vec::new();
    for at in 0..feeds {
        let mut feed = Feed::connect(server.address, &company.credential).await;
        feed.until_ready().await;
        let (hearts, heard) = (hearts.clone(), heard.clone());
        readers.push(tokio::spawn(async move {
            hearts.fetch_add(1, Ordering::Relaxed);
            let mut times = Vec::with_capacity(REVOCATIONS);
            while times.len() < REVOCATIONS {
                let entries = feed.entries().await;
                times.extend(std::iter::repeat_n(Instant::now(), entries));
            }
            heard.lock().await[at] = times;
            feed
        }));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hearts.load(Ordering::Relaxed), feeds);
    let connected = server.resident_kib();

    let mut told = Vec::with_capacity(REVOCATIONS);
    let mut admin = TcpStream::connect(server.address).await.unwrap();
    admin.set_nodelay(true).unwrap();
    for key in &company.keys {
        revoke(&mut admin, &company.admin, key).await;
        told.push(Instant::now());
        tokio::time::sleep(PAUSE).await;
    }
    let mut connections = Vec::new();
    for reader in readers {
        connections.push(reader.await.unwrap());
    }
    let after = server.resident_kib();
    drop(connections);

    let mut waits: Vec<Duration> = Vec::with_capacity(feeds * REVOCATIONS);
    for times in heard.lock().await.iter() {
        waits.extend(times.iter().zip(&told).map(|(heard, told)| heard.duration_since(*told)));
    }
    waits.sort_unstable();
    let at = |thousandths: usize| waits[(waits.len() - 1) * thousandths / 1000].as_secs_f64() * 1e3;
    println!(
        "{name}: {feeds} feeds, {REVOCATIONS} revocations, one each {PAUSE:?}\n  from the response to the arrival: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms\n  resident memory: {before} KiB, {connected} KiB with the feeds, {after} KiB at the end: {:.1} and {:.1} KiB a feed",
        at(500),
        at(990),
        at(1000),
        per(connected - before, feeds),
        per(after - before, feeds),
    );
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per(kib: i64, feeds: usize) -> f64 {
    kib as f64 / feeds as f64
}

/// An organization with an API, and keys to revoke.
struct Company {
    /// The API's.
    credential: String,
    /// The secret of the key that revokes.
    admin: String,
    /// The ids of those that are revoked.
    keys: Vec<String>,
}

async fn company(directory: &Path, url: &str) -> Company {
    let settings = Settings {
        data_dir: directory.to_path_buf(),
        database_url: url.to_owned(),
        ..Settings::default()
    };
    let (app, _requests) = App::open(settings.check().unwrap(), Clock::System).await.unwrap();
    let (now, by) = (app.clock.now(), By::operator());
    let wanted = SetUp {
        email: "ada@example.com",
        name: "Ada",
        organization: "Example",
        password: &"correct horse battery staple".into(),
        link: None,
    };
    let Ok((user, organization)) = set_up(&app.db, &app.passwords, now, &by, wanted).await else {
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
    let apis = resource_servers::list_all(app.db.reader()).await.unwrap();
    let mut made = Vec::new();
    for _ in 0..=REVOCATIONS {
        let new = NewApiKey {
            organization,
            project: None,
            created_by: user.id,
            reach: Role::Owner.scopes(),
            name: "script",
            description: "",
            labels: Labels::new(),
            scopes: &["admin".to_owned()],
            allowed_ips: None,
            environment: None,
            brand: None,
            requests_per_minute: Some(1_000_000),
            expires_at: None,
            is_decoy: false,
        };
        let tx = app.db.begin().await.unwrap();
        let settings = &app.config.api_keys;
        let Ok(key) = api_keys::issue(&tx, now, &by, &["pc"], settings, &apis, new).await else {
            panic!("a key can't be made");
        };
        tx.commit().await.unwrap();
        made.push(key);
    }
    let (_, admin) = made.pop().unwrap();
    app.db.clone().close().await.unwrap();
    Company {
        credential: credential.expose_secret().to_owned(),
        admin: admin.expose_secret().to_owned(),
        keys: made.into_iter().map(|(key, _)| key.id.to_string()).collect(),
    }
}

/// The binary; ended when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(directory: &Path, url: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .current_dir(directory)
            .arg("serve")
            .env("PORTCULLIS_LISTEN", "127.0.0.1:0")
            .env("PORTCULLIS_DATABASE_URL", url)
            .env("PORTCULLIS_DATA_DIR", directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = std::sync::mpsc::channel();
        // Read to the end: a program that can't print ends.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(address) = line.trim().strip_prefix("listening") {
                    sender.send(address.trim().parse().unwrap()).unwrap();
                }
            }
        });
        let address = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        Self { child, address }
    }

    fn resident_kib(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A reader, as small as can be: it counts.
struct Feed {
    stream: TcpStream,
    /// The end of what was read, in case an event is cut in two.
    rest: Vec<u8>,
}

impl Feed {
    async fn connect(address: SocketAddr, credential: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /oauth/revocations HTTP/1.1\r\nhost: x\r\naccept: text/event-stream";
        let request = format!("{head}\r\nauthorization: Bearer {credential}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, rest: Vec::new() }
    }

    async fn until_ready(&mut self) {
        loop {
            assert!(self.stream.read_buf(&mut self.rest).await.unwrap() > 0, "the feed has ended");
            let text = String::from_utf8_lossy(&self.rest);
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            if text.contains("event: ready") && text.ends_with("\n\n\r\n") {
                self.rest.clear();
                return;
            }
        }
    }

    /// Waits for bytes; says how many entries they complete.
    async fn entries(&mut self) -> usize {
        const MARK: &[u8] = b"event: entry\n";
        assert!(self.stream.read_buf(&mut self.rest).await.unwrap() > 0, "the feed has ended");
        let count = self.rest.windows(MARK.len()).filter(|window| *window == MARK).count();
        // A mark that has been counted must not be again.
        let keep = self.rest.len().min(MARK.len() - 1);
        self.rest.drain(..self.rest.len() - keep);
        count
    }
}

async fn revoke(stream: &mut TcpStream, credential: &str, key: &str) {
    let head = format!("DELETE /v1/api-keys/{key} HTTP/1.1\r\nhost: x");
    let request = format!("{head}\r\nauthorization: Bearer {credential}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection was closed");
    }
    assert!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer));
}

//! Three processes over one PostgreSQL, behind a balancer that sends each connection to one that lives.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::ledger::Kind;
use crate::random;
use crate::services::{Database, OwnDatabase};

pub const AUDIENCES: [&str; 2] = ["https://tenants.example.com", "https://invoices.example.com"];
const PROCESSES: usize = 3;
const SCOPE: &str = "read:tenants";

pub struct Installation {
    database: OwnDatabase,
    issuer: String,
    credentials: Vec<String>,
    /// Of each API, an application that acts for itself there.
    clients: Vec<(String, String)>,
    admin: String,
    http: reqwest::Client,
    postgres: DatabaseConnection,
    processes: Mutex<Vec<Process>>,
    connections: Arc<Connections>,
}

/// Where the balancer sends to, and what it has open.
#[derive(Default)]
struct Connections {
    addresses: Mutex<Vec<String>>,
    open: Mutex<Vec<AbortHandle>>,
}

/// Killed when it is dropped.
struct Process {
    child: Child,
    /// Held open: a program that can't print ends.
    output: BufReader<ChildStdout>,
    address: String,
}

impl Installation {
    /// None where there is no PostgreSQL.
    pub async fn open() -> Option<Self> {
        let database = Database::Postgres.create().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let runs = |arguments: &[&str], input: &str| tells(&database, &issuer, arguments, input);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let setup = [
            "setup",
            "--email",
            "ada@example.com",
            "--organization",
            "Example",
            "--password-stdin",
        ];
        runs(&setup, "correct horse battery staple");
        let (mut credentials, mut clients) = (Vec::new(), Vec::new());
        for audience in AUDIENCES {
            let api = ["resource-servers", "create", "--audience", audience, "--name", "An API"];
            let api = runs(&[&api[..], &["--scope", "read:tenants=See tenants"]].concat(), "");
            credentials.push(text(&api["credential"]));
            let client = ["clients", "create", "--name", "An app", "--resource", audience];
            let more = ["--redirect-uri", "https://app.example.com/callback", "--scope", SCOPE];
            let client = runs(&[&client[..], &more].concat(), "");
            clients.push((text(&client["client_id"]), text(&client["client_secret"])));
        }
        let key = runs(&["api-keys", "create", "--name", "admin", "--scope", "admin"], "");
        let postgres = sea_orm::Database::connect(&database.url).await.unwrap();
        let processes: Vec<Process> =
            (0..PROCESSES).map(|_| Process::start(&database, &issuer)).collect();
        let addresses = processes.iter().map(|process| process.address.clone()).collect();
        let connections =
            Arc::new(Connections { addresses: Mutex::new(addresses), open: Mutex::default() });
        tokio::spawn(balance(listener, connections.clone()));
        // Each request goes to whichever process, as with a balancer before many clients.
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Some(Self {
            issuer,
            credentials,
            clients,
            admin: text(&key["secret"]),
            http,
            postgres,
            processes: Mutex::new(processes),
            connections,
            database,
        })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What an API authenticates with.
    pub fn credential(&self, audience: &str) -> &str {
        let place = AUDIENCES.iter().position(|each| *each == audience).unwrap();
        &self.credentials[place]
    }

    /// The id and the secret of a key, if that was acknowledged.
    pub async fn makes_a_key(&self) -> Option<(String, String)> {
        let request =
            self.http.post(format!("{}/v1/api-keys", self.issuer)).bearer_auth(&self.admin);
        let wanted = json!({ "name": "script", "scopes": [SCOPE] });
        let made = answered(request.json(&wanted), StatusCode::CREATED).await?;
        let made: Value = made.json().await.ok()?;
        Some((made["id"].as_str()?.to_owned(), made["secret"].as_str()?.to_owned()))
    }

    /// A token of an application for itself.
    pub async fn issues(&self, audience: &str) -> Option<String> {
        let place = AUDIENCES.iter().position(|each| *each == audience)?;
        let (id, secret) = &self.clients[place];
        let form = [("grant_type", "client_credentials"), ("scope", SCOPE), ("resource", audience)];
        let request = self.http.post(format!("{}/oauth/token", self.issuer));
        token(request.basic_auth(id, Some(secret)).form(&form)).await
    }

    /// A token for a key; none also where the key has been revoked meanwhile.
    pub async fn exchanges(&self, secret: &str, audience: &str) -> Option<String> {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", secret),
            ("subject_token_type", "urn:portcullis:params:oauth:token-type:api-key"),
            ("resource", audience),
        ];
        token(self.http.post(format!("{}/oauth/token", self.issuer)).form(&form)).await
    }

    /// Whether the revocation was acknowledged.
    pub async fn revokes(&self, kind: Kind, id: &str) -> bool {
        match kind {
            Kind::ApiKey => {
                let request = self.http.delete(format!("{}/v1/api-keys/{id}", self.issuer));
                let answer = request.bearer_auth(&self.admin).send().await;
                answer.is_ok_and(|answer| answer.status() == StatusCode::NO_CONTENT)
            }
            Kind::AccessToken => {
                // Whoever it was issued to; the other application's request ends nothing.
                let claims: Value = claims(id);
                let client = claims["client_id"].as_str().unwrap();
                let (id_, secret) = self.clients.iter().find(|(own, _)| own == client).unwrap();
                let request = self.http.post(format!("{}/oauth/revoke", self.issuer));
                let request = request.basic_auth(id_, Some(secret)).form(&[("token", id)]);
                answered(request, StatusCode::OK).await.is_some()
            }
        }
    }

    /// Ends whatever is open between the world and the processes, feeds too.
    pub fn cuts_connections(&self) {
        for connection in self.connections.open.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// Ends the sessions in which the processes listen to PostgreSQL.
    pub async fn kills_listeners(&self) {
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND query ILIKE 'LISTEN%'";
        let killed = self.postgres.execute_unprepared(statement).await.unwrap();
        assert!(killed.rows_affected() > 0, "nobody listens");
    }

    /// Kills one on the spot, and starts another in its place.
    pub async fn kills_a_process(&self) {
        let victim = {
            let mut processes = self.processes.lock().unwrap();
            let place = random(processes.len());
            processes.swap_remove(place)
        };
        self.connections.addresses.lock().unwrap().retain(|each| *each != victim.address);
        drop(victim);
        let (url, directory) =
            (self.database.url.clone(), self.database.directory.path().to_owned());
        let issuer = self.issuer.clone();
        let started =
            tokio::task::spawn_blocking(move || Process::start_on(&url, &directory, &issuer));
        let process = started.await.unwrap();
        self.connections.addresses.lock().unwrap().push(process.address.clone());
        self.processes.lock().unwrap().push(process);
    }
}

/// The answer, if it came and has this status.
async fn answered(request: RequestBuilder, status: StatusCode) -> Option<Response> {
    request.send().await.ok().filter(|answer| answer.status() == status)
}

async fn token(request: RequestBuilder) -> Option<String> {
    let answer: Value = answered(request, StatusCode::OK).await?.json().await.ok()?;
    Some(answer["access_token"].as_str()?.to_owned())
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// Sends each connection to a process that lives.
async fn balance(listener: TcpListener, connections: Arc<Connections>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        let to = connections.clone();
        let task = tokio::spawn(async move {
            // A process that died meanwhile refuses: another is tried.
            for _ in 0..PROCESSES * 2 {
                let address = {
                    let addresses = to.addresses.lock().unwrap();
                    addresses[random(addresses.len())].clone()
                };
                if let Ok(mut server) = TcpStream::connect(&address).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
        let mut open = connections.open.lock().unwrap();
        open.retain(|task| !task.is_finished());
        open.push(task.abort_handle());
    }
}

/// The binary on the installation's data directory and database.
fn command(url: &str, directory: &Path, issuer: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    // The variables of the tests are none of its settings.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTCULLIS_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(directory)
        .env("PORTCULLIS_API_KEYS__REQUESTS_PER_MINUTE", "1000000")
        .args(["--issuer", issuer, "--listen", "127.0.0.1:0", "--database-url", url, "--data-dir"])
        .arg(directory);
    command
}

/// Runs a command that prints JSON.
fn tells(database: &OwnDatabase, issuer: &str, arguments: &[&str], input: &str) -> Value {
    let mut command = command(&database.url, database.directory.path(), issuer);
    command.args(arguments).arg("--json");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Process {
    fn start(database: &OwnDatabase, issuer: &str) -> Self {
        Self::start_on(&database.url, database.directory.path(), issuer)
    }

    /// Comes back when it listens.
    fn start_on(url: &str, directory: &Path, issuer: &str) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(directory.join("log"));
        let mut child = command(url, directory, issuer)
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, output, address: String::new() };
        let mut line = String::new();
        while process.address.is_empty() {
            line.clear();
            let log = || std::fs::read_to_string(directory.join("log")).unwrap();
            let read = process.output.read_line(&mut line).unwrap();
            assert!(read > 0, "it did not start: {}", log());
            if let Some(address) = line.trim().strip_prefix("listening") {
                process.address = address.trim().trim_start_matches("http://").to_owned();
            }
        }
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

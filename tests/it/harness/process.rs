//! The real binary, as a process of its own that can be killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::actors::http;
use super::eventually;
use super::server::Server;
use super::services::{Database, OwnDatabase};

/// The binary, to be run on a data directory and a database.
fn command(directory: &Path, database_url: &str, issuer: &str) -> Command {
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
        .args(["--issuer", issuer, "--listen", "127.0.0.1:0"])
        .args(["--database-url", database_url, "--data-dir"])
        .arg(directory);
    command
}

/// What an operator does on the command line, beside a running server.
pub fn operator_runs(server: &Server, arguments: &[&str]) {
    let mut command = command(server.data_dir(), server.database_url(), &server.issuer);
    let output = command.args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
}

/// A data directory and a database, and the binary to use them.
pub struct Installation {
    database: OwnDatabase,
    /// The same for every start, though each listens on a port of its own.
    pub issuer: &'static str,
}

impl Installation {
    /// An empty one, or none where the database's service is missing.
    pub async fn on(database: Database) -> Option<Self> {
        Some(Self { database: database.create().await?, issuer: "http://127.0.0.1:8080" })
    }

    fn command(&self) -> Command {
        command(self.database.directory.path(), &self.database.url, self.issuer)
    }

    /// Runs a command that prints JSON.
    pub fn tells(&self, arguments: &[&str], input: &str) -> Value {
        let mut command = self.command();
        command.args(arguments).arg("--json");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts the server and waits until it is ready.
    pub async fn starts(&self) -> Process {
        let log = self.database.directory.path().join("log");
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut address = None;
        let mut line = String::new();
        while address.is_none() && output.read_line(&mut line).unwrap() > 0 {
            address = line
                .trim()
                .strip_prefix("listening")
                .map(|address| format!("http://{}", address.trim()));
            line.clear();
        }
        let address = address.unwrap_or_else(|| {
            panic!("it did not start: {}", std::fs::read_to_string(log).unwrap())
        });
        let process = Process { child, _output: output, address };
        let ready = format!("{}/readyz", process.address);
        eventually(async || {
            http().get(&ready).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        process
    }
}

/// A running server; killed when it is dropped.
pub struct Process {
    child: Child,
    /// Held open: a program that can't print ends.
    _output: BufReader<ChildStdout>,
    pub address: String,
}

impl Process {
    /// `kill -9`: not another instruction is run.
    pub fn killed(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

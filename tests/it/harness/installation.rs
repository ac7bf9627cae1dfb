//! The real binary in a directory of its own, with nothing of our environment but the path.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::services::{Database, OwnDatabase};

pub const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// A directory in which the program is run, as an operator would.
pub struct Installation {
    database: OwnDatabase,
    /// A loopback address that no other test uses.
    pub address: String,
    variables: Vec<(String, String)>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A server that runs until it is dropped.
pub struct Running {
    child: Child,
    /// What it printed up to the line that says what to do next, and that line's block.
    pub announcement: String,
    log: PathBuf,
}

impl Installation {
    /// An empty directory, or none where the database's service is missing.
    pub async fn on(database: Database) -> Option<Self> {
        let own = database.create().await?;
        let mut installation =
            Self { database: own, address: own_address(), variables: Vec::new() };
        installation.set("PORTCULLIS_LISTEN", &installation.address.clone());
        if database == Database::Postgres {
            installation.set("PORTCULLIS_DATABASE_URL", &installation.database.url.clone());
        }
        Some(installation)
    }

    /// An empty directory whose database is the file that is made when nothing is said.
    pub async fn empty() -> Self {
        let Some(installation) = Self::on(Database::Sqlite).await else {
            panic!("SQLite needs no service");
        };
        installation
    }

    pub fn directory(&self) -> &Path {
        self.database.directory.path()
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets an environment variable for everything that is run from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    pub fn writes(&self, file: &str, text: &str) {
        std::fs::write(self.directory().join(file), text).unwrap();
    }

    /// The program with these arguments, in the directory, with a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        self.cleaned(command)
    }

    fn cleaned(&self, mut command: Command) -> Command {
        command
            .current_dir(self.directory())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn runs(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(spawn(self.command(arguments)))
    }

    /// Runs the program to its end, and fails where it fails.
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        self.runs(arguments).success()
    }

    /// Runs the program to its end with a text on its standard input.
    pub fn runs_with(&self, input: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that refuses before it reads closes the pipe; that is its right.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Outcome::of(child)
    }

    /// Pastes a line into a shell.
    pub fn pastes(&self, line: &str) -> Outcome {
        Outcome::of(spawn(self.shell(line)))
    }

    /// A shell that runs a pasted line.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        self.cleaned(command)
    }

    /// Makes the owner ada@example.com and the organization Example.
    pub fn is_set_up(&self) {
        let arguments = [
            "setup",
            "--email",
            "ada@example.com",
            "--organization",
            "Example",
            "--password-stdin",
        ];
        self.runs_with(super::world::PASSWORD, &arguments).success();
    }

    /// Starts the server and waits until it has said what to do next.
    pub fn starts(&self) -> Running {
        Running::of(self.command(&["serve"]), self.directory())
    }

    /// Starts what a pasted line starts.
    pub fn starts_by(&self, line: &str) -> Running {
        Running::of(self.shell(&format!("exec {line}")), self.directory())
    }
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// All of 127.0.0.0/8 is this machine: an address and port that only this process and test come to.
fn own_address() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let (high, low) = (process >> 8 & 0xff, process & 0xff);
    let port = 20_000 + (process >> 16) * 100 + u32::from(count / 250);
    format!("127.{high}.{low}.{}:{port}", count % 250 + 2)
}

impl Outcome {
    /// Waits for the end; what does not end by itself within a minute is ended, and has failed.
    fn of(child: Child) -> Self {
        let id = child.id().to_string();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
            Command::new("kill").args(["-KILL", &id]).status().unwrap();
            receiver.recv().unwrap()
        });
        Self::from(output.unwrap())
    }

    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// The one sentence of a failure with this exit code, without the program's name.
    #[track_caller]
    pub fn sentence(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        let sentence = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(!sentence.contains('\n'), "more than one line: {sentence}");
        let sentence = sentence.strip_prefix("portcullis: ");
        sentence.unwrap_or_else(|| panic!("no sentence of ours: {:?}", self.stderr)).to_owned()
    }
}

impl From<std::process::Output> for Outcome {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Running {
    fn of(mut command: Command, directory: &Path) -> Self {
        let log = directory.join("serve.log");
        let file = std::fs::File::create(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut announcement = String::new();
        let mut is_complete = false;
        while !is_complete {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let mut running = Self { child, announcement, log };
                let code = running.child.wait().unwrap();
                panic!("the server ended ({code}): {}{}", running.announcement, running.log());
            }
            is_complete = line.starts_with("Next:") || line.trim_end().ends_with(" quickstart");
            announcement.push_str(&line);
        }
        // What else it says must not fill the pipe.
        std::thread::spawn(move || {
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        Self { child, announcement, log }
    }

    /// The setup link that it printed, if it did.
    pub fn setup_link(&self) -> Option<&str> {
        self.announcement.lines().map(str::trim).find(|line| line.contains("/setup?token="))
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to stop, waits until it has, and says how it ended.
    pub fn stops(mut self) -> i32 {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

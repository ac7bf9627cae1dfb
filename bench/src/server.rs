//! The server that is measured: the binary that is shipped, as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::installation::Installation;
use crate::load;

/// Ended when it is dropped.
pub struct Server {
    child: Child,
    /// Held open: a program that can't print ends.
    _output: BufReader<ChildStdout>,
    directory: PathBuf,
    pub address: SocketAddr,
    /// From the start of the process to its first 200.
    pub started_in: Duration,
}

/// What a process has used up.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    pub resident_kib: u64,
}

impl Server {
    /// # Errors
    /// When it does not start.
    pub async fn start(binary: &Path, installation: &Installation) -> Result<Self> {
        Self::start_as(Command::new(binary), installation).await
    }

    /// The same, under callgrind, which counts nothing until it is told to.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_counted(binary: &Path, installation: &Installation) -> Result<Self> {
        let mut command = counted();
        command.arg(binary);
        Self::start_as(command, installation).await
    }

    async fn start_as(mut command: Command, installation: &Installation) -> Result<Self> {
        let (directory, issuer) = (installation.directory.path(), &installation.app.config.issuer);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let began = Instant::now();
        let mut child = command
            .current_dir(directory)
            .env_clear()
            .env("PATH", path)
            .env("PORTCULLIS_API_KEYS__REQUESTS_PER_MINUTE", "1000000")
            // Logins come from addresses that the load makes up, as a proxy tells them.
            .env("PORTCULLIS_TRUSTED_PROXIES", r#"["127.0.0.1/32"]"#)
            .args(["--issuer", issuer, "--listen", "127.0.0.1:0"])
            .args(["--database-url", &installation.database_url, "--data-dir"])
            .arg(directory)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.join("log"))?)
            .kill_on_drop(true)
            .spawn()
            .context("the server can't be run")?;
        let mut output = BufReader::new(child.stdout.take().context("it has no output")?);
        let mut line = String::new();
        let address = loop {
            line.clear();
            if output.read_line(&mut line).await? == 0 {
                bail!(
                    "the server did not start: {}",
                    std::fs::read_to_string(directory.join("log"))?
                );
            }
            if let Some(address) = line.trim().strip_prefix("listening") {
                break address.trim().trim_start_matches("http://").parse()?;
            }
        };
        let (status, _) = load::one(address, b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        ensure!(status == 200, "the server is not ready");
        let directory = directory.to_path_buf();
        Ok(Self { child, _output: output, directory, address, started_in: began.elapsed() })
    }

    /// # Errors
    /// When the process is gone.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Where its data is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets it end as an operator does.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.id()?.to_string();
        let status = Command::new("sh").args(["-c", "kill \"$0\"", &id]).status().await?;
        ensure!(status.success(), "the server can't be asked to end");
        let status = self.child.wait().await?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    /// # Errors
    /// When the process is gone.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.id()?)
    }
}

/// What a program is run by whose instructions are counted. What is found out goes to the directory that it runs in.
pub fn counted() -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=callgrind.out"]);
    command
}

/// # Errors
/// When there is no such process.
pub fn usage(id: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in brackets may hold anything.
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("an unreadable stat")?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok());
    // utime and stime, the 14th and 15th of proc(5), in hundredths of a second.
    let ticks = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(Usage {
        cpu: Duration::from_millis(ticks.context("an unreadable stat")? * 10),
        resident_kib: resident.context("an unreadable status")?,
    })
}

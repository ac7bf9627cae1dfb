//! `portcullis scan`: our credentials where they don't belong.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use portcullis_verifier::key;
use secrecy::{ExposeSecret as _, SecretString};

use super::Failure;
use super::context::Context;
use super::output;
use crate::scan::{self, Buffer, Finder, Kind, Report, Server, Source, State};

/// How many credentials are asked about at the same time.
const QUESTIONS_AT_ONCE: usize = 8;

#[derive(Args)]
#[command(after_help = "\
Exit code 0: nothing found; 1: something was found; 2: not everything could be searched, or revoked.

Examples:
  portcullis scan --brand acme .
  git diff | portcullis scan -
  portcullis scan --git --format sarif > leaks.sarif
  portcullis scan --check --server https://auth.example.com backup.sql
  portcullis scan --gitleaks-config >> .gitleaks.toml")]
pub(super) struct Scan {
    /// A file, a directory and all below it, or - for standard input
    #[arg(required_unless_present_any = ["git", "gitleaks_config"])]
    paths: Vec<PathBuf>,
    /// Search all of a git repository's history [default: of the one here]
    #[arg(long, value_name = "REPOSITORY")]
    git: Option<Option<PathBuf>>,
    /// A brand to look for; repeat for more [default: the configured ones]
    #[arg(long = "brand", value_name = "BRAND")]
    brands: Vec<String>,
    /// How to say what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Ask the server which API keys among the credentials are live
    #[arg(long)]
    check: bool,
    /// Hand the credentials to the server, which ends them
    #[arg(long)]
    revoke: bool,
    /// The server to ask [default: the configured issuer]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Print rules for gitleaks instead of searching
    #[arg(long, conflicts_with_all = ["paths", "git", "format", "check", "revoke", "server"])]
    gitleaks_config: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Sarif,
}

impl Scan {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let brands = self.brands(context)?;
        let brands: Vec<&str> = brands.iter().map(String::as_str).collect();
        let finder = Finder::new(brands.iter().copied()).map_err(usage)?;
        if self.gitleaks_config {
            return Ok(output::print(&scan::gitleaks_config(brands))?);
        }
        let server = self.server(context)?;
        let mut report = self.search(&finder);
        for unreadable in &report.unreadable {
            complain(&format!("can't read {}: {}", unreadable.what, unreadable.why));
        }
        if report.is_full() {
            complain(&format!("stopped after {} findings; there may be more", scan::MAX_FINDINGS));
        }
        if let Some(server) = server.as_ref().filter(|_| self.check) {
            check(server, &mut report).await;
        }
        let text = match self.format {
            Format::Text => scan::text(&report),
            Format::Json => pretty(&scan::json(&report))?,
            Format::Sarif => pretty(&scan::sarif(&report))?,
        };
        if !text.is_empty() {
            output::print(&text)?;
        }
        if let Some(server) = server.as_ref().filter(|_| self.revoke) {
            revoke(server, &report).await?;
        }
        match (report.findings.is_empty(), report.unreadable.is_empty()) {
            (false, _) => Err(Failure::Said(1)),
            (true, true) => Ok(()),
            (true, false) => Err(Failure::Said(2)),
        }
    }

    /// Where brands are named, no configuration is asked: a build server has none.
    fn brands(&self, context: &Context) -> Result<Vec<String>, Failure> {
        if !self.brands.is_empty() {
            return Ok(self.brands.clone());
        }
        Ok(context.config()?.brands().into_iter().map(str::to_owned).collect())
    }

    fn server(&self, context: &Context) -> Result<Option<Server>, Failure> {
        if !self.check && !self.revoke {
            return Ok(None);
        }
        let url = match &self.server {
            Some(url) => url.clone(),
            None => context.config()?.issuer,
        };
        Ok(Some(Server::at(&url).map_err(usage)?))
    }

    fn search(&self, finder: &Finder) -> Report {
        let mut report = Report::default();
        let mut buffer = Buffer::default();
        for path in &self.paths {
            if path == Path::new("-") {
                let mut input = std::io::stdin().lock();
                let source = Source::StandardInput;
                scan::scan_stream(finder, &mut buffer, &source, &mut input, &mut report);
            } else {
                scan::scan_path(finder, &mut buffer, path, &mut report);
            }
        }
        if let Some(repository) = &self.git {
            scan::scan_history(finder, &mut buffer, repository.as_deref(), &mut report);
        }
        report
    }
}

/// Each credential once, wherever and however often it was found.
fn credentials(report: &Report) -> HashMap<[u8; 32], (Kind, SecretString)> {
    let once = report
        .findings
        .iter()
        .map(|it| (key::digest(it.secret.expose_secret()), (it.kind, it.secret.clone())));
    once.collect()
}

/// Notes of each finding whether it is live.
async fn check(server: &Server, report: &mut Report) {
    let asked = futures::stream::iter(credentials(report))
        .map(async |(digest, (kind, secret))| (digest, server.state(kind, &secret).await))
        .buffer_unordered(QUESTIONS_AT_ONCE);
    let states: HashMap<[u8; 32], Result<State, String>> = asked.collect().await;
    if let Some(why) = states.values().find_map(|state| state.as_ref().err()) {
        complain(&format!("{} did not say what is live: {why}", server.url()));
    }
    for finding in &mut report.findings {
        let state = states.get(&key::digest(finding.secret.expose_secret()));
        finding.state = Some(state.and_then(|it| it.clone().ok()).unwrap_or(State::Unknown));
    }
}

async fn revoke(server: &Server, report: &Report) -> Result<(), Failure> {
    let credentials = credentials(report);
    let secrets: Vec<&SecretString> = credentials.values().map(|(_, secret)| secret).collect();
    server.revoke(&secrets).await.map_err(usage)?;
    if !secrets.is_empty() {
        let what = format!("{} credential(s) were handed to {}", secrets.len(), server.url());
        complain(&format!("{what}; those that it knows have ended"));
    }
    Ok(())
}

/// Whatever keeps a search from being complete has the exit code 2: 1 says that something was found.
fn usage(error: impl std::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// Says something beside the report, which alone stands on standard output.
fn complain(sentence: &str) {
    eprintln!("portcullis: {}", sentence.replace(char::is_control, " "));
}

fn pretty(value: &serde_json::Value) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

//! Measures a Portcullis server: how many of each request it answers in a second, beside what the machine itself could
//! do in the same run. The rates mean little elsewhere; the ratios do.
//!
//! ```text
//! cargo run --release -p portcullis-bench -- --keys 100000 --connections 32,512 --seconds 5
//! ```
//!
//! The server is the release binary, a process of its own on a database of its own. The load comes from this process,
//! on the same cores, over loopback and connections that are kept.
#![forbid(unsafe_code)]

mod floor;
mod installation;
mod load;
mod report;
mod server;
mod workloads;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use jsonwebtoken::Algorithm;

use floor::Bare;
use installation::{Installation, PASSWORD, Sizes};
use load::{Requests, drive};
use report::{Floors, Report, Row};
use server::Server;
use workloads::{Floor, Workload};

#[derive(Parser)]
#[command(about = "Measures a Portcullis server beside the floors that it stands on", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// An empty PostgreSQL database; SQLite in a temporary directory without it.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The server's binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[arg(long, default_value_t = 1000)]
    users: usize,
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Codes and grants to use up.
    #[arg(long, default_value_t = 100_000)]
    grants: usize,
    #[arg(long, value_delimiter = ',', default_value = "32,512")]
    connections: Vec<usize>,
    /// How long each workload is driven.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only workloads whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the same figures are written as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// The route that does nothing (started by the measurement itself)
    #[command(hide = true)]
    Bare { answer_bytes: usize },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Bare { answer_bytes }) => floor::serve_bare(answer_bytes).await,
        None => measure(&arguments).await,
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("portcullis"));
    let binary = arguments.binary.clone().map_or_else(beside, Ok)?;
    ensure!(binary.exists(), "{} does not exist: build it first", binary.display());
    let time = Duration::from_secs_f64(arguments.seconds);
    let sizes = Sizes {
        users: arguments.users.max(1),
        clients: arguments.clients.max(4),
        keys: arguments.keys.max(1),
        grants: arguments.grants.max(1),
    };
    let began = Instant::now();
    let installation = Installation::fill(arguments.database_url.as_deref(), sizes).await?;
    let filled_in_seconds = began.elapsed().as_secs_f64();
    let issuer = installation.app.config.issuer.clone();
    let directory = installation.directory.path();
    let server = Server::start(&binary, directory, &installation.database_url, &issuer).await?;
    let idle = server.usage()?;
    let floors = floors(&installation, time).await?;
    let mut report = Report {
        database: if installation.app.db.is_postgres() { "PostgreSQL" } else { "SQLite" },
        users: sizes.users,
        clients: sizes.clients,
        keys: sizes.keys,
        filled_in_seconds,
        first_answer_milliseconds: server.started_in.as_secs_f64() * 1000.0,
        idle_resident_mib: mib(idle.resident_kib),
        resident_mib_at_the_end: 0.0,
        floors,
        rows: Vec::new(),
    };
    for workload in workloads::all(&installation).await? {
        if workload.name.contains(&arguments.only) {
            let rows = run(arguments, &server, &workload, &report.floors, time).await?;
            report.rows.extend(rows);
        }
    }
    report.resident_mib_at_the_end = mib(server.usage()?.resident_kib);
    report.print();
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    let errors: usize = report.rows.iter().map(|row| row.measured.errors).sum();
    ensure!(errors == 0, "{errors} answers were no success");
    Ok(())
}

async fn floors(installation: &Installation, time: Duration) -> Result<Floors> {
    let (app, keys) = (&installation.app, &installation.keys);
    let time = time.min(Duration::from_secs(3));
    Ok(Floors {
        signatures_es256: floor::signatures_per_second(Algorithm::ES256, time)?,
        signatures_eddsa: floor::signatures_per_second(Algorithm::EdDSA, time)?,
        signatures_rs256: floor::signatures_per_second(Algorithm::RS256, time)?,
        commits: floor::commits_per_second(app, time).await?,
        point_reads: floor::point_reads_per_second(app, time, keys, 0).await?,
        password_checks: floor::password_checks_per_second(app, time, PASSWORD).await?,
    })
}

/// One workload with each number of connections, each beside the bare route.
async fn run(
    arguments: &Arguments,
    server: &Server,
    workload: &Workload,
    floors: &Floors,
    time: Duration,
) -> Result<Vec<Row>> {
    let requests = &workload.requests;
    let (status, answer) = load::one(server.address, &requests(0)).await?;
    ensure!(
        (200..400).contains(&status),
        "{}: {}",
        workload.name,
        String::from_utf8_lossy(&answer)
    );
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    let bare = Bare::start(answer.len() - body).await?;
    let again: Requests = {
        let request = requests(0);
        Arc::new(move |_| request.clone())
    };
    // The first has been sent.
    let numbers = Arc::new(AtomicUsize::new(1));
    let end = workload.once.unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for (at, &connections) in arguments.connections.iter().enumerate() {
        // What can be used only once is shared among the rounds.
        let share = end / arguments.connections.len() * (at + 1);
        let end = if workload.once.is_some() { share } else { end };
        if numbers.load(Ordering::Relaxed) >= end {
            eprintln!("{}: nothing is left for {connections} connections", workload.name);
            continue;
        }
        let any = Arc::new(AtomicUsize::new(0));
        let floor_time = time.min(Duration::from_secs(2));
        let bare = drive(bare.address, connections, floor_time, &again, &any, usize::MAX).await?;
        if workload.once.is_none() {
            // Warm: what is to be in memory has been asked for once.
            let any = Arc::new(AtomicUsize::new(0));
            drive(server.address, connections, floor_time, requests, &any, usize::MAX).await?;
        }
        let (before, began) = (server.usage()?, Instant::now());
        let measured = drive(server.address, connections, time, requests, &numbers, end)
            .await
            .with_context(|| format!("{} with {connections} connections", workload.name))?;
        // Where nothing was left before the time was over, the calls of the connections ran past the end.
        numbers.fetch_min(end, Ordering::Relaxed);
        let (after, took) = (server.usage()?, began.elapsed());
        let (floor, rate) = floor_of(workload.floor, bare.rate, floors);
        eprintln!("{} with {connections} connections: {:.0}/s", workload.name, measured.rate);
        rows.push(Row {
            workload: workload.name,
            connections,
            ratio: measured.rate / rate,
            bare_rate: bare.rate,
            floor,
            server_cores: (after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64(),
            resident_mib: mib(after.resident_kib),
            measured,
        });
    }
    Ok(rows)
}

fn floor_of(floor: Floor, bare: f64, floors: &Floors) -> (String, f64) {
    match floor {
        Floor::Bare => ("the bare route".to_owned(), bare),
        Floor::Signature(algorithm) => {
            let signatures = match algorithm {
                Algorithm::ES256 => floors.signatures_es256,
                Algorithm::EdDSA => floors.signatures_eddsa,
                _ => floors.signatures_rs256,
            };
            // Two cores share the route's work and the signature's.
            let cores = std::thread::available_parallelism()
                .map_or(1.0, |cores| f64::from(u32::try_from(cores.get()).unwrap_or(1)));
            let rate = 1.0 / (1.0 / bare + 1.0 / (signatures * cores));
            (format!("the bare route and a signature ({rate:.0}/s)"), rate)
        }
        Floor::Commits => (format!("{:.0} commits/s", floors.commits), floors.commits),
        Floor::PointReads => {
            (format!("{:.0} point reads/s", floors.point_reads), floors.point_reads)
        }
        Floor::PasswordChecks => {
            (format!("{:.0} password checks/s", floors.password_checks), floors.password_checks)
        }
    }
}

fn mib(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let kib = kib as f64;
    kib / 1024.0
}

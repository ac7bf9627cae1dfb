//! Measures a Portcullis server: how many of each request it answers in a second, beside what the machine itself could
//! do in the same minute. The rates mean little elsewhere; the ratios do. `bench/run` builds and runs it;
//! `docs/performance.md` says what the figures mean.
//!
//! The server is the binary that is shipped, a process of its own on a database of its own; with several sizes there is one of
//! each, and each workload is driven on one after the other. The load comes from this process, on the same cores, over
//! loopback and connections that are kept.
#![forbid(unsafe_code)]

mod beside;
mod floor;
mod installation;
mod instructions;
mod load;
mod report;
mod server;
mod workloads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

use floor::Bare;
use installation::{Installation, PASSWORD, Sizes};
use load::{Counter, Load, Measured, Requests, drive};
use report::{Filled, Report, Row, SQLITE, Start};
use server::Server;
use workloads::{Floor, Workload};

/// The floors drift less than the workloads, and need less time.
const FLOOR_TIME: Duration = Duration::from_secs(2);
const STARTS: usize = 11;

#[derive(Parser)]
#[command(about = "Measures a Portcullis server beside the floors that it stands on", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A PostgreSQL database, in which schemas are made and dropped again; SQLite in a temporary directory without it.
    #[arg(long, value_name = "URL", env = "PORTCULLIS_BENCH_POSTGRES_URL")]
    database_url: Option<String>,
    /// The server's binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// How many keys there are; with several numbers, one database of each.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
    keys: Vec<usize>,
    /// How many clients there are [default: as many as keys]
    #[arg(long, value_name = "NUMBER")]
    clients: Option<usize>,
    #[arg(long, default_value_t = 1000)]
    users: usize,
    /// Codes and grants to use up.
    #[arg(long, default_value_t = 150_000)]
    grants: usize,
    #[arg(long, value_delimiter = ',', default_value = "32,512")]
    connections: Vec<usize>,
    /// How long each workload is driven, each time.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often each is driven, in turn on every database; what is told is the median.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Only workloads whose name holds this; `beside` for those beside logins.
    #[arg(long, default_value = "")]
    only: String,
    /// Counts the server's instructions for a call of each workload instead, on the first of the sizes, with callgrind.
    /// Its profiles are put there.
    #[arg(long, value_name = "DIRECTORY")]
    instructions: Option<PathBuf>,
    /// Little of everything, in a minute: whether all of it works, not how fast. Overrules the sizes and times.
    #[arg(long)]
    short: bool,
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
    let mut arguments = Arguments::parse();
    if let Some(Command::Bare { answer_bytes }) = arguments.command {
        return floor::serve_bare(answer_bytes).await;
    }
    if arguments.short {
        (arguments.keys, arguments.users, arguments.grants) = (vec![50, 200], 50, 300);
        (arguments.connections, arguments.seconds) = (vec![8], 0.1);
    }
    let measurement = Measurement::new(arguments)?;
    if let Some(profiles) = &measurement.arguments.instructions {
        return measurement.instructions(profiles).await;
    }
    let report = measurement.run().await?;
    report.print();
    if let Some(file) = &measurement.arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    let errors = report.errors();
    ensure!(errors == 0, "{errors} answers were not what was asked for");
    Ok(())
}

struct Measurement {
    arguments: Arguments,
    binary: PathBuf,
    time: Duration,
    floor_time: Duration,
}

/// A database, the server on it, and what it is asked.
struct Subject {
    installation: Installation,
    server: Server,
    workloads: Vec<Workload>,
    /// From where on each workload has requests that have not been sent.
    numbers: Vec<Counter>,
    /// Which keys the floor has not read.
    unread: Counter,
    filled: Filled,
}

impl Measurement {
    fn new(arguments: Arguments) -> Result<Self> {
        let beside =
            || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("portcullis"));
        let binary = arguments.binary.clone().map_or_else(beside, Ok)?;
        ensure!(binary.exists(), "{} does not exist: build it first", binary.display());
        ensure!(!arguments.keys.is_empty() && !arguments.connections.is_empty(), "nothing to do");
        ensure!(arguments.rounds > 0, "nothing to do in no rounds");
        let time = Duration::from_secs_f64(arguments.seconds);
        Ok(Self { binary, time, floor_time: time.min(FLOOR_TIME), arguments })
    }

    async fn run(&self) -> Result<Report> {
        let start = self.starts().await?;
        let mut sizes = self.arguments.keys.clone();
        sizes.sort_unstable();
        let mut subjects = Vec::new();
        for size in sizes {
            subjects.push(self.subject(size.max(4)).await?);
        }
        let mut report = Report {
            database: if subjects[0].installation.app.db.is_postgres() {
                "PostgreSQL"
            } else {
                SQLITE
            },
            is_debug_build: cfg!(debug_assertions),
            installations: Vec::new(),
            start,
            rows: Vec::new(),
            beside_logins: Vec::new(),
        };
        for at in 0..subjects[0].workloads.len() {
            if subjects[0].workloads[at].name.contains(&self.arguments.only) {
                report.rows.extend(self.rows(&subjects, at).await?);
            }
        }
        if "beside logins".contains(&self.arguments.only) {
            let subject = &subjects[0];
            report.beside_logins =
                beside::measure(&subject.server, &subject.workloads, self.time).await?;
        }
        for subject in subjects {
            let resident_mib_at_the_end = mib(subject.server.usage()?.resident_kib);
            subject.server.stop().await?;
            report.installations.push(Filled { resident_mib_at_the_end, ..subject.filled });
            subject.installation.clear().await?;
        }
        Ok(report)
    }

    /// A table of its own: instructions, where the others have time.
    async fn instructions(&self, profiles: &Path) -> Result<()> {
        std::fs::create_dir_all(profiles)?;
        let subject = self.subject(self.arguments.keys[0].max(4)).await?;
        println!("| workload | instructions | of the bare route | times |\n|---|---:|---:|---:|");
        for (at, workload) in subject.workloads.iter().enumerate() {
            if !workload.name.contains(&self.arguments.only) {
                continue;
            }
            let directory = tempfile::tempdir()?;
            let bare = Bare::start_counted(subject.tries(at).await?, directory.path()).await?;
            let request = subject.request(at);
            let (bare, _) = instructions::of_bare(&bare, directory.path(), request).await?;
            let numbers = &subject.numbers[at];
            let (ours, profile) = instructions::of(&subject.server, workload, numbers).await?;
            let name = workload.name.replace([' ', ','], "-");
            std::fs::copy(profile, profiles.join(name).with_extension("callgrind"))?;
            #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
            let times = ours as f64 / bare as f64;
            println!("| {} | {ours} | {bare} | {times:.1} |", workload.name);
        }
        subject.server.stop().await?;
        subject.installation.clear().await
    }

    /// A database that exists, and holds little, is started on again and again.
    async fn starts(&self) -> Result<Start> {
        let sizes = Sizes { users: 1, clients: 4, keys: 1, grants: 1 };
        let installation =
            Installation::fill(self.arguments.database_url.as_deref(), sizes).await?;
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        let count = if self.arguments.short { 2 } else { STARTS };
        for _ in 0..count {
            let server = Server::start(&self.binary, &installation).await?;
            times.push(milliseconds(server.started_in));
            // What it makes ready after it has begun to answer counts too.
            tokio::time::sleep(Duration::from_millis(200)).await;
            memory.push(mib(server.usage()?.resident_kib));
            server.stop().await?;
        }
        installation.clear().await?;
        Ok(Start {
            times: count,
            first_answer_milliseconds: median(times),
            idle_resident_mib: median(memory),
        })
    }

    async fn subject(&self, size: usize) -> Result<Subject> {
        let arguments = &self.arguments;
        let sizes = Sizes {
            users: arguments.users.max(1),
            clients: arguments.clients.unwrap_or(size).max(4),
            keys: size,
            grants: arguments.grants.max(1),
        };
        let began = Instant::now();
        let installation = Installation::fill(arguments.database_url.as_deref(), sizes).await?;
        let filled_in_seconds = began.elapsed().as_secs_f64();
        eprintln!("{size} keys are there after {filled_in_seconds:.0} s");
        let server = match &arguments.instructions {
            Some(_) => Server::start_counted(&self.binary, &installation).await?,
            None => Server::start(&self.binary, &installation).await?,
        };
        let filled = Filled {
            size,
            clients: sizes.clients,
            filled_in_seconds,
            first_answer_milliseconds: milliseconds(server.started_in),
            idle_resident_mib: mib(server.usage()?.resident_kib),
            resident_mib_at_the_end: 0.0,
        };
        let workloads = workloads::all(&installation).await?;
        let numbers = workloads.iter().map(|_| Counter::default()).collect();
        // The floor begins elsewhere than the workload.
        let unread = Arc::new(AtomicUsize::new(size / 2));
        Ok(Subject { installation, server, workloads, numbers, unread, filled })
    }

    /// One workload with each number of connections, on each database.
    async fn rows(&self, subjects: &[Subject], at: usize) -> Result<Vec<Row>> {
        let mut bare_answer_bytes = 0;
        for subject in subjects {
            bare_answer_bytes = subject.tries(at).await?;
        }
        let bare = Bare::start(bare_answer_bytes).await?;
        let name = subjects[0].workloads[at].name;
        let most = subjects[0].workloads[at].most_connections;
        let mut rows = Vec::new();
        let mut done: Vec<usize> = Vec::new();
        for (part, &connections) in self.arguments.connections.iter().enumerate() {
            let connections = connections.min(most);
            if done.contains(&connections) {
                continue;
            }
            done.push(connections);
            let request = subjects[0].request(at);
            // Of each database, what the rounds found.
            let mut found: Vec<Vec<Row>> = subjects.iter().map(|_| Vec::new()).collect();
            for round in 0..self.arguments.rounds {
                let bare = drive(Load {
                    address: bare.address,
                    connections,
                    time: self.floor_time,
                    pace: None,
                    requests: Requests::ready(1, |_, out| out.extend_from_slice(&request)),
                    numbers: Counter::default(),
                    end: usize::MAX,
                    shows: "",
                })
                .await?
                .rate;
                let part = part * self.arguments.rounds + round;
                let mut smallest: Option<Measured> = None;
                for (subject, found) in subjects.iter().zip(&mut found) {
                    let row = self.row(subject, at, connections, part, bare).await;
                    let row =
                        row.with_context(|| format!("{name} with {connections} connections"))?;
                    let Some(mut row) = row else { continue };
                    match &smallest {
                        Some(smallest) => row.of_smallest = self.ratio(&row.measured, smallest),
                        None => smallest = Some(row.measured.clone()),
                    }
                    found.push(row);
                }
            }
            for row in found.into_iter().filter_map(typical) {
                eprintln!(
                    "{name}, {connections} connections, {} keys: {:.0}/s, {:.0} % of the bare route",
                    row.size,
                    row.measured.rate,
                    row.of_bare * 100.0
                );
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// None where one had used up all it could be asked before there was much of a rate.
    fn ratio(&self, measured: &Measured, smallest: &Measured) -> Option<f64> {
        let least = self.time.as_secs_f64() / 3.0;
        let is_long = measured.seconds >= least && smallest.seconds >= least;
        is_long.then(|| measured.rate / smallest.rate)
    }

    /// None where nothing is left to be asked.
    async fn row(
        &self,
        subject: &Subject,
        at: usize,
        connections: usize,
        part: usize,
        bare: f64,
    ) -> Result<Option<Row>> {
        let (workload, server) = (&subject.workloads[at], &subject.server);
        // What can be used only once is shared among the numbers of connections and the rounds.
        let parts = self.arguments.connections.len() * self.arguments.rounds;
        let end = workload.once.map_or(usize::MAX, |count| count * (part + 1) / parts);
        let numbers = &subject.numbers[at];
        if numbers.load(Ordering::Relaxed) >= end {
            eprintln!("{}: nothing is left for {connections} connections", workload.name);
            return Ok(None);
        }
        let load = Load {
            address: server.address,
            connections,
            time: self.time,
            pace: None,
            requests: workload.requests.clone(),
            numbers: numbers.clone(),
            end,
            shows: workload.shows,
        };
        if workload.once.is_none() {
            // Warm: what is to be in memory has been asked for.
            drive(Load { time: self.floor_time, ..load.clone() }).await?;
        }
        let floor = subject.floor(workload.floor, self.floor_time).await?;
        let (before, began) = (server.usage()?, Instant::now());
        let measured = drive(load).await?;
        let (after, took) = (server.usage()?, began.elapsed());
        if workload.once.is_some() {
            // The last numbers that were taken were above the end.
            numbers.fetch_min(end, Ordering::Relaxed);
        }
        let signs = matches!(workload.floor, Floor::Signature(_)).then_some(floor).flatten();
        // What a call takes of the whole machine, load included, is one second divided by the rate. With the time of
        // one signature taken off, what is left is compared with what a call of the bare route takes.
        let without_signature =
            signs.map(|signatures| 1.0 / (1.0 / measured.rate - 1.0 / signatures) / bare);
        // Where signing is nearly all, what is left is less than its rate varies.
        let without_signature = without_signature.filter(|ratio| (0.0..=1.0).contains(ratio));
        // The best that can be: a call of the bare route and a signature.
        let floor_rate = match (signs, floor) {
            (Some(signatures), _) => Some(1.0 / (1.0 / bare + 1.0 / signatures)),
            (None, rate) => rate,
        };
        Ok(Some(Row {
            workload: workload.name,
            connections,
            size: subject.filled.size,
            tail: f64::from(measured.p99) / f64::from(measured.p50.max(1)),
            bare_rate: bare,
            of_bare: measured.rate / bare,
            of_bare_without_signature: without_signature,
            floor: workload.floor.name(),
            floor_rate,
            of_floor: floor_rate.map(|rate| measured.rate / rate),
            of_smallest: None,
            server_cores: (after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64(),
            resident_mib: mib(after.resident_kib),
            measured,
        }))
    }
}

/// The row with the median rate, with the median of each ratio; none where there was no round.
fn typical(mut rounds: Vec<Row>) -> Option<Row> {
    let middle = |of: fn(&Row) -> Option<f64>| {
        let found: Vec<f64> = rounds.iter().filter_map(of).collect();
        (!found.is_empty()).then(|| median(found))
    };
    let of_bare = middle(|row| Some(row.of_bare))?;
    let (of_floor, of_smallest) = (middle(|row| row.of_floor), middle(|row| row.of_smallest));
    let of_bare_without_signature = middle(|row| row.of_bare_without_signature);
    let errors = rounds.iter().map(|row| row.measured.errors).sum();
    rounds.sort_by(|one, other| one.measured.rate.total_cmp(&other.measured.rate));
    let row = rounds.swap_remove(rounds.len() / 2);
    let measured = Measured { errors, ..row.measured };
    Some(Row { of_bare, of_bare_without_signature, of_floor, of_smallest, measured, ..row })
}

impl Subject {
    /// A request of the workload that has been sent already or may be sent again.
    fn request(&self, at: usize) -> Vec<u8> {
        let mut buffer = Vec::new();
        self.workloads[at].requests.get(0, &mut buffer).to_vec()
    }

    /// Whether the workload does what it is meant to; gives the size of the answer's body.
    async fn tries(&self, at: usize) -> Result<usize> {
        let workload = &self.workloads[at];
        let (status, answer) = load::one(self.server.address, &self.request(at)).await?;
        self.numbers[at].fetch_max(1, Ordering::Relaxed);
        let is_good = (200..400).contains(&status) && load::shows(&answer, workload.shows);
        ensure!(is_good, "{}: {}", workload.name, String::from_utf8_lossy(&answer));
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        Ok(answer.len() - body)
    }

    /// The rate of what the workload is compared with beside the bare route, at this moment.
    async fn floor(&self, floor: Floor, time: Duration) -> Result<Option<f64>> {
        let (app, keys) = (&self.installation.app, &self.installation.keys);
        let rate = match floor {
            Floor::Bare => return Ok(None),
            Floor::Signature(algorithm) => {
                tokio::task::spawn_blocking(move || floor::signatures_per_second(algorithm, time))
                    .await??
            }
            Floor::Commits => floor::commits_per_second(app, time).await?,
            Floor::PointReads => {
                floor::point_reads_per_second(app, time, keys, &self.unread).await?
            }
            Floor::PasswordChecks => floor::password_checks_per_second(app, time, PASSWORD).await?,
        };
        Ok(Some(rate))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mib(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let kib = kib as f64;
    kib / 1024.0
}

//! How many instructions the server takes for a call, counted by callgrind: the same on a busy machine as on a quiet one.
//! What the kernel does is not among them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::floor::Bare;
use crate::load::{Counter, Load, Requests, drive};
use crate::server::Server;
use crate::workloads::Workload;

/// Few, for each takes fifty times as long as elsewhere.
const CALLS: usize = 1000;
const CONNECTIONS: usize = 8;
const UNTIL_IT_IS_THROUGH: Duration = Duration::from_secs(300);

/// Instructions for a call of this workload, after as many calls that are not counted, and the profile.
///
/// # Errors
/// When there is no valgrind.
pub async fn of(server: &Server, workload: &Workload, numbers: &Counter) -> Result<(u64, PathBuf)> {
    let end = workload.once.unwrap_or(usize::MAX);
    let calls = CALLS.min(end.saturating_sub(numbers.load(Ordering::Relaxed)) / 2);
    let load = Load {
        address: server.address,
        connections: CONNECTIONS.min(workload.most_connections),
        time: UNTIL_IT_IS_THROUGH,
        pace: None,
        requests: workload.requests.clone(),
        numbers: numbers.clone(),
        end: usize::MAX,
        shows: workload.shows,
    };
    counted(server.id()?, server.directory(), load, calls).await
}

/// Instructions for a call of the bare route with this request.
///
/// # Errors
/// When there is no valgrind.
pub async fn of_bare(bare: &Bare, directory: &Path, request: Vec<u8>) -> Result<(u64, PathBuf)> {
    let load = Load {
        address: bare.address,
        connections: CONNECTIONS,
        time: UNTIL_IT_IS_THROUGH,
        pace: None,
        requests: Requests::Ready(Arc::new(vec![request])),
        numbers: Arc::new(AtomicUsize::new(0)),
        end: usize::MAX,
        shows: "",
    };
    counted(bare.id()?, directory, load, CALLS).await
}

async fn counted(id: u32, directory: &Path, load: Load, calls: usize) -> Result<(u64, PathBuf)> {
    ensure!(calls > 0, "nothing is left to be asked");
    let begin = load.numbers.load(Ordering::Relaxed);
    let until = |end: usize| Load { end, ..load.clone() };
    drive(until(begin + calls)).await?;
    // The last numbers that were taken were above the end.
    load.numbers.store(begin + calls, Ordering::Relaxed);
    control(id, "--instr=on").await?;
    let measured = drive(until(begin + 2 * calls)).await?;
    load.numbers.store(begin + 2 * calls, Ordering::Relaxed);
    control(id, "--instr=off").await?;
    control(id, "--dump").await?;
    ensure!(measured.errors == 0, "{} answers were not what was asked for", measured.errors);
    let newest = newest_of(directory)?;
    let text = std::fs::read_to_string(&newest)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.context("callgrind has counted nothing")?.trim().parse()?;
    Ok((total / u64::try_from(measured.calls)?, newest))
}

async fn control(id: u32, what: &str) -> Result<()> {
    let output = Command::new("callgrind_control").args([what, &id.to_string()]).output().await?;
    ensure!(output.status.success(), "callgrind: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What was dumped last; the files are numbered.
fn newest_of(directory: &Path) -> Result<PathBuf> {
    let mut dumps = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.extension().and_then(|number| number.to_str()?.parse::<u32>().ok());
        dumps.extend(number.map(|number| (number, path)));
    }
    dumps.sort_unstable();
    Ok(dumps.pop().context("callgrind has written nothing")?.1)
}

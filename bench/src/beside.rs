//! How long others wait while people log in as fast as they can, which is all that the cores can do.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::load::{Counter, Load, drive};
use crate::report::BesideLogins;
use crate::server::Server;
use crate::workloads::{CLIENT_CREDENTIALS, KEY_VERIFY, LOGIN, Workload};

const CONNECTIONS: usize = 32;
/// Enough for a p99, and few enough to leave most of the machine alone.
const PACE: f64 = 500.0;

/// # Errors
/// When a connection breaks.
pub async fn measure(
    server: &Server,
    workloads: &[Workload],
    time: Duration,
) -> Result<Vec<BesideLogins>> {
    let find = |name| workloads.iter().find(|workload| workload.name == name);
    let logins = find(LOGIN).context("there are no logins")?;
    let load = |workload: &Workload| Load {
        address: server.address,
        connections: CONNECTIONS.min(workload.most_connections),
        time,
        pace: None,
        requests: workload.requests.clone(),
        numbers: Counter::default(),
        end: usize::MAX,
        shows: workload.shows,
    };
    let mut measured = Vec::new();
    for name in [CLIENT_CREDENTIALS, KEY_VERIFY] {
        let workload = find(name).with_context(|| format!("there is no {name}"))?;
        for pace in [Some(PACE), None] {
            let calls = Load { pace, ..load(workload) };
            let alone = drive(calls.clone()).await?;
            let (meanwhile, logins) = tokio::try_join!(drive(calls), drive(load(logins)))?;
            eprintln!("{name} beside logins: p99 {} µs, alone {} µs", meanwhile.p99, alone.p99);
            measured.push(BesideLogins {
                workload: workload.name,
                pace,
                p99_ratio: f64::from(meanwhile.p99) / f64::from(alone.p99.max(1)),
                alone,
                meanwhile,
                logins,
            });
        }
    }
    Ok(measured)
}

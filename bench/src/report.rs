//! What was measured, for people and for programs.

use serde::Serialize;

use crate::load::Measured;

#[derive(Serialize)]
pub struct Report {
    pub database: &'static str,
    pub users: usize,
    pub clients: usize,
    pub keys: usize,
    pub filled_in_seconds: f64,
    pub first_answer_milliseconds: f64,
    pub idle_resident_mib: f64,
    pub resident_mib_at_the_end: f64,
    pub floors: Floors,
    pub rows: Vec<Row>,
}

/// Of this machine, in this run; a second.
#[derive(Serialize)]
pub struct Floors {
    pub signatures_es256: f64,
    pub signatures_eddsa: f64,
    pub signatures_rs256: f64,
    pub commits: f64,
    pub point_reads: f64,
    pub password_checks: f64,
}

#[derive(Serialize)]
pub struct Row {
    pub workload: &'static str,
    pub connections: usize,
    #[serde(flatten)]
    pub measured: Measured,
    /// A bare route with as large a request and answer, driven the same way in the same minute.
    pub bare_rate: f64,
    /// What it is compared with, and how it compares.
    pub floor: String,
    pub ratio: f64,
    /// How many of the two cores the server used.
    pub server_cores: f64,
    pub resident_mib: f64,
}

impl Report {
    pub fn print(&self) {
        println!(
            "{}: {} users, {} clients, {} keys, filled in {:.0} s; first answer after {:.0} ms; {:.0} MiB idle, {:.0} at the end",
            self.database,
            self.users,
            self.clients,
            self.keys,
            self.filled_in_seconds,
            self.first_answer_milliseconds,
            self.idle_resident_mib,
            self.resident_mib_at_the_end,
        );
        let floors = &self.floors;
        println!(
            "a core signs {:.0} ES256, {:.0} EdDSA, {:.0} RS256; the database commits {:.0} and reads {:.0}; {:.0} passwords are checked: a second",
            floors.signatures_es256,
            floors.signatures_eddsa,
            floors.signatures_rs256,
            floors.commits,
            floors.point_reads,
            floors.password_checks,
        );
        println!(
            "\n| workload | connections | rate | p50 | p95 | p99 | errors | cores | MiB | bare | of its floor |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for row in &self.rows {
            let it = &row.measured;
            println!(
                "| {} | {} | {:.0}/s | {} µs | {} µs | {} µs | {} | {:.2} | {:.0} | {:.0}/s | {:.0} % of {} |",
                row.workload,
                row.connections,
                it.rate,
                it.p50,
                it.p95,
                it.p99,
                it.errors,
                row.server_cores,
                row.resident_mib,
                row.bare_rate,
                row.ratio * 100.0,
                row.floor,
            );
        }
    }
}

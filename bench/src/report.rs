//! What was measured, for people and for programs.

use serde::Serialize;

use crate::load::Measured;
use crate::workloads::{CHECKS, CLIENT_CREDENTIALS, CODE_EXCHANGE, EACH_KEY_ONCE, LOGIN, REFRESH};

#[derive(Serialize)]
pub struct Report {
    pub database: &'static str,
    /// The figures of a debug build say nothing.
    pub is_debug_build: bool,
    pub installations: Vec<Filled>,
    pub start: Start,
    pub rows: Vec<Row>,
    pub beside_logins: Vec<BesideLogins>,
}

/// A database, and the server on it.
#[derive(Serialize)]
pub struct Filled {
    /// How many keys there are.
    pub size: usize,
    pub clients: usize,
    pub filled_in_seconds: f64,
    pub first_answer_milliseconds: f64,
    pub idle_resident_mib: f64,
    pub resident_mib_at_the_end: f64,
}

/// Of a server on a database that exists, and holds little.
#[derive(Serialize)]
pub struct Start {
    pub times: usize,
    /// From the start of the process to its first 200: the median, like the other.
    pub first_answer_milliseconds: f64,
    pub idle_resident_mib: f64,
}

#[derive(Serialize)]
pub struct Row {
    pub workload: &'static str,
    pub connections: usize,
    pub size: usize,
    #[serde(flatten)]
    pub measured: Measured,
    /// How many times the p50 the p99 is.
    pub tail: f64,
    /// A bare route with as large a request and answer, driven the same way in the same minute.
    pub bare_rate: f64,
    pub of_bare: f64,
    /// Without the time that the signature alone takes; of what signs.
    pub of_bare_without_signature: Option<f64>,
    /// What else it is compared with, in the same minute, and how it compares.
    pub floor: Option<&'static str>,
    pub floor_rate: Option<f64>,
    pub of_floor: Option<f64>,
    /// How it compares with the same on the smallest database, in the same minute.
    pub of_smallest: Option<f64>,
    /// How many cores the server used.
    pub server_cores: f64,
    pub resident_mib: f64,
}

/// A workload alone, and while people log in as fast as they can.
#[derive(Serialize)]
pub struct BesideLogins {
    pub workload: &'static str,
    /// How many calls a second were made; none: as many as could be.
    pub pace: Option<f64>,
    pub alone: Measured,
    pub meanwhile: Measured,
    pub p99_ratio: f64,
    pub logins: Measured,
}

/// What is wanted, and what there is.
struct Target {
    what: String,
    wanted: String,
    measured: String,
    is_met: bool,
}

impl Report {
    #[must_use]
    pub fn errors(&self) -> usize {
        let rows = self.rows.iter().map(|row| row.measured.errors);
        let beside = self.beside_logins.iter();
        rows.chain(beside.map(|it| it.alone.errors + it.meanwhile.errors + it.logins.errors)).sum()
    }

    pub fn print(&self) {
        println!("## {}\n", self.database);
        if self.is_debug_build {
            println!("This is a debug build: the figures mean nothing.\n");
        }
        let start = &self.start;
        println!(
            "First answer {:.0} ms after the start of the process, and {:.1} MiB when idle (medians of {} starts on a small database).\n",
            start.first_answer_milliseconds, start.idle_resident_mib, start.times
        );
        println!("| keys | clients | filled in | first answer | MiB idle | MiB at the end |");
        println!("|---:|---:|---:|---:|---:|---:|");
        for it in &self.installations {
            println!(
                "| {} | {} | {:.0} s | {:.0} ms | {:.1} | {:.1} |",
                thousands(it.size),
                thousands(it.clients),
                it.filled_in_seconds,
                it.first_answer_milliseconds,
                it.idle_resident_mib,
                it.resident_mib_at_the_end,
            );
        }
        self.print_targets();
        self.print_rows();
        self.print_beside_logins();
    }

    fn print_targets(&self) {
        println!("\n| target | wanted | measured | |\n|---|---|---|---|");
        for target in self.targets() {
            let is_met = if target.is_met { "met" } else { "**missed**" };
            println!("| {} | {} | {} | {is_met} |", target.what, target.wanted, target.measured);
        }
    }

    fn print_rows(&self) {
        println!(
            "\n| workload | connections | keys | rate | of the bare route | without the signature | of its floor | of the smallest | p50 µs | p95 | p99 | p99/p50 | errors | cores | MiB |"
        );
        println!("|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        for row in &self.rows {
            let it = &row.measured;
            let floor = match (row.of_floor, row.floor_rate, row.floor) {
                (Some(of), Some(rate), Some(floor)) => {
                    format!("{} of {} {floor}", percent(of), per_second(rate))
                }
                _ => String::new(),
            };
            println!(
                "| {} | {} | {} | {} | {} of {} | {} | {floor} | {} | {} | {} | {} | {:.1} | {} | {:.2} | {:.0} |",
                row.workload,
                row.connections,
                thousands(row.size),
                per_second(it.rate),
                percent(row.of_bare),
                per_second(row.bare_rate),
                row.of_bare_without_signature.map(percent).unwrap_or_default(),
                row.of_smallest.map(percent).unwrap_or_default(),
                it.p50,
                it.p95,
                it.p99,
                row.tail,
                it.errors,
                row.server_cores,
                row.resident_mib,
            );
        }
    }

    fn print_beside_logins(&self) {
        if self.beside_logins.is_empty() {
            return;
        }
        println!(
            "\n| beside logins | calls | alone: rate | p50 µs | p99 | meanwhile: rate | p50 | p99 | p99, times | logins |"
        );
        println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        for it in &self.beside_logins {
            let calls = it.pace.map_or_else(|| "all that fit".to_owned(), per_second);
            println!(
                "| {} | {calls} | {} | {} | {} | {} | {} | {} | {:.1} | {} |",
                it.workload,
                per_second(it.alone.rate),
                it.alone.p50,
                it.alone.p99,
                per_second(it.meanwhile.rate),
                it.meanwhile.p50,
                it.meanwhile.p99,
                it.p99_ratio,
                per_second(it.logins.rate),
            );
        }
    }

    /// Each target with the worst that was measured for it.
    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        let fewest = self.rows.iter().map(|row| row.connections).min().unwrap_or_default();
        let largest = self.installations.iter().map(|it| it.size).max().unwrap_or_default();
        let of = |name: &'static str| {
            self.rows.iter().filter(move |row| row.workload == name && row.connections == fewest)
        };
        let at_least = |what: String, least: f64, values: &mut dyn Iterator<Item = f64>| {
            let worst = values.reduce(f64::min)?;
            let (wanted, measured) = (format!("at least {}", percent(least)), percent(worst));
            Some(Target { what, wanted, measured, is_met: worst >= least })
        };
        let at_most =
            |what: String, most: f64, unit: &str, values: &mut dyn Iterator<Item = f64>| {
                let worst = values.reduce(f64::max)?;
                let (wanted, measured) =
                    (format!("at most {most}{unit}"), format!("{worst:.1}{unit}"));
                Some(Target { what, wanted, measured, is_met: worst <= most })
            };
        let with = format!("{fewest} connections");
        let name = CLIENT_CREDENTIALS;
        targets.extend(at_least(
            format!("{name}, {with}: of the bare route"),
            0.25,
            &mut of(name).map(|row| row.of_bare),
        ));
        targets.extend(at_least(
            format!("{name}, {with}: of the bare route, without the signature"),
            0.60,
            &mut of(name).filter_map(|row| row.of_bare_without_signature),
        ));
        targets.extend(at_most(
            format!("{name}, {with}: p99"),
            5.0,
            " × its p50",
            &mut of(name).map(|row| row.tail),
        ));
        for name in CHECKS {
            let what = format!("{name}, {with}: of the bare route");
            targets.extend(at_least(what, 0.70, &mut of(name).map(|row| row.of_bare)));
        }
        let what = format!("{EACH_KEY_ONCE}, of {}, {with}: of point reads", thousands(largest));
        let mut cold = of(EACH_KEY_ONCE).filter(|row| row.size == largest);
        targets.extend(at_least(what, 0.60, &mut cold.by_ref().filter_map(|row| row.of_floor)));
        for name in [REFRESH, CODE_EXCHANGE] {
            let rows = self.rows.iter().filter(|row| row.workload == name);
            for row in rows {
                let (connections, size) = (row.connections, thousands(row.size));
                let what = format!(
                    "{name}, {connections} connections, {size} keys: of single-statement commits"
                );
                targets.extend(at_least(what, 2.0, &mut row.of_floor.into_iter()));
            }
        }
        let compared = self.rows.iter().filter(|row| row.size == largest);
        let worst = compared
            .filter_map(|row| Some((row.of_smallest?, row)))
            .min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((of, row)) = worst {
            let what = format!(
                "each workload with {} keys: of its rate with the fewest ({}, {} connections is the worst)",
                thousands(largest),
                row.workload,
                row.connections
            );
            targets.extend(at_least(what, 0.90, &mut std::iter::once(of)));
        }
        let start = &self.start;
        let first = "first answer after the start".to_owned();
        let mut time = std::iter::once(start.first_answer_milliseconds);
        targets.extend(at_most(first, 100.0, " ms", &mut time));
        if self.database == SQLITE {
            let mut memory = std::iter::once(start.idle_resident_mib);
            targets.extend(at_most("memory when idle".to_owned(), 30.0, " MiB", &mut memory));
        }
        let what = format!("{LOGIN}, {with}: of password checks");
        targets.extend(at_least(what, 0.90, &mut of(LOGIN).filter_map(|row| row.of_floor)));
        for it in &self.beside_logins {
            let calls = it.pace.map_or_else(|| "all calls that fit".to_owned(), per_second);
            let what = format!("{}, {calls}: p99 beside logins", it.workload);
            let mut ratio = std::iter::once(it.p99_ratio);
            targets.extend(at_most(what, 2.0, " × alone", &mut ratio));
        }
        targets
    }
}

pub const SQLITE: &str = "SQLite";

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

fn per_second(rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
    let whole = rate.round().max(0.0) as usize;
    format!("{}/s", thousands(whole))
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(per_second(1999.6), "2,000/s");
        assert_eq!(percent(0.704), "70 %");
    }
}

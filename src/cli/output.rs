//! What commands print: a table for people, JSON for scripts.

use serde::Serialize;

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), super::Failure> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints rows under a heading, columns lined up. Control characters in what people named things are shown as `?`.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) {
    let clean =
        |cell: &str| cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    let all: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned))
        .chain(rows.iter().map(|row| row.each_ref().map(|c| clean(c))))
        .collect();
    let width =
        |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in &all {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(at, cell)| format!("{cell:<width$}", width = width(at)))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// How this program was called, for commands that people paste.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "portcullis".to_owned())
}

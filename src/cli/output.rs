//! What commands print: a table for people, JSON for scripts.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), super::Failure> {
    Ok(print(&format!("{}\n", serde_json::to_string_pretty(value)?))?)
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints rows under a heading, columns lined up. Control characters in what people named things are shown as `?`.
pub(super) fn table<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
) -> std::io::Result<()> {
    let mut text = String::new();
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
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    print(&text)
}

/// How this program was called, for commands that people paste.
pub(super) fn program() -> String {
    quoted(&std::env::args().next().unwrap_or_else(|| "portcullis".to_owned()))
}

/// A word as a shell reads it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        assert_eq!(quoted("./target/release/portcullis"), "./target/release/portcullis");
        assert_eq!(quoted("/my files/it's"), r"'/my files/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

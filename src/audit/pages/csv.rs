//! Events as a table of comma-separated values (RFC 4180), for programs that calculate with tables.

use super::super::Recorded;
use super::actors::Names;
use super::words::words_of;

/// What stands in the first line.
const COLUMNS: [&str; 11] = [
    "time",
    "actor",
    "actor_name",
    "actor_email",
    "action",
    "action_code",
    "target",
    "address",
    "user_agent",
    "request_id",
    "detail",
];

/// The first line.
pub(super) fn header() -> Vec<u8> {
    let mut text = String::new();
    write_line(&mut text, &COLUMNS);
    text.into_bytes()
}

/// A line for each event.
pub(super) fn lines(names: &Names, events: &[Recorded]) -> Vec<u8> {
    let mut text = String::new();
    for event in events {
        let named = names.find(&event.actor);
        let name = named.as_ref().map_or("", |named| named.name.as_str());
        let email = named.as_ref().and_then(|named| named.email.as_deref());
        let detail = match event.detail.is_empty() {
            true => String::new(),
            false => serde_json::Value::Object(event.detail.clone()).to_string(),
        };
        let source = &event.source;
        write_line(
            &mut text,
            &[
                &event.at.to_string(),
                &event.actor,
                name,
                email.unwrap_or_default(),
                words_of(&event.action),
                &event.action,
                event.target.as_deref().unwrap_or_default(),
                source.address.as_deref().unwrap_or_default(),
                source.user_agent.as_deref().unwrap_or_default(),
                source.request_id.as_deref().unwrap_or_default(),
                &detail,
            ],
        );
    }
    text.into_bytes()
}

fn write_line(text: &mut String, cells: &[&str]) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_cell(text, cell);
    }
    text.push_str("\r\n");
}

/// What begins like a formula is calculated by the programs that open such tables, quoted or not; an apostrophe before
/// it makes it text.
fn write_cell(text: &mut String, cell: &str) {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let needs_quotes = cell.contains(['"', ',', '\r', '\n']);
    if needs_quotes {
        text.push('"');
    }
    if is_formula {
        text.push('\'');
    }
    for letter in cell.chars() {
        if letter == '"' {
            text.push('"');
        }
        text.push(letter);
    }
    if needs_quotes {
        text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_neither_a_formula_nor_two_cells() {
        let mut text = String::new();
        let hostile = [
            "plain",
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\tx",
            "a,b",
            "say \"x\"",
            "two\r\nlines",
            "=HYPERLINK(\"x\",\"y\")",
            "",
        ];
        write_line(&mut text, &hostile);
        let expected = concat!(
            "plain,'=1+1,'+1,'-1,'@SUM(A1),'\tx,\"a,b\",\"say \"\"x\"\"\",\"two\r\nlines\",",
            "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\",\r\n"
        );
        assert_eq!(text, expected);
    }
}

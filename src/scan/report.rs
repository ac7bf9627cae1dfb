//! What was found, as text for people and as JSON for scripts. No secret is in either.

use std::fmt;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Finding, Report, Source};

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::StandardInput => f.write_str("-"),
            // As `git show` takes it.
            Self::Blob { commit: Some(commit), path, .. } => write!(f, "{}:{path}", short(commit)),
            Self::Blob { commit: None, path, .. } => write!(f, "(in no commit):{path}"),
            Self::CommitMessage(id) => write!(f, "commit {}", short(id)),
            Self::TagMessage(id) => write!(f, "tag {}", short(id)),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A line for each finding: `path:line:column: API key pc_live_2qAg…rCXG`, and the state where it was asked for.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let Finding { source, place, kind, state, .. } = finding;
        let what = format!("{}:{}: {}", place.line, place.column, kind.name());
        let state = state.map_or(String::new(), |state| format!(", {}", state.name()));
        // Names of files are anybody's, and a terminal obeys control characters.
        let source = source.to_string().replace(char::is_control, "?");
        // Writing to a string can't fail.
        let _ = writeln!(text, "{source}:{what} {}{state}", finding.hint());
    }
    if report.findings.is_empty() && report.unreadable.is_empty() {
        let _ = writeln!(
            text,
            "Nothing found in {} file(s) or other sources, {} bytes.",
            report.sources, report.bytes
        );
    }
    text
}

/// All of a report.
#[must_use]
pub fn json(report: &Report) -> Value {
    let findings: Vec<Value> = report.findings.iter().map(of_finding).collect();
    let unreadable: Vec<Value> =
        report.unreadable.iter().map(|it| json!({ "what": it.what, "why": it.why })).collect();
    json!({
        "findings": findings,
        "unreadable": unreadable,
        "sources": report.sources,
        "bytes": report.bytes,
        "is_complete": !report.is_full() && report.unreadable.is_empty(),
    })
}

fn of_finding(finding: &Finding) -> Value {
    let (path, commit, blob) = match &finding.source {
        Source::File(path) => (Some(path.display().to_string()), None, None),
        Source::StandardInput => (Some("-".to_owned()), None, None),
        Source::Blob { id, commit, path } => (Some(path.clone()), commit.clone(), Some(id)),
        Source::CommitMessage(id) | Source::TagMessage(id) => (None, Some(id.clone()), None),
    };
    let source = match &finding.source {
        Source::File(_) => "file",
        Source::StandardInput => "standard_input",
        Source::Blob { .. } => "git_blob",
        Source::CommitMessage(_) => "git_commit_message",
        Source::TagMessage(_) => "git_tag_message",
    };
    json!({
        "source": source,
        "path": path,
        "commit": commit,
        "blob": blob,
        "line": finding.place.line,
        "column": finding.place.column,
        "offset": finding.place.offset,
        "kind": finding.kind,
        "secret": finding.hint(),
        "sha256": finding.fingerprint(),
        "state": finding.state,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::finder::tests::key;
    use super::super::{Kind, Place};
    use super::*;

    #[test]
    fn no_report_holds_a_secret_or_a_control_character_of_a_name() {
        let key = key("pc_live");
        let finding = Finding {
            source: Source::File(Arc::new("a\u{1b}[2J\nb".into())),
            place: Place { line: 3, column: 7, offset: 40 },
            kind: Kind::ApiKey,
            secret: key.clone().into(),
            state: None,
        };
        let report = Report { findings: vec![finding], ..Report::default() };
        let said = text(&report);
        let hint = format!("{}…{}", &key[..12], &key[key.len() - 4..]);
        assert_eq!(said, format!("a?[2J?b:3:7: API key {hint}\n"));
        for said in [said, json(&report).to_string(), super::super::sarif(&report).to_string()] {
            assert!(!said.contains(&key[13..]) && said.contains(&hint), "{said}");
        }
    }
}

//! What was found, as SARIF 2.1.0 (OASIS): what code hosts show beside the code.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::Url;

use super::{Finding, Kind, Report, Source, State};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// Whatever is not a path's own character.
const NOT_OF_A_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A log with one run. A rule is a kind of credential.
#[must_use]
pub fn sarif(report: &Report) -> Value {
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let notifications: Vec<Value> = report
        .unreadable
        .iter()
        .map(|it| {
            let text = format!("{} could not be read: {}", it.what, it.why);
            json!({ "level": "error", "message": { "text": text } })
        })
        .collect();
    let invocation = json!({
        "executionSuccessful": report.unreadable.is_empty() && !report.is_full(),
        "toolExecutionNotifications": notifications,
    });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "Portcullis",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": Kind::ALL.map(rule),
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "results": results,
        }],
    })
}

fn id(kind: Kind) -> &'static str {
    match kind {
        Kind::ApiKey => "leaked-api-key",
        Kind::ClientSecret => "leaked-client-secret",
        Kind::ResourceServerCredential => "leaked-resource-server-credential",
        Kind::RefreshToken => "leaked-refresh-token",
    }
}

fn rule(kind: Kind) -> Value {
    let name = match kind {
        Kind::ApiKey => "LeakedApiKey",
        Kind::ClientSecret => "LeakedClientSecret",
        Kind::ResourceServerCredential => "LeakedResourceServerCredential",
        Kind::RefreshToken => "LeakedRefreshToken",
    };
    let what = kind.name();
    let help = format!(
        "Whoever can read this can use the {what}. Revoke it first; then take it out, and out of the history."
    );
    json!({
        "id": id(kind),
        "name": name,
        "shortDescription": { "text": format!("A Portcullis {what} where it does not belong.") },
        "help": { "text": help },
        "defaultConfiguration": { "level": "error" },
        "properties": { "tags": ["security"], "security-severity": "9.0" },
    })
}

fn result(finding: &Finding) -> Value {
    let place = finding.place;
    let state = finding.state.map_or(String::new(), |state| format!(", {}", state.name()));
    let text = format!("{} {}{state}", finding.kind.name(), finding.hint());
    let is_over = finding.state == Some(State::NotAcceptedFromHere);
    // All characters of a credential are ASCII.
    let length = secrecy::ExposeSecret::expose_secret(&finding.secret).len() as u64;
    let region = json!({
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.line,
        "endColumn": place.column + length,
    });
    let mut result = json!({
        "ruleId": id(finding.kind),
        "ruleIndex": Kind::ALL.iter().position(|kind| *kind == finding.kind),
        "level": if is_over { "warning" } else { "error" },
        "message": { "text": text },
        "locations": [location(&finding.source, &region)],
        "partialFingerprints": { "secretSha256/v1": finding.fingerprint() },
    });
    if let Some(state) = finding.state {
        result["properties"] = json!({ "state": state });
    }
    result
}

fn location(source: &Source, region: &Value) -> Value {
    let physical = |uri: String| json!({ "artifactLocation": { "uri": uri }, "region": region });
    let logical = |name: &str| json!([{ "fullyQualifiedName": name, "kind": "resource" }]);
    match source {
        Source::File(path) => {
            let absolute = Url::from_file_path(&**path).map(String::from);
            json!({ "physicalLocation": physical(absolute.unwrap_or_else(|()| {
                relative(path.to_string_lossy().trim_start_matches("./"))
            })) })
        }
        Source::StandardInput => json!({ "physicalLocation": physical("stdin".to_owned()) }),
        Source::Blob { commit, path, .. } => {
            let mut location = json!({ "physicalLocation": physical(relative(path)) });
            if let Some(commit) = commit {
                location["logicalLocations"] = logical(&format!("commit {commit}"));
                location["message"] = json!({ "text": format!("Came with commit {commit}.") });
            }
            location
        }
        Source::CommitMessage(id) => json!({
            "logicalLocations": logical(&format!("commit {id}")),
            "message": { "text": format!("In the message of commit {id}.") },
        }),
        Source::TagMessage(id) => json!({
            "logicalLocations": logical(&format!("tag {id}")),
            "message": { "text": format!("In the message of the tag {id}.") },
        }),
    }
}

fn relative(path: &str) -> String {
    utf8_percent_encode(path, NOT_OF_A_PATH).to_string()
}

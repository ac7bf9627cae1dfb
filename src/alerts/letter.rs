//! What the letters say. Names and other texts of people are data: they stay in the sentence that they stand in, and
//! no mail program makes a link of them.

use serde_json::Value;

use super::{AlertKind, Body};
use crate::platform::mail::harmless;

/// A mail to be.
pub(super) struct Letter {
    pub subject: String,
    pub text: String,
}

pub(super) fn letter(kind: AlertKind, body: &Body, host: &str) -> Letter {
    let name = harmless(&body.name);
    let (subject, what, advice) = match kind {
        AlertKind::ApiKeyExpiring => (
            format!("API key {name} expires soon"),
            format!(
                "The API key \"{name}\" expires at {}, in {}.",
                text(body, "expires_at"),
                days(body)
            ),
            "What uses it will be refused from then on. Make a new key, or give this one another expiry.",
        ),
        AlertKind::ApiKeyUnused => (
            format!("Nobody uses API key {name}"),
            format!("The API key \"{name}\" has not been used for 90 days or longer."),
            "If nothing needs it any more, revoke it: a key that is gone can't leak.",
        ),
        AlertKind::ApiKeyNewNetwork => (
            format!("API key {name} is used from a new network"),
            format!(
                "The API key \"{name}\" was used from {}, a network that it was never used from before.",
                either(body, "address", "network")
            ),
            "If that was not you, revoke the key and make a new one. A key can be bound to networks.",
        ),
        AlertKind::ApiKeyDecoyUsed => (
            format!("ALARM: somebody used decoy {name}"),
            format!(
                "Somebody used the decoy \"{name}\"{}. Nothing was given to them: a decoy may do nothing.",
                from(body)
            ),
            "Nobody has a reason to use a decoy. Whoever did has seen the place where it lies; look for what else was there.",
        ),
        AlertKind::ApiKeyLeaked => (
            format!("API key {name} has leaked"),
            format!("The API key \"{name}\" {}.{}", reported(body), outcome(body)),
            "Whoever saw it may have used it. Make a new key, and look through what this one did.",
        ),
        AlertKind::AccessTokenLeaked => (
            "An access token has leaked".to_owned(),
            format!(
                "An access token of the application \"{name}\" {}. It is revoked.",
                reported(body)
            ),
            "The application gets itself a new one. Look for how this one came out.",
        ),
        AlertKind::GrantLeaked => (
            "A refresh token has leaked".to_owned(),
            format!(
                "A refresh token of the application \"{name}\" {}. The application has no access any more.",
                reported(body)
            ),
            "To use the application again, allow it again. Look for how the token came out.",
        ),
        AlertKind::ClientSecretLeaked => (
            format!("The secret of {name} has leaked"),
            format!(
                "A secret of the application \"{name}\" {}. It works no longer.",
                reported(body)
            ),
            "Give the application a new secret.",
        ),
        AlertKind::ResourceServerCredentialLeaked => (
            format!("The credential of {name} has leaked"),
            format!("A credential of the API \"{name}\" {}. It works no longer.", reported(body)),
            "Give the API a new credential: without one it refuses every call.",
        ),
        AlertKind::UserPasswordChanged => (
            "Your password was changed".to_owned(),
            format!(
                "The password of your account was changed{}. All browsers but the one that did it are logged out.",
                from(body)
            ),
            "If that was you, all is well. If it was not, tell whoever runs this server at once.",
        ),
    };
    let hint = body.hint.as_deref().map(|hint| format!("{hint}, ")).unwrap_or_default();
    let organization = match body.organization_name.as_str() {
        "" => String::new(),
        name => format!("Organization: {}\n", harmless(name)),
    };
    let place = match text(body, "url") {
        "" => String::new(),
        place => format!(
            "Found at: {}\n(The address in full is in the audit trail.)\n",
            shortened(&harmless(place))
        ),
    };
    let text = format!(
        "{what}\n\n{advice}\n\nWhich: {hint}{}\n{organization}{place}Server: {host}\n",
        body.id
    );
    Letter { subject, text }
}

fn text<'a>(body: &'a Body, member: &str) -> &'a str {
    body.detail.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn either(body: &Body, one: &str, other: &str) -> String {
    let found = [one, other].map(|member| text(body, member));
    // An address holds dots and colons, and harms nobody.
    found.into_iter().find(|it| !it.is_empty()).unwrap_or("somewhere").to_owned()
}

fn days(body: &Body) -> String {
    match body.detail.get("days_left").and_then(Value::as_i64) {
        Some(0) => "less than a day".to_owned(),
        Some(1) => "a day".to_owned(),
        Some(days) => format!("{days} days"),
        None => "some days".to_owned(),
    }
}

fn from(body: &Body) -> String {
    match text(body, "address") {
        "" => String::new(),
        address => format!(" from {address}"),
    }
}

/// Who found it.
fn reported(body: &Body) -> &'static str {
    match text(body, "reported_by") {
        "github" => "was found by GitHub's secret scanning where others can read it",
        _ => "was reported as leaked by somebody who holds it",
    }
}

/// What was done about a key.
fn outcome(body: &Body) -> &'static str {
    match text(body, "done") {
        "revoked" => " It is revoked.",
        "narrowed" => " It may only read from now on.",
        _ => " It still works: revoke it.",
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(detail: Value) -> Body {
        Body {
            id: "key_01h455vb4pex5vsknk084sn02q".to_owned(),
            name: "see https://evil.example".to_owned(),
            hint: Some("pc_live_abcd…wxyz".to_owned()),
            organization: None,
            organization_name: "Example".to_owned(),
            owner: None,
            detail: detail.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn what_others_wrote_is_no_link_and_no_line() {
        let url = "https://github.com/eve/repo\r\nVisit https://evil.example/now";
        let body = body(json!({ "reported_by": "github", "url": url, "done": "narrowed" }));
        for kind in AlertKind::ALL {
            let letter = letter(kind, &body, "auth.example.com");
            for text in [&letter.subject, &letter.text] {
                assert!(!text.contains("://") && !text.contains("evil.example"), "{text}");
                assert!(!text.contains("\nVisit"), "{text}");
            }
            assert!(letter.text.contains(&body.id) && letter.text.contains("pc_live_abcd…wxyz"));
        }
    }

    #[test]
    fn a_letter_says_what_was_done() {
        for (done, words) in
            [("revoked", "is revoked"), ("narrowed", "only read"), ("nothing", "revoke it")]
        {
            let body = body(json!({ "done": done }));
            let letter = letter(AlertKind::ApiKeyLeaked, &body, "auth.example.com");
            assert!(letter.text.contains(words), "{}", letter.text);
        }
    }
}

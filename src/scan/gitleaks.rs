//! Rules for gitleaks: what it can check of our credentials, which is all but the checksum.

use std::fmt::Write as _;

use portcullis_verifier::key::{CHECKSUM_LENGTH, Prefix, RANDOM_LENGTH};

use crate::tokens::REFRESH_TOKEN_BODY;

/// A random body has about five bits a character; `aaaa…` in an example has none.
const ENTROPY: f64 = 3.5;

/// The tables of a gitleaks configuration, one rule a brand. Can be put at the end of one that exists.
///
/// The expression is RE2's, as Go and Rust read it, and has no group of its own: the match is the secret.
#[must_use]
pub fn gitleaks_config<'b>(brands: impl IntoIterator<Item = &'b str>) -> String {
    let mut text = String::from("# Made by `portcullis scan --gitleaks-config`.\n");
    for brand in brands {
        // Writing to a string can't fail.
        let _ = write!(
            text,
            r#"
[[rules]]
id = "portcullis-{}"
description = "A Portcullis credential of the brand {brand}"
regex = '''{}'''
entropy = {ENTROPY}
keywords = ["{brand}_"]
"#,
            brand.replace('_', "-"),
            regex(brand),
        );
    }
    text
}

/// What credentials of a brand look like, whatever their environment.
fn regex(brand: &str) -> String {
    let key = RANDOM_LENGTH + CHECKSUM_LENGTH;
    let environment = match Prefix::MAX_LENGTH.saturating_sub(brand.len() + 1) {
        0 => String::new(),
        longest => format!("(?:[a-z0-9_]{{1,{longest}}}_)?"),
    };
    let body = format!("{environment}[0-9A-Za-z]{{{key}}}");
    format!(r"\b{brand}_(?:rt_[0-9A-Za-z]{{{REFRESH_TOKEN_BODY}}}|{body})\b")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_rule_for_each_brand() {
        let longest = "a".repeat(32);
        let text = gitleaks_config(["op365_sk", "ops0", &longest]);
        let config: toml::Table = text.parse().unwrap();
        let rules = config["rules"].as_array().unwrap();
        let of = |at: usize, name: &str| rules[at][name].as_str().unwrap().to_owned();
        assert_eq!(of(0, "id"), "portcullis-op365-sk");
        assert_eq!(
            of(1, "regex"),
            r"\bops0_(?:rt_[0-9A-Za-z]{77}|(?:[a-z0-9_]{1,27}_)?[0-9A-Za-z]{40})\b"
        );
        assert!(of(2, "regex").ends_with(r"|[0-9A-Za-z]{40})\b"), "no word fits behind it");
        assert_eq!(rules[1]["keywords"][0].as_str(), Some("ops0_"));
    }
}

const LONGEST: usize = 254;

/// The address in lower case, if it looks like one: something, `@`, a host with no space; 254 characters at most.
///
/// Only a mail that arrives proves an address; this keeps out what can't be one.
#[must_use]
pub fn normalized_email(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let text = text.trim().to_lowercase();
    let (local, host) = text.rsplit_once('@')?;
    let is_clean = !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    let is_host =
        !host.is_empty() && !host.starts_with('.') && !host.ends_with('.') && !host.contains("..");
    (is_clean && is_host && !local.is_empty() && local.len() <= 64 && text.len() <= LONGEST)
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_surrounding_space_make_no_second_account() {
        assert_eq!(normalized_email(" Ada@Example.COM ").as_deref(), Some("ada@example.com"));
    }

    #[test]
    fn what_can_not_be_an_address_is_refused() {
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a b@example.com",
            "a@ex ample.com",
            "a@.com",
            "a@b..c",
            "a\0@b",
        ] {
            assert_eq!(normalized_email(text), None, "{text}");
        }
        assert_eq!(normalized_email(&format!("{}@example.com", "a".repeat(65))), None);
        assert_eq!(normalized_email(&format!("{}a@example.com", " ".repeat(254))), None);
    }
}

//! The letter that brings the link. The names in it are data: they stay in the sentence that they stand in, and no
//! mail program makes a link of them.

use secrecy::{ExposeSecret as _, SecretString};

use super::OpenInvitation;

/// A mail to be.
pub struct Letter {
    pub subject: String,
    /// It holds the link.
    pub text: SecretString,
}

/// The letter about an invitation.
#[must_use]
pub fn letter(open: &OpenInvitation, host: &str, link: &SecretString) -> Letter {
    let organization = harmless(&open.organization_name);
    let invites = match open.inviter_name.as_deref().map(harmless) {
        Some(inviter) => format!("{inviter} invites you"),
        None => "You are invited".to_owned(),
    };
    let text = format!(
        "{invites} to join the organization \"{organization}\" on {host}.\n\n\
         To accept, open this link within 7 days. It works once:\n\n{}\n\n\
         If you did not expect this, do nothing: nobody joins anything without the link.\n",
        link.expose_secret()
    );
    Letter { subject: format!("Invitation to {organization}"), text: text.into() }
}

/// A name on one line, in which no mail program finds an address to make a link of.
fn harmless(name: &str) -> String {
    let mut letters = name.chars().filter(|letter| !is_invisible(*letter)).peekable();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        let is_followed = letters.peek().is_some_and(|next| !next.is_whitespace());
        let parts = matches!(
            letter,
            '.' | '\u{3002}'
                | '\u{ff0e}'
                | '\u{ff61}'
                | ':'
                | '\u{ff1a}'
                | '/'
                | '\u{ff0f}'
                | '\\'
                | '@'
                | '\u{ff20}'
        );
        let is_out_of_place = letter.is_control() || letter == '"' || (parts && is_followed);
        text.push(if is_out_of_place { ' ' } else { letter });
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What changes how a text reads without being seen: direction marks and joiners.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_link_and_no_line() {
        for (name, shown) in [
            ("Example Inc.", "Example Inc."),
            ("J. R. Müller & Söhne", "J. R. Müller & Söhne"),
            ("Click https://evil.example/x now", "Click https evil example x now"),
            ("evil.example", "evil example"),
            ("eve@evil.example", "eve evil example"),
            ("a\r\nBcc: eve", "a Bcc: eve"),
            ("a\u{2028}b\u{202e}c", "a bc"),
            ("ev\u{200b}il。example", "evil example"),
            ("Say \"hi\"", "Say hi"),
        ] {
            assert_eq!(harmless(name), shown);
        }
    }
}

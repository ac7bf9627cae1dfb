//! Mail that leaves the server: plain text over SMTP, a connection for each message.
//!
//! No connection is kept for the next message. One that was given up halfway would be handed on as it stands, and the
//! next mail would be read as the rest of the last.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::{Host, Url};

use super::entropy;

/// For each address of the mail server.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For everything, from the name's look-up to the last answer; less than a request may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The `[mail]` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailSettings {
    /// `smtps://user:password@host:port`, `smtp://…?tls=required`, or `smtp://` to this machine; empty for no mail.
    #[serde(serialize_with = "as_written")]
    pub smtp_url: SecretString,
    /// Who the mail is from: `auth@example.com` or `Portcullis <auth@example.com>`.
    pub from: String,
}

/// The settings are written out to be merged with others, and masked before anyone sees them.
pub(crate) fn as_written<S: Serializer>(
    secret: &SecretString,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

impl MailSettings {
    /// # Errors
    /// The sentence that says which setting is wrong. It never holds the URL, which may hold a password.
    pub fn check(&self) -> Result<(), String> {
        let together = "mail.smtp_url and mail.from must be set together";
        match (self.smtp_url.expose_secret(), self.from.as_str()) {
            ("", "") => Ok(()),
            ("", _) => Err(format!("{together}; mail.smtp_url is missing")),
            (_, "") => Err(format!("{together}; mail.from is missing")),
            (url, from) => {
                check_url(url)?;
                parse_from(from).map(|_| ())
            }
        }
    }
}

fn check_url(text: &str) -> Result<(), String> {
    let wrong = || {
        let forms =
            "smtps://user:password@host:port or smtp://user:password@host:port?tls=required";
        format!("mail.smtp_url must be {forms}")
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    // The host of a scheme that the URL standard doesn't know is text, even where it is an IPv4 address.
    let host = match url.host() {
        Some(Host::Domain(host)) if !host.is_empty() => host,
        Some(Host::Ipv6(_)) => {
            return Err("mail.smtp_url must name its host, not give an IPv6 address".to_owned());
        }
        _ => return Err(wrong()),
    };
    match (url.scheme(), url.query()) {
        ("smtps", None) | ("smtp", Some("tls=required")) => {}
        ("smtp", None) if is_loopback(host) => {}
        ("smtp", None) => {
            return Err(format!("{}, unless it is on a loopback address", wrong()));
        }
        _ => return Err(wrong()),
    }
    if url.username().is_empty() == url.password().is_some() {
        return Err(
            "mail.smtp_url must hold both a user name and a password, or neither".to_owned()
        );
    }
    let is_text = |part: &str| percent_decode_str(part).decode_utf8().is_ok();
    if !is_text(url.username()) || !is_text(url.password().unwrap_or_default()) {
        return Err("mail.smtp_url must hold UTF-8 where it is percent-encoded".to_owned());
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parse_from(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| {
        format!("mail.from is `{text}`; it must be a mailbox such as Portcullis <auth@example.com>")
    })
}

/// Sends mail. Cheap to clone, and it can't be printed.
#[derive(Clone)]
pub struct Mailer {
    transport: Arc<AsyncSmtpTransport<Tokio1Executor>>,
    from: Arc<Mailbox>,
    limit: Duration,
}

impl Mailer {
    /// The mailer that the settings describe, or none where they are empty. It connects to nothing yet.
    ///
    /// # Errors
    /// When the settings are wrong, or the certificates of the operating system can't be read.
    pub fn new(settings: &MailSettings) -> anyhow::Result<Option<Self>> {
        settings.check().map_err(anyhow::Error::msg)?;
        let url = settings.smtp_url.expose_secret();
        if url.is_empty() {
            return Ok(None);
        }
        let from = parse_from(&settings.from).map_err(anyhow::Error::msg)?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .context("mail.smtp_url can't be used")?
            .timeout(Some(CONNECT_LIMIT))
            .build();
        Ok(Some(Self { transport: Arc::new(transport), from: Arc::new(from), limit: LIMIT }))
    }

    /// Hands one mail to the mail server.
    ///
    /// # Errors
    /// When `to` is not one plain address, or the mail server refuses, can't be reached or takes more than 20 seconds.
    /// In the last case it may have taken the mail all the same.
    pub async fn send(&self, to: &str, subject: &str, text: &str) -> anyhow::Result<()> {
        let message = self.message(to, subject, text)?;
        // The transport bounds the connecting only; a server that falls silent later would be waited for.
        let sent = tokio::time::timeout(self.limit, self.transport.send(message)).await;
        sent.context("the mail server took too long")?
            .context("the mail server did not take the mail")?;
        Ok(())
    }

    fn message(&self, to: &str, subject: &str, text: &str) -> anyhow::Result<Message> {
        let to: Option<Address> =
            if to.contains(char::is_control) { None } else { to.parse().ok() };
        let to = to.context("the recipient is not an e-mail address")?;
        // The library's own would tell the name of this machine.
        let id = format!("<{}@{}>", entropy::random_token(), self.from.email.domain());
        // RFC 3834: nobody's holiday notice needs to come back.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(Mailbox::clone(&self.from))
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(id))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .context("the mail can't be written")
    }
}

/// A name on one line, in which no mail program finds an address to make a link of.
#[must_use]
pub fn harmless(name: &str) -> String {
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

    fn settings(url: &str) -> MailSettings {
        MailSettings { smtp_url: url.into(), from: "auth@example.com".to_owned() }
    }

    #[test]
    fn the_mail_server_is_encrypted_or_on_this_machine() {
        for url in [
            "smtps://mail.example.com",
            "smtps://me:p%40ss@mail.example.com:465",
            "smtps://mail.example.com/auth.example.com",
            "smtp://mail.example.com:587?tls=required",
            "smtp://localhost",
            "smtp://127.0.0.1:2525",
            "smtp://me:hunter2@127.8.9.10:2525",
        ] {
            assert_eq!(settings(url).check(), Ok(()), "{url}");
        }
        for url in [
            "mail.example.com",
            "mail.example.com:25",
            "https://mail.example.com",
            "smtp://",
            "smtps:///path",
            "smtp://me:hunter2@mail.example.com",
            "smtp://10.0.0.1:25",
            "smtp://127.0.0.1.example.com",
            "smtp://localhost@mail.example.com",
            "smtp://mail.example.com?tls=opportunistic",
            "smtp://mail.example.com?tls=required&tls=opportunistic",
            "smtps://mail.example.com?password=hunter2",
            "smtps://me@mail.example.com",
            "smtps://:hunter2@mail.example.com",
            "smtps://me:hunter2%ff@mail.example.com",
            "smtps://[2001:db8::1]",
        ] {
            let sentence = settings(url).check().unwrap_err();
            assert!(
                sentence.contains("mail.smtp_url") && !sentence.contains("hunter"),
                "{sentence}"
            );
        }
    }

    #[test]
    fn a_mailer_never_needs_more_than_its_settings() {
        assert!(Mailer::new(&MailSettings::default()).unwrap().is_none());
        assert!(Mailer::new(&settings("smtp://127.0.0.1")).unwrap().is_some());
        assert!(Mailer::new(&settings("smtp://mail.example.com")).is_err());
    }

    #[tokio::test]
    async fn a_mail_server_that_says_nothing_is_given_up() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", silent.local_addr().unwrap());
        let mailer = Mailer::new(&settings(&url)).unwrap().unwrap();
        let mailer = Mailer { limit: Duration::from_millis(50), ..mailer };
        let error = mailer.send("ada@example.com", "Hello", "Hello").await.unwrap_err();
        assert_eq!(error.to_string(), "the mail server took too long");
    }

    #[test]
    fn no_text_makes_another_header() {
        let mailer = Mailer::new(&settings("smtp://127.0.0.1")).unwrap().unwrap();
        for to in [
            "",
            "ada",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada@example.com\n",
            "\"ada\r\nBcc: eve\"@example.com",
            "ada@example.com, eve@example.com",
            "Ada <ada@example.com>",
        ] {
            assert!(mailer.message(to, "Hello", "Hello").is_err(), "{to:?}");
        }
        let subject = "Hello\r\nBcc: eve@example.com\r\n\r\nBody";
        let message = mailer.message("ada@example.com", subject, "Hello").unwrap();
        let written = String::from_utf8(message.formatted()).unwrap();
        assert!(!written.contains("\nBcc:") && written.ends_with("\r\n\r\nHello"), "{written}");
        assert_eq!(message.envelope().to().len(), 1);
    }

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

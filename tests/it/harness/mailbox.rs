//! A mail server that delivers to the test: enough of SMTP, on a loopback port of its own.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where all mail of a test arrives. Whoever is called `nobody` is refused.
pub struct Mailbox {
    address: String,
    received: UnboundedReceiver<Mail>,
}

/// One mail as it arrived, decoded.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// User and password that the sender gave, with a colon between; empty where it gave none.
    pub login: String,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    /// With the line ends of this machine.
    pub text: String,
}

impl Mailbox {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, received) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, sender.clone()));
            }
        });
        Self { address, received }
    }

    /// What `mail.smtp_url` is set to.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// What `mail.smtp_url` is set to, with a user and a password, percent-encoded.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("smtp://{user}:{password}@{}", self.address)
    }

    /// The next mail, within ten seconds.
    pub async fn next(&mut self) -> Mail {
        let next = tokio::time::timeout(Duration::from_secs(10), self.received.recv());
        next.await.expect("no mail for ten seconds").unwrap()
    }

    /// Whether nothing has arrived that was not looked at.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

impl Mail {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Talks to one sender until they leave.
async fn converse(stream: TcpStream, delivered: UnboundedSender<Mail>) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    let mut mail = Mail::default();
    let mut answer = "220 mailbox.test".to_owned();
    loop {
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        stream.flush().await?;
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        answer = match verb {
            "EHLO" => "250-mailbox.test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => {
                let login =
                    String::from_utf8(decoded_base64(&line["AUTH PLAIN ".len()..])).unwrap();
                mail.login = login.trim_start_matches('\0').replace('\0', ":");
                "235 welcome"
            }
            "MAIL" => {
                mail.from = address(line);
                "250 go on"
            }
            "RCPT" if address(line).starts_with("nobody@") => "550 there is no such mailbox",
            "RCPT" => {
                mail.to.push(address(line));
                "250 go on"
            }
            "DATA" => {
                stream.write_all(b"354 a dot ends it\r\n").await?;
                stream.flush().await?;
                read_content(&mut stream, &mut mail).await?;
                // A test that has ended does not look.
                let _ = delivered.send(mail.clone());
                mail = Mail { login: mail.login, ..Mail::default() };
                "250 delivered"
            }
            "QUIT" => "221 goodbye",
            _ => "500 what?",
        }
        .to_owned();
    }
}

/// What stands in angle brackets.
fn address(line: &str) -> String {
    let (_, rest) = line.split_once('<').unwrap();
    rest.split_once('>').unwrap().0.to_owned()
}

async fn read_content(stream: &mut BufStream<TcpStream>, mail: &mut Mail) -> std::io::Result<()> {
    let mut content = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        assert!(line.ends_with("\r\n"), "a line ends otherwise: {line:?}");
        match line.trim_end_matches("\r\n") {
            "." => break,
            line => {
                content.push_str(line.strip_prefix('.').unwrap_or(line));
                content.push('\n');
            }
        }
    }
    let (head, body) = content.split_once("\n\n").unwrap();
    // A line that begins with white space continues the one before.
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    for line in head.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let before = mail.headers.insert(name.to_lowercase(), decoded_words(value));
        assert_eq!(before, None, "two headers {name}");
    }
    let body = match mail.header("content-transfer-encoding") {
        "7bit" | "8bit" => body.as_bytes().to_vec(),
        "quoted-printable" => decoded_quoted(body),
        "base64" => decoded_base64(body),
        other => panic!("no such encoding: {other}"),
    };
    mail.text = String::from_utf8(body).unwrap().replace("\r\n", "\n").trim_end().to_owned();
    Ok(())
}

/// RFC 2047: `=?utf-8?b?…?=`, where the white space between two such words is nothing.
fn decoded_words(value: &str) -> String {
    let mut decoded = String::new();
    let mut was_encoded = false;
    for word in value.split(' ') {
        let encoded = word.strip_prefix("=?utf-8?b?").and_then(|it| it.strip_suffix("?="));
        let continues = was_encoded && encoded.is_some();
        if !decoded.is_empty() && !continues {
            decoded.push(' ');
        }
        match encoded {
            Some(encoded) => decoded.push_str(&String::from_utf8(decoded_base64(encoded)).unwrap()),
            None => decoded.push_str(word),
        }
        was_encoded = encoded.is_some();
    }
    decoded
}

fn decoded_base64(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).unwrap()
}

/// RFC 2045 §6.7.
fn decoded_quoted(text: &str) -> Vec<u8> {
    let text = text.replace("=\n", "");
    let mut parts = text.split('=');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at(2);
        decoded.push(u8::from_str_radix(byte, 16).unwrap());
        decoded.extend_from_slice(rest.as_bytes());
    }
    decoded
}

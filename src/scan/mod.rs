//! Credentials of ours where they don't belong: in files, in a stream, in the history of a repository.
//!
//! Owns: the finder, the ways to what is searched, the reports, and what a server is asked about a find. Does not own:
//! the formats (`portcullis_verifier::key`, tokens), or what becomes of a credential that is reported to the server.
//! Needs neither a database nor the installation that made the credentials: the brand and the checksum are enough.

mod files;
mod finder;
mod git;
mod gitleaks;
mod report;
mod sarif;
mod server;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_verifier::key;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

pub use files::{scan_path, scan_stream};
pub use finder::{BadBrand, Finder, Match};
pub use git::scan_history;
pub use gitleaks::gitleaks_config;
pub use report::{json, text};
pub use sarif::sarif;
pub use server::{BadServer, NotRevoked, Server};
pub use stream::{Buffer, Place};

/// More than this is no leak but a store of credentials; and whoever fills a file must not fill our memory.
pub const MAX_FINDINGS: usize = 100_000;

/// What kind of credential it is, as its prefix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    ApiKey,
    ClientSecret,
    ResourceServerCredential,
    RefreshToken,
}

impl Kind {
    pub const ALL: [Self; 4] =
        [Self::ApiKey, Self::ClientSecret, Self::ResourceServerCredential, Self::RefreshToken];

    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::ClientSecret => "client secret",
            Self::ResourceServerCredential => "resource server credential",
            Self::RefreshToken => "refresh token",
        }
    }
}

/// Whether a credential works, as far as the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Live,
    /// Ended, unknown to that server, or bound to networks that we aren't in.
    NotAcceptedFromHere,
    /// The server can't be asked about it, or gave no answer.
    Unknown,
}

impl State {
    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NotAcceptedFromHere => "not accepted from here",
            Self::Unknown => "unknown",
        }
    }
}

/// Where something was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(Arc<PathBuf>),
    StandardInput,
    /// A file in a repository's history, with the commit that brought it. What is only in the index has none.
    Blob {
        id: String,
        commit: Option<String>,
        path: String,
    },
    /// The message of the commit with this id.
    CommitMessage(String),
    /// The message of the annotated tag with this id.
    TagMessage(String),
}

/// A credential at a place.
pub struct Finding {
    pub source: Source,
    pub place: Place,
    pub kind: Kind,
    pub secret: SecretString,
    /// None where nobody was asked.
    pub state: Option<State>,
}

impl Finding {
    /// What people recognise the credential by: its first 12 and last 4 characters.
    #[must_use]
    pub fn hint(&self) -> String {
        let secret = self.secret.expose_secret();
        let (start, end) = (secret.get(..12), secret.get(secret.len().saturating_sub(4)..));
        format!("{}…{}", start.unwrap_or_default(), end.unwrap_or_default())
    }

    /// The SHA-256 of the credential, in hexadecimal: tells apart, and gives nothing away.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use std::fmt::Write as _;
        key::digest(self.secret.expose_secret()).iter().fold(String::new(), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Something that should have been searched and could not be.
pub struct Unreadable {
    pub what: String,
    pub why: String,
}

/// What a search came to.
#[derive(Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub unreadable: Vec<Unreadable>,
    /// Files, blobs, messages and streams.
    pub sources: u64,
    pub bytes: u64,
}

impl Report {
    /// Whether as much was found as is kept; the search ends then.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
    }

    fn can_not_read(&mut self, what: impl Into<String>, why: impl ToString) {
        self.unreadable.push(Unreadable { what: what.into(), why: why.to_string() });
    }
}

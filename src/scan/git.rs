//! A repository's whole history: every blob once, and the messages of commits and tags.
//!
//! The `git` that is installed reads the repository, by its plumbing commands, whose output no setting changes. What is
//! reachable from any ref, the reflogs (the stash's, too) or the index is searched; so what a commit took away again is
//! found.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::{Buffer, Finder, Finding, Report, Source, scan_stream};

/// What a hook may find set, and what would lead away from the repository that was named.
const OF_ANOTHER_REPOSITORY: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
];
const LIST_BLOBS: [&str; 7] = [
    "rev-list",
    "--all",
    "--reflog",
    "--indexed-objects",
    "--objects",
    "--filter=object:type=blob",
    "--filter-provided-objects",
];
/// Children before their parents.
const LIST_COMMITS: [&str; 4] = ["rev-list", "--all", "--reflog", "--date-order"];
const LIST_TAGS: [&str; 3] = ["for-each-ref", "--format=%(objectname)", "refs/tags"];
/// Begins each object with a line: its id, type and size, and the path that was listed with it.
const READ_OBJECTS: [&str; 3] =
    ["cat-file", "--buffer", "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)"];
const READ_CHANGES: [&str; 7] =
    ["diff-tree", "--stdin", "-r", "-m", "--root", "--no-renames", "-z"];
/// No id and path are so long.
const MAX_LINE: u64 = 1 << 16;
const MAX_COMPLAINT: u64 = 1 << 12;

/// Why a history can't be searched: one plain sentence.
#[derive(Debug, thiserror::Error)]
enum GitError {
    #[error("git is not installed, or not on the path")]
    NotInstalled,
    #[error("git says of {0}: {1}")]
    NoRepository(String, String),
    #[error("git {0} failed: {1}")]
    Failed(&'static str, String),
    #[error("git said what we can't read: {0:?}")]
    Strange(String),
    #[error("git can't be run: {0}")]
    Io(#[from] std::io::Error),
}

/// Searches the history of the repository that `repository` is in; without one, of the repository that git itself
/// takes to be meant.
///
/// That there is no git or no repository, or that git fails, is noted in the report as unreadable.
pub fn scan_history(
    finder: &Finder,
    buffer: &mut Buffer,
    repository: Option<&Path>,
    report: &mut Report,
) {
    let git = Git { repository };
    let first = report.findings.len();
    let searched = git
        .check()
        .and_then(|()| git.search(&LIST_BLOBS, "blob", finder, buffer, report))
        .and_then(|()| git.name_commits(&mut report.findings[first..]))
        .and_then(|()| git.search(&LIST_COMMITS, "commit", finder, buffer, report))
        .and_then(|()| git.search(&LIST_TAGS, "tag", finder, buffer, report));
    if let Err(error) = searched {
        report.can_not_read("the git history", error);
    }
}

struct Git<'r> {
    repository: Option<&'r Path>,
}

/// What stands before an object's content.
struct Header {
    id: String,
    kind: String,
    size: u64,
    path: String,
}

impl Git<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        if let Some(repository) = self.repository {
            command.arg("-C").arg(repository);
            for variable in OF_ANOTHER_REPOSITORY {
                command.env_remove(variable);
            }
        }
        command
            .args(arguments)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null());
        command
    }

    fn check(&self) -> Result<(), GitError> {
        let output = match self.command(&["rev-parse", "--git-dir"]).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(GitError::NotInstalled);
            }
            other => other?,
        };
        if output.status.success() {
            return Ok(());
        }
        let name = self.repository.unwrap_or(Path::new(".")).display().to_string();
        Err(GitError::NoRepository(name, complaint(&output.stderr)))
    }

    /// Two commands, of which the second reads what the first lists.
    fn pipe(
        &self,
        list: &'static [&'static str],
        read: &'static [&'static str],
    ) -> Result<(Running, Running, BufReader<ChildStdout>), GitError> {
        let (lister, ids) = Running::start(list[0], self.command(list))?;
        let mut reading = self.command(read);
        reading.stdin(ids);
        let (reader, output) = Running::start(read[0], reading)?;
        Ok((lister, reader, BufReader::with_capacity(1 << 16, output)))
    }

    /// Searches all objects of a kind that are listed.
    fn search(
        &self,
        list: &'static [&'static str],
        kind: &str,
        finder: &Finder,
        buffer: &mut Buffer,
        report: &mut Report,
    ) -> Result<(), GitError> {
        let (mut lister, mut reader, mut objects) = self.pipe(list, &READ_OBJECTS)?;
        while !report.is_full() {
            let Some(line) = read_to(b'\n', &mut objects)? else {
                lister.finish()?;
                return reader.finish();
            };
            if let Some(id) = line.strip_suffix(" missing") {
                report.can_not_read(format!("object {id}"), "the repository lacks it");
                continue;
            }
            let header = Header::parse(&line).ok_or_else(|| GitError::Strange(line.clone()))?;
            let mut content = (&mut objects).take(header.size);
            if header.kind == kind {
                if kind != "blob" {
                    skip_headers(&mut content)?;
                }
                scan_stream(finder, buffer, &header.source(), &mut content, report);
            }
            // What was not read, and the end of the line.
            let left = content.limit() + 1;
            std::io::copy(&mut (&mut objects).take(left), &mut std::io::sink())?;
        }
        Ok(())
    }

    /// Says of each blob which commit brought it, and under which path: the oldest one that has it and whose parents
    /// have not.
    fn name_commits(&self, findings: &mut [Finding]) -> Result<(), GitError> {
        let mut brought: HashMap<String, Option<(String, String)>> = HashMap::new();
        for finding in findings.iter() {
            if let Source::Blob { id, .. } = &finding.source {
                brought.insert(id.clone(), None);
            }
        }
        if brought.is_empty() {
            return Ok(());
        }
        let (mut lister, mut reader, mut changes) = self.pipe(&LIST_COMMITS, &READ_CHANGES)?;
        let mut now = String::new();
        while let Some(word) = read_to(0, &mut changes)? {
            let Some(change) = word.strip_prefix(':') else {
                now = word;
                continue;
            };
            let path = read_to(0, &mut changes)?.unwrap_or_default();
            let id = change.split(' ').nth(3).unwrap_or_default();
            if let Some(oldest) = brought.get_mut(id) {
                *oldest = Some((now.clone(), path));
            }
        }
        lister.finish()?;
        reader.finish()?;
        for finding in findings {
            if let Source::Blob { id, commit, path } = &mut finding.source
                && let Some(Some((oldest, its_path))) = brought.get(id)
            {
                (*commit, *path) = (Some(oldest.clone()), its_path.clone());
            }
        }
        Ok(())
    }
}

impl Header {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ').map(str::to_owned);
        Some(Self {
            id: words.next()?,
            kind: words.next()?,
            size: words.next()?.parse().ok()?,
            path: words.next().unwrap_or_default(),
        })
    }

    fn source(self) -> Source {
        match self.kind.as_str() {
            "commit" => Source::CommitMessage(self.id),
            "tag" => Source::TagMessage(self.id),
            _ => Source::Blob { id: self.id, commit: None, path: self.path },
        }
    }
}

/// The text up to a byte, or none at the end.
fn read_to(end: u8, reader: &mut impl BufRead) -> Result<Option<String>, GitError> {
    let mut bytes = Vec::new();
    reader.take(MAX_LINE).read_until(end, &mut bytes)?;
    match bytes.pop() {
        None => Ok(None),
        Some(last) if last == end => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Some(_) => {
            bytes.truncate(32);
            Err(GitError::Strange(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}

/// Goes on to the message of a commit or a tag, which follows the first empty line.
fn skip_headers(content: &mut impl BufRead) -> std::io::Result<()> {
    let mut before = 0;
    for byte in content.bytes() {
        let byte = byte?;
        if (before, byte) == (b'\n', b'\n') {
            break;
        }
        before = byte;
    }
    Ok(())
}

/// The first line of what git complained about.
fn complaint(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or("no reason was given");
    line.trim_start_matches("fatal: ").to_owned()
}

/// A git that runs until it has finished or nobody wants it any more.
struct Running {
    name: &'static str,
    child: Child,
    complaint: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    fn start(name: &'static str, mut command: Command) -> Result<(Self, ChildStdout), GitError> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        // Read beside, for a full pipe would stop it.
        let complaint = std::thread::spawn(move || {
            let mut complaint = Vec::new();
            if let Some(mut errors) = errors {
                // What can't be read is not said, and no more than that.
                let _ = errors.by_ref().take(MAX_COMPLAINT).read_to_end(&mut complaint);
                let _ = std::io::copy(&mut errors, &mut std::io::sink());
            }
            complaint
        });
        let running = Self { name, child, complaint: Some(complaint) };
        let output = output.ok_or_else(|| std::io::Error::from(ErrorKind::BrokenPipe))?;
        Ok((running, output))
    }

    fn finish(&mut self) -> Result<(), GitError> {
        if self.child.wait()?.success() {
            return Ok(());
        }
        let said = self.complaint.take().and_then(|it| it.join().ok()).unwrap_or_default();
        Err(GitError::Failed(self.name, complaint(&said)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

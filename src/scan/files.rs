//! What is searched in a file system: everything below a directory but the inside of `.git`.
//!
//! Ignored files too: what is never committed, such as `.env`, is what leaks with a backup or an image. Symbolic links
//! are followed where they are named, not where they are met, so that nothing is searched twice or for ever.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use super::{Buffer, Finder, Finding, Report, Source};

/// Searches a file, or all regular files below a directory in the order of their names.
///
/// What can't be read is noted in the report, and the search goes on.
pub fn scan_path(finder: &Finder, buffer: &mut Buffer, path: &Path, report: &mut Report) {
    match fs::metadata(path) {
        Err(error) => report.can_not_read(path.display().to_string(), error),
        Ok(metadata) if metadata.is_dir() => scan_directory(finder, buffer, path, report),
        // Whatever else is named is meant: a pipe, too.
        Ok(_) => scan_file(finder, buffer, path, report),
    }
}

fn scan_directory(finder: &Finder, buffer: &mut Buffer, root: &Path, report: &mut Report) {
    let mut waiting = vec![(root.to_path_buf(), true)];
    while let Some((path, is_directory)) = waiting.pop() {
        if report.is_full() {
            return;
        }
        if !is_directory {
            scan_file(finder, buffer, &path, report);
            continue;
        }
        match entries(&path) {
            Err(error) => report.can_not_read(path.display().to_string(), error),
            Ok(mut entries) => {
                // The first name is to be popped first.
                entries.sort_by(|a, b| b.cmp(a));
                waiting.append(&mut entries);
            }
        }
    }
}

/// The regular files and directories in a directory; whether each is a directory.
fn entries(directory: &Path) -> std::io::Result<Vec<(PathBuf, bool)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_inside_of_git = kind.is_dir() && entry.file_name() == ".git";
        if (kind.is_dir() || kind.is_file()) && !is_inside_of_git {
            found.push((entry.path(), kind.is_dir()));
        }
    }
    Ok(found)
}

fn scan_file(finder: &Finder, buffer: &mut Buffer, path: &Path, report: &mut Report) {
    match File::open(path) {
        Err(error) => report.can_not_read(path.display().to_string(), error),
        Ok(mut file) => {
            let source = Source::File(Arc::new(path.to_path_buf()));
            scan_stream(finder, buffer, &source, &mut file, report);
        }
    }
}

/// Searches a stream to its end.
pub fn scan_stream(
    finder: &Finder,
    buffer: &mut Buffer,
    source: &Source,
    reader: &mut impl Read,
    report: &mut Report,
) {
    report.sources += 1;
    let searched = buffer.search(finder, reader, |place, kind, secret| {
        if !report.is_full() {
            let secret = SecretString::from(secret);
            report.findings.push(Finding {
                source: source.clone(),
                place,
                kind,
                secret,
                state: None,
            });
        }
    });
    match searched {
        Ok(bytes) => report.bytes += bytes,
        Err(error) => report.can_not_read(source.to_string(), error),
    }
}

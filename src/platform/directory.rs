//! Directories and files that are nobody else's business.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Makes the directory, and those above it that are missing, for their owner alone. One that is there stays as it is.
///
/// # Errors
/// When it can't be made.
pub fn make_private_directory(directory: &Path) -> Result<()> {
    if directory.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("can't create the directory {}", directory.display()))
}

/// Makes an empty file for its owner alone. One that is there stays as it is.
///
/// # Errors
/// When it can't be made.
pub fn make_private_file(file: &Path) -> Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)
        .map(drop)
        .with_context(|| format!("can't open {}", file.display()))
}

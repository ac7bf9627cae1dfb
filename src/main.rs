//! Parses the command, runs it, and turns its end into an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    portcullis::cli::run().await
}

//! The command line: each command calls the same verbs as the HTTP faces do.
//!
//! A failure is one plain sentence on standard error. Exit code 1: it could not be done; 2: it was asked for wrongly.

mod api_keys;
mod audit;
mod clients;
mod config;
mod context;
mod invitations;
mod migrate;
mod output;
mod quickstart;
mod resource_servers;
mod scan;
mod serve;
mod setup;
mod signing_keys;
mod token;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{BadConfig, Overrides};
use crate::identity::SetUpRefused;
use crate::platform::Refused;
use context::Context;

/// An authorization server in one binary: OAuth 2.1 for apps, API keys for scripts, one scope model, one revocation log.
#[derive(Parser)]
#[command(name = "portcullis", version, after_help = EXAMPLES)]
struct Cli {
    /// The configuration file [default: portcullis.toml, if it is there]
    #[arg(long, global = true, env = "PORTCULLIS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address and port to listen on
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The URL under which the world knows this server
    #[arg(long, global = true, value_name = "URL")]
    issuer: Option<String>,
    /// Where the database and the master key are kept
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// sqlite: and a file, or postgres://…
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  portcullis                                   start the server
  portcullis quickstart                        fill an empty installation with a worked example
  portcullis api-keys create --name ci --scope read:tenants
  portcullis token --client app_… --scope read:tenants --no-browser

Settings come from portcullis.toml, PORTCULLIS_… variables and flags, in this order.";

#[derive(Subcommand)]
enum Command {
    /// Start the server (the default)
    #[command(
        after_help = "Example:\n  portcullis serve --listen 0.0.0.0:8080 --issuer https://auth.example.com"
    )]
    Serve,
    /// Make the first owner and organization without a browser
    Setup(setup::Setup),
    /// Fill an empty installation with a worked example
    #[command(after_help = "Example:\n  portcullis quickstart --data-dir ./try")]
    Quickstart,
    /// Bring the database up to date
    Migrate(migrate::Migrate),
    /// Print the configuration in force, secrets masked
    Config(config::Config),
    /// Get a token by the authorization-code flow
    Token(token::Token),
    /// People
    #[command(subcommand, after_help = "Example:\n  portcullis users list")]
    Users(users::Users),
    /// One-time links by which people join
    #[command(
        subcommand,
        after_help = "Example:\n  portcullis invitations create --email bob@example.com --role admin"
    )]
    Invitations(invitations::Invitations),
    /// APIs that accept our credentials
    #[command(subcommand, after_help = "Example:\n  portcullis resource-servers list")]
    ResourceServers(resource_servers::ResourceServers),
    /// OAuth clients
    #[command(subcommand, after_help = "Example:\n  portcullis clients list")]
    Clients(clients::Clients),
    /// API keys
    #[command(
        subcommand,
        after_help = "Example:\n  portcullis api-keys create --name ci --scope read:tenants"
    )]
    ApiKeys(api_keys::ApiKeys),
    /// Keys that sign tokens
    #[command(subcommand, after_help = "Example:\n  portcullis signing-keys list")]
    SigningKeys(signing_keys::SigningKeys),
    /// Who did what
    #[command(subcommand, after_help = "Example:\n  portcullis audit export > events.jsonl")]
    Audit(audit::Audit),
    /// Find our credentials where they don't belong: in files, streams, git repositories
    Scan(scan::Scan),
    /// Print a script that completes commands in your shell
    #[command(
        after_help = "Example:\n  portcullis completions bash > /etc/bash_completion.d/portcullis"
    )]
    Completions { shell: Shell },
}

/// How a command failed.
enum Failure {
    /// It was asked for wrongly: exit code 2.
    Usage(String),
    /// It could not be done: exit code 1.
    Failed(String),
    /// All has been said: this exit code.
    Said(u8),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        match error.downcast_ref::<BadConfig>() {
            Some(bad) => Self::Usage(bad.to_string()),
            None => Self::Failed(with_causes(&error)),
        }
    }
}

/// The failure and its causes, but for those whose words stand in what they caused.
fn with_causes(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.ends_with(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::Failed("there is no such thing".to_owned()),
            Refused::Forbidden(why) | Refused::Conflict(why) => Self::Failed(why),
            Refused::Stale => {
                Self::Failed("somebody else has just changed it; look again".to_owned())
            }
            Refused::Failed(error) => error.into(),
            Refused::Invalid(errors) => {
                let errors: Vec<String> = errors
                    .iter()
                    .map(|error| format!("{} {}", error.field, error.message))
                    .collect();
                Self::Usage(errors.join("; "))
            }
        }
    }
}

impl From<SetUpRefused> for Failure {
    fn from(refused: SetUpRefused) -> Self {
        match refused {
            SetUpRefused::Done => Self::Failed(
                "this installation has an owner already; nothing was changed".to_owned(),
            ),
            SetUpRefused::BadLink => Self::Failed("the setup link is not good".to_owned()),
            SetUpRefused::Refused(refused) => refused.into(),
        }
    }
}

/// Runs the command that this process was started with.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let (code, sentence) = match execute(cli).await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(sentence)) => (2, sentence),
        Err(Failure::Failed(sentence)) => (1, sentence),
        Err(Failure::Said(code)) => return ExitCode::from(code),
    };
    // Whatever a cause had to say, it stays one line.
    let sentence = sentence.split(char::is_control).collect::<Vec<_>>().join(" ");
    eprintln!("portcullis: {sentence}");
    ExitCode::from(code)
}

async fn execute(cli: Cli) -> Result<(), Failure> {
    let Cli { config: file, listen, issuer, data_dir, database_url, command } = cli;
    let overrides = Overrides { listen, issuer, data_dir, database_url };
    let context = Context { file, overrides };
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&context).await,
        Command::Setup(command) => command.run(&context).await,
        Command::Quickstart => quickstart::run(&context).await,
        Command::Migrate(command) => command.run(&context).await,
        Command::Config(command) => command.run(&context),
        Command::Token(command) => command.run(&context).await,
        Command::Users(command) => command.run(&context).await,
        Command::Invitations(command) => command.run(&context).await,
        Command::ResourceServers(command) => command.run(&context).await,
        Command::Clients(command) => command.run(&context).await,
        Command::ApiKeys(command) => command.run(&context).await,
        Command::SigningKeys(command) => command.run(&context).await,
        Command::Audit(command) => command.run(&context).await,
        Command::Scan(command) => command.run(&context).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
            Ok(output::print(&String::from_utf8(script)?)?)
        }
    }
}

//! `portcullis config`: what is in force, secrets masked.

use clap::Args;

use super::Failure;
use super::context::Context;
use super::output;

#[derive(Args)]
#[command(
    after_help = "Example:\n  portcullis config > portcullis.toml     (masked values need filling in)"
)]
pub(super) struct Config {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Config {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut settings = context.settings()?;
        let config = settings.clone().check()?;
        // What follows from other settings is shown as it is in force.
        settings.issuer = config.issuer;
        if settings.database_url.is_empty() {
            settings.database_url = config.database_url.into();
        }
        let masked = settings.masked();
        if self.json {
            return output::json(&masked);
        }
        Ok(output::print(&toml::to_string(&masked)?)?)
    }
}

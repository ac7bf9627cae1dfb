//! `portcullis migrate`: brings the database up to date; the server does so itself when it starts.

use clap::Args;

use super::Failure;
use super::context::Context;
use crate::platform::db::Db;

#[derive(Args)]
#[command(after_help = "Example:\n  portcullis migrate --check || echo 'an upgrade is due'")]
pub(super) struct Migrate {
    /// Change nothing; exit with 1 if there is something to do
    #[arg(long)]
    check: bool,
}

impl Migrate {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = context.config()?;
        let db = Db::open(&config.database_url).await?;
        if self.check {
            return match db.pending_migrations().await? {
                0 => {
                    println!("The database is up to date.");
                    Ok(())
                }
                pending => Err(Failure::Failed(format!("{pending} migration(s) have not run yet"))),
            };
        }
        match db.migrate().await? {
            0 => println!("The database was up to date."),
            count => println!("{count} migration(s) ran; the database is up to date."),
        }
        Ok(())
    }
}

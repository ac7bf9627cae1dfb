//! `portcullis migrate`: brings the database up to date; the server does so itself when it starts.

use clap::Args;

use super::Failure;
use super::context::Context;
use crate::platform::db::{Db, all_migrations, sqlite_file};

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
        let url = &config.database_url;
        if self.check {
            // Opening a file that is not there would make it.
            let is_missing = url.scheme() == "sqlite" && !sqlite_file(url).exists();
            let pending = match is_missing {
                true => all_migrations(),
                false => Db::open(url).await?.pending_migrations().await?,
            };
            return match pending {
                0 => {
                    println!("The database is up to date.");
                    Ok(())
                }
                pending => Err(Failure::Failed(format!("{pending} migration(s) have not run yet"))),
            };
        }
        let db = Db::open(url).await?;
        match db.migrate().await? {
            0 => println!("The database was up to date."),
            count => println!("{count} migration(s) ran; the database is up to date."),
        }
        Ok(())
    }
}

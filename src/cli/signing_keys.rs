//! `portcullis signing-keys`: the keys that sign tokens.

use clap::Subcommand;

use super::Failure;
use super::context::Context;
use super::output;
use crate::audit::By;
use crate::signing::{self, Algorithm};

#[derive(Subcommand)]
pub(super) enum SigningKeys {
    /// List every signing key, newest first
    #[command(after_help = "Example:\n  portcullis signing-keys list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign with the upcoming key from now on; the active one stays published until its last token has expired
    #[command(after_help = "Example:\n  portcullis signing-keys rotate --algorithm ES256")]
    Rotate {
        /// ES256, EdDSA or RS256
        #[arg(long, default_value = "ES256")]
        algorithm: Algorithm,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl SigningKeys {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let app = context.app().await?;
        match self {
            Self::List { json } => {
                let keys = signing::list(app.db.reader()).await?;
                if json {
                    return output::json(&keys);
                }
                let rows: Vec<_> = keys
                    .into_iter()
                    .map(|key| {
                        [
                            key.id.to_string(),
                            key.algorithm,
                            key.state,
                            key.created_at.to_string(),
                            key.kid,
                        ]
                    })
                    .collect();
                output::table(["ID", "ALGORITHM", "STATE", "CREATED", "KID"], &rows)?;
            }
            Self::Rotate { algorithm, json } => {
                let (now, by) = (app.clock.now(), By::operator());
                let rotated =
                    signing::rotate(&app.db, now, &by, &app.signing_seal, algorithm).await?;
                if json {
                    return output::json(
                        &serde_json::json!({ "active": rotated.active, "retiring": rotated.retiring }),
                    );
                }
                println!("{} signs from now on.", rotated.active);
                if let Some(retiring) = rotated.retiring {
                    println!(
                        "{retiring} stays published for a day, until its last token has expired."
                    );
                }
            }
        }
        Ok(())
    }
}

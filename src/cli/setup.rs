//! `portcullis setup`: the first owner and organization, without a browser.

use clap::Args;

use super::Failure;
use super::context::{Context, secret_from_stdin};
use super::output;
use crate::audit::By;
use crate::identity::{SetUp, set_up};

#[derive(Args)]
#[command(after_help = "\
Example:
  printf %s \"$PASSWORD\" | portcullis setup --email ada@example.com --organization Example --password-stdin")]
pub(super) struct Setup {
    /// The owner's e-mail address, to log in with
    #[arg(long)]
    email: String,
    /// The owner's name [default: the part of the address before the @]
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// The name of the first organization
    #[arg(long)]
    organization: String,
    /// Read the owner's password from standard input
    #[arg(long, required = true)]
    password_stdin: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Setup {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        debug_assert!(self.password_stdin, "clap requires it");
        let password = secret_from_stdin()?;
        let app = context.app().await?;
        let wanted = SetUp {
            email: &self.email,
            name: &self.name,
            organization: &self.organization,
            password: &password,
            link: None,
        };
        let (user, organization) =
            set_up(&app.db, &app.passwords, app.clock.now(), &By::operator(), wanted).await?;
        if self.json {
            return output::json(
                &serde_json::json!({ "user": user.id, "organization": organization }),
            );
        }
        println!(
            "{} owns the organization {} ({organization}).",
            user.email,
            self.organization.trim()
        );
        println!("Log in at {}/login once the server runs.", app.config.issuer);
        Ok(())
    }
}

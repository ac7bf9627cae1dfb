//! `portcullis users`: people.

use clap::Subcommand;

use super::Failure;
use super::context::{Context, organization, secret_from_stdin};
use super::output;
use crate::audit::By;
use crate::identity::{self, NewUser, create_user};
use crate::tenancy::Role;

#[derive(Subcommand)]
pub(super) enum Users {
    /// List every user
    #[command(after_help = "Example:\n  portcullis users list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an account, a member of an organization
    #[command(after_help = "\
Example:
  printf %s \"$PASSWORD\" | portcullis users create --email bob@example.com --name Bob --role viewer --password-stdin")]
    Create {
        /// The e-mail address, to log in with
        #[arg(long)]
        email: String,
        /// The person's name
        #[arg(long)]
        name: String,
        /// The organization to join [default: the first one]
        #[arg(long)]
        organization: Option<String>,
        /// owner, admin, member or viewer
        #[arg(long, default_value = "member")]
        role: Role,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Users {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { json } => {
                let app = context.app().await?;
                let users = identity::list_users(app.db.reader()).await?;
                if json {
                    return output::json(&users);
                }
                let rows: Vec<_> = users
                    .into_iter()
                    .map(|user| {
                        [user.id.to_string(), user.email, user.name, user.created_at.to_string()]
                    })
                    .collect();
                Ok(output::table(["ID", "E-MAIL", "NAME", "CREATED"], &rows)?)
            }
            Self::Create { email, name, organization: wanted, role, password_stdin: _, json } => {
                let password = secret_from_stdin()?;
                let app = context.app().await?;
                let organization = organization(&app, wanted.as_deref()).await?;
                let (now, by) = (app.clock.now(), By::operator());
                let new = NewUser { email: &email, name: &name, password: &password };
                let membership = Some((organization, role.into()));
                let user = create_user(&app.db, &app.passwords, now, &by, new, membership).await?;
                if json {
                    return output::json(&user);
                }
                println!("{} ({}) is {role} of {organization}.", user.email, user.id);
                Ok(())
            }
        }
    }
}

//! `portcullis users`: people.

use clap::Subcommand;

use super::Failure;
use super::context::{Context, organization, secret_from_stdin};
use super::output;
use crate::app::App;
use crate::audit::By;
use crate::identity::{self, NewUser, User, create_user};
use crate::organizations::{Authority, change_member_role, erase_user, resume_user, suspend_user};
use crate::tenancy::{Role, RoleRef};

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
    /// Log somebody out everywhere and keep them out, until they are resumed
    #[command(after_help = "Example:\n  portcullis users suspend bob@example.com")]
    Suspend {
        /// The account: its id or its e-mail address
        #[arg(value_name = "ID OR E-MAIL")]
        user: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let somebody who was suspended log in again
    #[command(after_help = "Example:\n  portcullis users resume bob@example.com")]
    Resume {
        /// The account: its id or its e-mail address
        #[arg(value_name = "ID OR E-MAIL")]
        user: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Erase an account and all that names its person, for good
    #[command(after_help = "Example:\n  portcullis users erase bob@example.com")]
    Erase {
        /// The account: its id or its e-mail address
        #[arg(value_name = "ID OR E-MAIL")]
        user: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a member of an organization another role
    #[command(after_help = "Example:\n  portcullis users set-role bob@example.com --role admin")]
    SetRole {
        /// The member: their id or e-mail address
        #[arg(value_name = "ID OR E-MAIL")]
        user: String,
        /// owner, admin, member, viewer, or the id of a role of the organization
        #[arg(long)]
        role: RoleRef,
        /// The organization [default: the first one]
        #[arg(long)]
        organization: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Users {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { json } => list(context, json).await,
            Self::Create { email, name, organization, role, password_stdin: _, json } => {
                let password = secret_from_stdin()?;
                let new = NewUser { email: &email, name: &name, password: &password };
                create(context, new, organization.as_deref(), role, json).await
            }
            Self::Suspend { user, json } => suspend(context, &user, json).await,
            Self::Resume { user, json } => resume(context, &user, json).await,
            Self::Erase { user, json } => erase(context, &user, json).await,
            Self::SetRole { user, role, organization, json } => {
                set_role(context, &user, role, organization.as_deref(), json).await
            }
        }
    }
}

async fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let users = identity::list_users(app.db.reader()).await?;
    if json {
        return output::json(&users);
    }
    let rows: Vec<_> = users
        .into_iter()
        .map(|user| [user.id.to_string(), user.email, user.name, user.created_at.to_string()])
        .collect();
    Ok(output::table(["ID", "E-MAIL", "NAME", "CREATED"], &rows)?)
}

async fn create(
    context: &Context,
    new: NewUser<'_>,
    wanted: Option<&str>,
    role: Role,
    json: bool,
) -> Result<(), Failure> {
    let app = context.app().await?;
    let organization = organization(&app, wanted).await?;
    let (now, by) = (app.clock.now(), By::operator());
    let membership = Some((organization, role.into()));
    let user = create_user(&app.db, &app.passwords, now, &by, new, membership).await?;
    tell(&user, json, &format!("is {role} of {organization}"))
}

async fn suspend(context: &Context, named: &str, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let user = account(&app, named).await?;
    let tx = app.db.begin().await?;
    let user = suspend_user(&tx, app.clock.now(), &By::operator(), None, user.id).await?;
    tx.commit().await?;
    tell(&user, json, "is suspended")
}

async fn resume(context: &Context, named: &str, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let user = account(&app, named).await?;
    let tx = app.db.begin().await?;
    let user = resume_user(&tx, app.clock.now(), &By::operator(), user.id).await?;
    tx.commit().await?;
    tell(&user, json, "can log in")
}

async fn erase(context: &Context, named: &str, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let user = account(&app, named).await?;
    let tx = app.db.begin().await?;
    erase_user(&tx, app.clock.now(), &By::operator(), None, user.id).await?;
    tx.commit().await?;
    tell(&account(&app, &user.id.to_string()).await?, json, "is all that is left")
}

async fn set_role(
    context: &Context,
    named: &str,
    role: RoleRef,
    wanted: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let app = context.app().await?;
    let organization = organization(&app, wanted).await?;
    let user = account(&app, named).await?.id;
    let (now, by, authority) = (app.clock.now(), By::operator(), Authority::Operator);
    let tx = app.db.begin().await?;
    let member =
        change_member_role(&tx, now, &by, authority, organization, user, None, role).await?;
    tx.commit().await?;
    if json {
        return output::json(&serde_json::json!({
            "user": member.user, "organization": organization, "role": member.role,
        }));
    }
    println!("{} ({user}) is {} of {organization}.", member.email, member.role_name);
    Ok(())
}

/// The account of that id or address.
async fn account(app: &App, named: &str) -> Result<User, Failure> {
    let reader = app.db.reader();
    let found = match named.parse() {
        Ok(id) => identity::find_user(reader, id).await?,
        Err(_) => identity::find_user_by_email(reader, &named.trim().to_lowercase()).await?,
    };
    found.ok_or_else(|| Failure::Failed(format!("there is no account {named}")))
}

fn tell(user: &User, json: bool, words: &str) -> Result<(), Failure> {
    if json {
        return output::json(user);
    }
    println!("{} ({}) {words}.", user.email, user.id);
    Ok(())
}

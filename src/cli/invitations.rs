//! `portcullis invitations`: one-time links by which people join an organization.

use clap::{Args, Subcommand};
use entity::InvitationId;
use secrecy::ExposeSecret as _;

use super::Failure;
use super::context::{Context, organization};
use super::output;
use crate::audit::By;
use crate::invitations::api::{Created, Representation};
use crate::invitations::{self, ListInvitations, NewInvitation, Power};

#[derive(Subcommand)]
pub(super) enum Invitations {
    /// List invitations, newest first
    #[command(after_help = "Example:\n  portcullis invitations list --json")]
    List {
        /// The organization [default: all of them]
        #[arg(long)]
        organization: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 1000)]
        limit: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Invite somebody; prints the link, this once, and mails nothing
    #[command(
        after_help = "Example:\n  portcullis invitations create --email bob@example.com --role admin"
    )]
    Create(Create),
    /// Revoke an invitation: its link is dead
    #[command(
        after_help = "Example:\n  portcullis invitations revoke inv_01j9zq4k2mfd8v6w3x5y7b1c0e"
    )]
    Revoke {
        /// The invitation's id, inv_…
        id: InvitationId,
    },
}

#[derive(Args)]
pub(super) struct Create {
    /// The e-mail address of whoever is to join
    #[arg(long)]
    email: String,
    /// owner, admin, member, viewer, or the id of one of the organization's own roles
    #[arg(long)]
    role: String,
    /// The organization to join [default: the first one]
    #[arg(long)]
    organization: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Invitations {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { organization, limit, json } => {
                list(context, organization.as_deref(), limit, json).await
            }
            Self::Create(create) => create.run(context).await,
            Self::Revoke { id } => {
                let app = context.app().await?;
                let tx = app.db.begin().await?;
                invitations::revoke(&tx, app.clock.now(), &By::operator(), None, id).await?;
                tx.commit().await?;
                println!("{id} is revoked.");
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let app = context.app().await?;
        let organization = organization(&app, self.organization.as_deref()).await?;
        let new = NewInvitation {
            organization,
            email: &self.email,
            role: &self.role,
            invited_by: None,
            power: Power::All,
        };
        let (now, by) = (app.clock.now(), By::operator());
        let tx = app.db.begin().await?;
        let (invitation, token) = invitations::invite(&tx, now, &by, new).await?;
        tx.commit().await?;
        let link = invitations::link(&app.config.issuer, &token);
        if self.json {
            return output::json(&Created::new(invitation, &link, now));
        }
        let Representation { email, id, role, .. } = Representation::new(invitation, now);
        println!("{email} is invited to {organization} as {role} ({id}).");
        println!("The link, shown this once and good for 7 days: {}", link.expose_secret());
        Ok(())
    }
}

async fn list(
    context: &Context,
    name: Option<&str>,
    limit: u64,
    json: bool,
) -> Result<(), Failure> {
    let app = context.app().await?;
    let now = app.clock.now();
    let organization = match name {
        Some(_) => Some(organization(&app, name).await?),
        None => None,
    };
    let which = ListInvitations { organization, limit, ..ListInvitations::default() };
    let found = invitations::list(app.db.reader(), now, which).await?;
    let shown: Vec<_> = found.into_iter().map(|it| Representation::new(it, now)).collect();
    if json {
        return output::json(&shown);
    }
    let rows: Vec<_> = shown
        .into_iter()
        .map(|it| {
            let status = format!("{:?}", it.status).to_lowercase();
            let (id, organization) = (it.id.to_string(), it.organization.to_string());
            [id, organization, it.email, it.role, status, it.expires_at.to_string()]
        })
        .collect();
    Ok(output::table(["ID", "ORGANIZATION", "E-MAIL", "ROLE", "STATUS", "EXPIRES"], &rows)?)
}

//! `portcullis clients`: OAuth clients.

use clap::{Args, Subcommand};
use entity::ClientId;
use portcullis_verifier::ScopeSet;
use secrecy::ExposeSecret as _;

use super::Failure;
use super::context::{Context, organization};
use super::output;
use crate::audit::By;
use crate::clients::{self, GrantType, NewAudience, NewClient};
use crate::resource_servers;
use crate::tenancy::Role;

#[derive(Subcommand)]
pub(super) enum Clients {
    /// List every client
    #[command(after_help = "Example:\n  portcullis clients list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Register a client; prints a confidential one's secret, this once
    #[command(after_help = "\
Examples:
  portcullis clients create --name Dashboard --resource https://api.example.com \\
    --redirect-uri https://dashboard.example.com/callback --scope read:tenants --scope write:tenants
  portcullis clients create --name 'Command line' --public --resource https://api.example.com \\
    --redirect-uri http://127.0.0.1/callback --scope read:tenants
  portcullis clients create --name Importer --grant-type client_credentials \\
    --resource https://api.example.com --scope write:tenants")]
    Create(Create),
    /// Revoke a client and all that descends from it, at once and for good
    #[command(after_help = "Example:\n  portcullis clients revoke app_01j9zq4k2mfd8v6w3x5y7b1c0e")]
    Revoke {
        /// The client's id, app_…
        id: ClientId,
    },
}

#[derive(Args)]
pub(super) struct Create {
    /// Its name, which the consent page shows
    #[arg(long)]
    name: String,
    /// It can't keep a secret: a browser app, a mobile app, a command line
    #[arg(long)]
    public: bool,
    /// Let a confidential client leave PKCE out
    #[arg(long, conflicts_with = "public")]
    pkce_optional: bool,
    /// authorization_code, refresh_token or client_credentials; repeat for more [default: the first two]
    #[arg(long = "grant-type", value_name = "GRANT_TYPE")]
    grant_types: Vec<GrantType>,
    /// Where answers may go; repeat for more
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// The audience of the resource server that it may ask for
    #[arg(long)]
    resource: String,
    /// A scope that it may ask for; repeat for more
    #[arg(long = "scope", required = true)]
    scopes: Vec<String>,
    /// A scope that it gets when it names none; repeat for more [default: all of them]
    #[arg(long = "default-scope")]
    default_scopes: Vec<String>,
    /// The organization that owns it [default: the first one]
    #[arg(long)]
    organization: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Clients {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { json } => list(context, json).await,
            Self::Create(create) => create.run(context).await,
            Self::Revoke { id } => {
                let app = context.app().await?;
                match clients::revoke(&app.db, app.clock.now(), &By::operator(), id).await? {
                    true => println!("{id} is revoked, and all that descends from it."),
                    false => {
                        return Err(Failure::Failed(format!("there is no client {id} that lives")));
                    }
                }
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let app = context.app().await?;
        let organization = organization(&app, self.organization.as_deref()).await?;
        let resource_server =
            resource_servers::find_by_audience(app.db.reader(), &self.resource).await?.ok_or_else(
                || Failure::Failed(format!("there is no resource server {}", self.resource)),
            )?;
        let scopes = |texts: &[String]| -> Result<ScopeSet, Failure> {
            texts
                .join(" ")
                .parse()
                .map_err(|error| Failure::Usage(format!("scope can't be used: {error}")))
        };
        let allowed = scopes(&self.scopes)?;
        let default = if self.default_scopes.is_empty() {
            allowed.clone()
        } else {
            scopes(&self.default_scopes)?
        };
        let grant_types = match self.grant_types.is_empty() {
            true => vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            false => self.grant_types,
        };
        let audience = NewAudience { resource_server: resource_server.id, allowed, default };
        let new = NewClient {
            is_confidential: !self.public,
            requires_pkce: !self.pkce_optional,
            grant_types,
            redirect_uris: self.redirect_uris,
            audiences: vec![audience],
            ..NewClient::new(organization, &self.name, Role::Owner.scopes())
        };
        let tx = app.db.begin().await?;
        let (client, secret) =
            clients::register(&tx, app.clock.now(), &By::operator(), &app.config.brand, new)
                .await?;
        tx.commit().await?;
        let secret = secret.as_ref().map(|secret| secret.expose_secret());
        if self.json {
            return output::json(
                &serde_json::json!({ "client_id": client.id, "client_secret": secret }),
            );
        }
        println!("{} is registered as {}.", client.name, client.id);
        if let Some(secret) = secret {
            println!("Its secret, shown this once: {secret}");
        }
        Ok(())
    }
}

async fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let all = clients::list(app.db.reader(), None).await?;
    if json {
        return output::json(&all);
    }
    let rows: Vec<_> = all
        .into_iter()
        .map(|client| {
            let kind = if client.is_confidential { "confidential" } else { "public" };
            let status = if client.revoked_at.is_some() { "revoked" } else { "active" };
            let grant_types = client.grant_types.join(" ");
            [client.id.to_string(), client.name, kind.to_owned(), status.to_owned(), grant_types]
        })
        .collect();
    Ok(output::table(["ID", "NAME", "KIND", "STATUS", "GRANT TYPES"], &rows)?)
}

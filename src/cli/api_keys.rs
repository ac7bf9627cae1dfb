//! `portcullis api-keys`: long-lived secrets for scripts.

use clap::{Args, Subcommand};
use entity::{ApiKeyId, Timestamp};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Failure;
use super::context::{Context, acting_user, organization};
use super::output;
use crate::api_keys::api::{Created, Representation};
use crate::api_keys::{self, Labels, ListApiKeys, NewApiKey};
use crate::audit::By;
use crate::resource_servers;

#[derive(Subcommand)]
pub(super) enum ApiKeys {
    /// List API keys, newest first
    #[command(after_help = "Example:\n  portcullis api-keys list --json")]
    List {
        /// How many at most
        #[arg(long, default_value_t = 1000)]
        limit: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an API key; prints its secret, this once
    #[command(after_help = "\
Examples:
  portcullis api-keys create --name ci --scope read:tenants --scope write:tenants
  portcullis api-keys create --name audit --scope read --expires-at 2027-01-01T00:00:00Z --as ada@example.com")]
    Create(Create),
    /// Revoke an API key, at once and for good
    #[command(after_help = "Example:\n  portcullis api-keys revoke key_01j9zq4k2mfd8v6w3x5y7b1c0e")]
    Revoke {
        /// The key's id, key_…
        id: ApiKeyId,
    },
}

#[derive(Args)]
pub(super) struct Create {
    /// Its name
    #[arg(long)]
    name: String,
    /// A scope; repeat for more
    #[arg(long = "scope", required = true)]
    scopes: Vec<String>,
    /// One of the configured environments [default: the first]
    #[arg(long)]
    environment: Option<String>,
    /// When it ends, as RFC 3339 has it
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// The organization [default: the first one]
    #[arg(long)]
    organization: Option<String>,
    /// The member whose role bounds the key [default: the organization's first owner]
    #[arg(long = "as", value_name = "E-MAIL")]
    creator: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ApiKeys {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { limit, json } => list(context, limit, json).await,
            Self::Create(create) => create.run(context).await,
            Self::Revoke { id } => {
                let app = context.app().await?;
                match api_keys::revoke(&app.db, app.clock.now(), &By::operator(), None, id).await? {
                    true => println!("{id} is revoked."),
                    false => return Err(Failure::Failed(format!("there is no API key {id}"))),
                }
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let expires_at = self
            .expires_at
            .as_deref()
            .map(|text| OffsetDateTime::parse(text, &Rfc3339))
            .transpose();
        let expires_at = expires_at.map_err(|_| {
            Failure::Usage("expires_at must be a time such as 2027-01-01T00:00:00Z".to_owned())
        })?;
        let app = context.app().await?;
        let organization = organization(&app, self.organization.as_deref()).await?;
        let (creator, reach) = acting_user(&app, organization, self.creator.as_deref()).await?;
        let resource_servers = resource_servers::list_all(app.db.reader()).await?;
        let new = NewApiKey {
            organization,
            project: None,
            created_by: creator,
            reach: &reach,
            name: &self.name,
            description: "",
            labels: Labels::new(),
            scopes: &self.scopes,
            allowed_ips: None,
            environment: self.environment.as_deref(),
            expires_at: expires_at.map(Timestamp::from),
            is_decoy: false,
        };
        let now = app.clock.now();
        let tx = app.db.begin().await?;
        let (brand, settings) = (&app.config.brand, &app.config.api_keys);
        let (key, secret) =
            api_keys::issue(&tx, now, &By::operator(), brand, settings, &resource_servers, new)
                .await?;
        tx.commit().await?;
        if self.json {
            return output::json(&Created::new(&key, &secret, now));
        }
        println!("{} is {}, good for {}.", key.name, key.id, key.scopes);
        println!("Its secret, shown this once: {}", secret.expose_secret());
        Ok(())
    }
}

async fn list(context: &Context, limit: u64, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let now = app.clock.now();
    let keys = api_keys::list(
        app.db.reader(),
        now,
        ListApiKeys { include_decoys: true, limit, ..ListApiKeys::default() },
    )
    .await?;
    let shown: Vec<_> = keys.iter().map(|key| Representation::new(key, now)).collect();
    if json {
        return output::json(&shown);
    }
    let rows: Vec<_> = shown
        .into_iter()
        .map(|key| {
            let status = format!("{:?}", key.status).to_lowercase();
            [key.id.to_string(), key.name, status, key.hint, key.scopes.join(" ")]
        })
        .collect();
    Ok(output::table(["ID", "NAME", "STATUS", "SECRET", "SCOPES"], &rows)?)
}

//! `portcullis api-keys`: long-lived secrets for scripts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use entity::{ApiKeyId, OrganizationId, ProjectId, Timestamp, UserId};
use portcullis_verifier::ScopeSet;
use secrecy::ExposeSecret as _;

use super::Failure;
use super::context::{Context, acting_user, organization};
use super::output;
use crate::api_keys::api::edit::EditAnswer;
use crate::api_keys::api::import::{ImportApiKeys, ImportedApiKeys};
use crate::api_keys::api::revoke::RevokedApiKeys;
use crate::api_keys::api::{Created, Representation};
use crate::api_keys::{self, ApiKeyChanges, Criteria, Labels, ListApiKeys, NewApiKey};
use crate::app::App;
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
  portcullis api-keys create --name office --scope read --allowed-ip 192.0.2.0/24 --label team=billing
  portcullis api-keys create --name audit --scope read --expires-at 2027-01-01T00:00:00Z --as ada@example.com")]
    Create(Create),
    /// Change an API key, or say what that would take away
    #[command(after_help = "\
Examples:
  portcullis api-keys edit key_01j9zq4k2mfd8v6w3x5y7b1c0e --scope read:tenants --dry-run
  portcullis api-keys edit key_01j9zq4k2mfd8v6w3x5y7b1c0e --allowed-ip anywhere --expires-at never")]
    Edit(Edit),
    /// Revoke an API key, at once and for good
    #[command(
        after_help = "Example:\n  portcullis api-keys revoke key_01j9zq4k2mfd8v6w3x5y7b1c0e --reason 'It leaked'"
    )]
    Revoke {
        /// The key's id, key_…
        id: ApiKeyId,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Revoke the API keys of an organization that fit all that is said, at once and for good
    #[command(after_help = "\
Examples:
  portcullis api-keys revoke-many --unused-days 90 --dry-run
  portcullis api-keys revoke-many --label team=billing --reason 'The team is gone'")]
    RevokeMany(RevokeMany),
    /// Import keys of another system by their hashes: a file as POST /v1/api-keys:import takes it
    #[command(after_help = "Example:\n  portcullis api-keys import keys.json --as ada@example.com")]
    Import(Import),
}

#[derive(Args)]
pub(super) struct Create {
    /// Its name
    #[arg(long)]
    name: String,
    /// A scope; repeat for more
    #[arg(long = "scope", required = true)]
    scopes: Vec<String>,
    /// A label; repeat for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A network that it may be used from; repeat for more [default: anywhere]
    #[arg(long = "allowed-ip", value_name = "CIDR")]
    allowed_ips: Vec<String>,
    /// How often it may be used in a minute [default: as is usual]
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// One of the configured environments [default: the first]
    #[arg(long)]
    environment: Option<String>,
    /// One of the brands in force [default: the first]
    #[arg(long)]
    brand: Option<String>,
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

#[derive(Args)]
pub(super) struct Edit {
    /// The key's id, key_…
    id: ApiKeyId,
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    description: Option<String>,
    /// All that it may do; repeat for more
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// All of its labels; repeat for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// All networks that it may be used from, or `anywhere`; repeat for more
    #[arg(long = "allowed-ip", value_name = "CIDR")]
    allowed_ips: Vec<String>,
    /// How often it may be used in a minute, or `usual`
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<String>,
    /// When it ends, as RFC 3339 has it, or `never`
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Say what the edit would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The member whose role bounds what may be added [default: the organization's first owner]
    #[arg(long = "as", value_name = "E-MAIL")]
    editor: Option<String>,
}

#[derive(Args)]
pub(super) struct RevokeMany {
    /// Keys that this person made
    #[arg(long, value_name = "USER")]
    created_by: Option<UserId>,
    /// Keys that are confined to this project
    #[arg(long)]
    project: Option<ProjectId>,
    /// Keys that bear this label, with this value or with any
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Option<String>,
    /// Keys that nobody used for so many days
    #[arg(long, value_name = "DAYS")]
    unused_days: Option<u32>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Say which, and revoke none
    #[arg(long)]
    dry_run: bool,
    /// The organization [default: the first one]
    #[arg(long)]
    organization: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Import {
    file: PathBuf,
    /// The organization [default: the first one]
    #[arg(long)]
    organization: Option<String>,
    /// The member who owns the keys that name no other [default: the organization's first owner]
    #[arg(long = "as", value_name = "E-MAIL")]
    creator: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

fn time(text: &str) -> Result<Timestamp, Failure> {
    let wrong =
        |_| Failure::Usage("expires_at must be a time such as 2027-01-01T00:00:00Z".to_owned());
    text.parse().map_err(wrong)
}

/// All that was said, where something was.
fn some(texts: &[String]) -> Option<&[String]> {
    Some(texts).filter(|texts| !texts.is_empty())
}

impl ApiKeys {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { limit, json } => list(context, limit, json).await,
            Self::Create(command) => command.run(context).await,
            Self::Edit(command) => command.run(context).await,
            Self::Revoke { id, reason } => revoke(context, id, reason.as_deref()).await,
            Self::RevokeMany(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let expires_at = self.expires_at.as_deref().map(time).transpose()?;
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
            labels: Labels::from_iter(self.labels),
            scopes: &self.scopes,
            allowed_ips: some(&self.allowed_ips),
            environment: self.environment.as_deref(),
            brand: self.brand.as_deref(),
            requests_per_minute: self.requests_per_minute,
            expires_at,
            is_decoy: false,
        };
        let now = app.clock.now();
        let tx = app.db.begin().await?;
        let (brands, settings) = (app.config.brands(), &app.config.api_keys);
        let by = By::operator();
        let (key, secret) =
            api_keys::issue(&tx, now, &by, &brands, settings, &resource_servers, new).await?;
        tx.commit().await?;
        if self.json {
            return output::json(&Created::new(&key, &secret, now));
        }
        println!("{} is {}, good for {}.", key.name, key.id, key.scopes);
        println!("Its secret, shown this once: {}", secret.expose_secret());
        Ok(())
    }
}

impl Edit {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let app = context.app().await?;
        let absent = || Failure::Failed(format!("there is no API key {}", self.id));
        let key = api_keys::find(app.db.reader(), None, self.id).await?.ok_or_else(absent)?;
        let (_, reach) = acting_user(&app, key.organization, self.editor.as_deref()).await?;
        let offered = resource_servers::list_offered(app.db.reader(), key.organization).await?;
        let changes = self.changes(&reach, &offered)?;
        let (now, by) = (app.clock.now(), By::operator());
        if self.dry_run {
            let (reader, id) = (app.db.reader(), self.id);
            let edited =
                api_keys::try_edit(reader, now, key.organization, id, None, changes).await?;
            return output::json(&EditAnswer::trial(edited, now));
        }
        let tx = app.db.begin().await?;
        let edited =
            api_keys::edit(&tx, now, &by, key.organization, self.id, None, changes).await?;
        tx.commit().await?;
        output::json(&EditAnswer::edited(edited, now))
    }

    fn changes<'a>(
        &'a self,
        reach: &'a ScopeSet,
        offered: &'a [resource_servers::ResourceServer],
    ) -> Result<ApiKeyChanges<'a>, Failure> {
        let number = |text: &String| match text.as_str() {
            "usual" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::Usage("requests_per_minute must be a number or `usual`".to_owned())
            }),
        };
        let end = |text: &String| match text.as_str() {
            "never" => Ok(None),
            text => time(text).map(Some),
        };
        let labels = Some(&self.labels).filter(|labels| !labels.is_empty());
        let networks = some(&self.allowed_ips);
        let anywhere = ["anywhere".to_owned()];
        Ok(ApiKeyChanges {
            name: self.name.as_deref(),
            description: self.description.as_deref(),
            labels: labels.map(|labels| labels.iter().cloned().collect()),
            scopes: some(&self.scopes),
            allowed_ips: networks.map(|all| Some(all).filter(|all| **all != anywhere)),
            requests_per_minute: self.requests_per_minute.as_ref().map(number).transpose()?,
            expires_at: self.expires_at.as_ref().map(end).transpose()?,
            reach,
            offered,
        })
    }
}

async fn revoke(context: &Context, id: ApiKeyId, reason: Option<&str>) -> Result<(), Failure> {
    let app = context.app().await?;
    let (now, by) = (app.clock.now(), By::operator());
    match api_keys::revoke(&app.db, now, &by, None, id, reason).await? {
        true => println!("{id} is revoked."),
        false => return Err(Failure::Failed(format!("there is no API key {id}"))),
    }
    Ok(())
}

impl RevokeMany {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let app = context.app().await?;
        let organization = organization(&app, self.organization.as_deref()).await?;
        let label = self.label.as_deref().map(|label| match label.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (label, None),
        });
        let criteria = Criteria {
            organization,
            confined_to: None,
            created_by: self.created_by,
            project: self.project,
            label,
            unused_days: self.unused_days,
        };
        let answer = self.revoked(&app, criteria).await?;
        if self.json {
            return output::json(&answer);
        }
        let (are, more) = match self.dry_run {
            true => ("would be", "There are more."),
            false => ("are", "There are more: run it again."),
        };
        println!("{} key(s) {are} revoked.", answer.revoked);
        answer.keys.iter().for_each(|id| println!("{id}"));
        if answer.revoked > answer.keys.len() {
            println!("…");
        }
        if answer.has_more {
            println!("{more}");
        }
        Ok(())
    }

    async fn revoked(&self, app: &App, criteria: Criteria<'_>) -> Result<RevokedApiKeys, Failure> {
        let (now, by, reason) = (app.clock.now(), By::operator(), self.reason.as_deref());
        if self.dry_run {
            let found = api_keys::would_revoke(app.db.reader(), now, criteria, reason).await?;
            return Ok(RevokedApiKeys::new(true, found));
        }
        let tx = app.db.begin().await?;
        let revoked = api_keys::revoke_many(&tx, now, &by, criteria, reason).await?;
        tx.commit().await?;
        Ok(RevokedApiKeys::new(false, revoked))
    }
}

impl Import {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let wanted = self.wanted()?;
        let app = context.app().await?;
        let organization = organization(&app, self.organization.as_deref()).await?;
        let (creator, reach) = acting_user(&app, organization, self.creator.as_deref()).await?;
        let ids = imported(&app, organization, creator, &reach, &wanted).await?;
        if self.json {
            return output::json(&ImportedApiKeys::new(ids));
        }
        println!("{} key(s) are imported.", ids.len());
        Ok(())
    }

    fn wanted(&self) -> Result<ImportApiKeys, Failure> {
        let name = self.file.display();
        let text = std::fs::read(&self.file)
            .map_err(|error| Failure::Usage(format!("can't read {name}: {error}")))?;
        serde_json::from_slice(&text)
            .map_err(|error| Failure::Usage(format!("{name} can't be used: {error}")))
    }
}

async fn imported(
    app: &App,
    organization: OrganizationId,
    creator: UserId,
    reach: &ScopeSet,
    wanted: &ImportApiKeys,
) -> Result<Vec<ApiKeyId>, Failure> {
    let (now, by, settings) = (app.clock.now(), By::operator(), &app.config.api_keys);
    let tx = app.db.begin().await?;
    let offered = resource_servers::list_offered(&tx, organization).await?;
    let import = wanted.import(organization, creator, reach, &offered);
    let ids = api_keys::import(&tx, now, &by, settings, import).await?;
    tx.commit().await?;
    Ok(ids)
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

//! `portcullis resource-servers`: APIs that accept our credentials.

use clap::Subcommand;
use secrecy::ExposeSecret as _;

use super::Failure;
use super::context::{Context, organization};
use super::output;
use crate::audit::By;
use crate::resource_servers::{self, Catalog, CatalogScope, NewResourceServer};
use crate::revocation::{self, Subject};
use crate::signing::{self, Algorithm};

#[derive(Subcommand)]
pub(super) enum ResourceServers {
    /// List every resource server and its scopes
    #[command(after_help = "Example:\n  portcullis resource-servers list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Register an API; prints the credential with which it checks API keys, this once
    #[command(after_help = "\
Example:
  portcullis resource-servers create --audience https://api.example.com --name 'Example API' \\
    --scope 'read:tenants=See your tenants' --scope 'write:tenants=Create and change your tenants'")]
    Create {
        /// Its audience: the URI that its tokens are for
        #[arg(long)]
        audience: String,
        /// Its name, for people
        #[arg(long)]
        name: String,
        /// A scope and the sentence that the consent page shows for it; repeat for more
        #[arg(long = "scope", required = true, value_name = "SCOPE=SENTENCE")]
        scopes: Vec<String>,
        /// ES256, EdDSA or RS256
        #[arg(long, default_value = "ES256")]
        algorithm: Algorithm,
        /// The organization that owns it [default: the first one]
        #[arg(long)]
        organization: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ResourceServers {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { json } => list(context, json).await,
            Self::Create { audience, name, scopes, algorithm, organization: wanted, json } => {
                let catalog = catalog(&scopes)?;
                let app = context.app().await?;
                let organization = organization(&app, wanted.as_deref()).await?;
                let (now, by) = (app.clock.now(), By::operator());
                signing::ensure_active(&app.db, now, &by, &app.signing_seal, algorithm).await?;
                let new = NewResourceServer {
                    organization,
                    audience: &audience,
                    name: &name,
                    algorithm,
                    catalog,
                    access_token_seconds: None,
                    is_shared: true,
                };
                let tx = app.db.begin().await?;
                let (api, credential) =
                    resource_servers::create(&tx, now, &by, &app.config.brand, new).await?;
                revocation::append_changed(&tx, now, &[Subject::ResourceServer(api.id)]).await?;
                tx.commit().await?;
                if json {
                    let credential = credential.expose_secret();
                    return output::json(
                        &serde_json::json!({ "id": api.id, "credential": credential }),
                    );
                }
                println!("{} is registered as {}.", api.audience, api.id);
                println!("Its credential, shown this once: {}", credential.expose_secret());
                Ok(())
            }
        }
    }
}

fn catalog(scopes: &[String]) -> Result<Catalog, Failure> {
    let entry = |text: &String| {
        let (scope, sentence) = text.split_once('=')?;
        Some(CatalogScope {
            scope: scope.trim().parse().ok()?,
            sentence: sentence.trim().to_owned(),
            needs_admin: false,
        })
    };
    let entries = scopes.iter().map(|text| {
        entry(text)
            .ok_or_else(|| Failure::Usage(format!("`{text}` is not a scope, `=`, and a sentence")))
    });
    Ok(Catalog(entries.collect::<Result<_, _>>()?))
}

async fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let app = context.app().await?;
    let all = resource_servers::list_all(app.db.reader()).await?;
    let scopes = |catalog: &Catalog| {
        catalog.0.iter().map(|entry| entry.scope.to_string()).collect::<Vec<_>>()
    };
    if json {
        let rows: Vec<_> = all
            .iter()
            .map(|api| {
                serde_json::json!({
                    "id": api.id, "audience": api.audience, "name": api.name,
                    "algorithm": api.algorithm.as_str(), "scopes": scopes(&api.catalog),
                })
            })
            .collect();
        return output::json(&rows);
    }
    let rows: Vec<_> = all
        .iter()
        .map(|api| {
            [
                api.id.to_string(),
                api.audience.clone(),
                api.name.clone(),
                scopes(&api.catalog).join(" "),
            ]
        })
        .collect();
    Ok(output::table(["ID", "AUDIENCE", "NAME", "SCOPES"], &rows)?)
}

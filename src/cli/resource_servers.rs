//! `portcullis resource-servers`: APIs that accept our credentials.

use clap::Subcommand;
use entity::ResourceServerId;
use secrecy::ExposeSecret as _;

use super::Failure;
use super::context::{Context, organization};
use super::output;
use crate::audit::By;
use crate::platform::Refused;
use crate::resource_servers::{self, Catalog, CatalogScope, NewResourceServer};
use crate::revocation::{self, About};
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
        /// How long its access tokens live, in seconds [default: as the setting says]
        #[arg(long)]
        access_token_seconds: Option<u64>,
        /// Give its access tokens a place in a Token Status List
        #[arg(long)]
        status_list: bool,
        /// The organization that owns it [default: the first one]
        #[arg(long)]
        organization: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a resource server a new credential, shown this once; the older one works for a while longer
    #[command(after_help = "\
Example:
  portcullis resource-servers rotate-credential api_01j9zq4k2mfd8v6w3x5y7b1c0e --grace-seconds 3600")]
    RotateCredential {
        /// The resource server's id, api_…
        id: ResourceServerId,
        /// How long the older credential works beside the new one; 0: it ends at once [default: a day]
        #[arg(long)]
        grace_seconds: Option<u64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ResourceServers {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { json } => list(context, json).await,
            Self::RotateCredential { id, grace_seconds, json } => {
                rotate_credential(context, id, grace_seconds, json).await
            }
            Self::Create {
                audience,
                name,
                scopes,
                algorithm,
                access_token_seconds,
                status_list,
                organization: wanted,
                json,
            } => {
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
                    access_token_seconds,
                    is_shared: true,
                    status_list,
                };
                let tx = app.db.begin().await?;
                let (api, credential) =
                    resource_servers::create(&tx, now, &by, &app.config.brand, new).await?;
                revocation::append_changed(&tx, now, &[About::resource_server(api.id)]).await?;
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

async fn rotate_credential(
    context: &Context,
    id: ResourceServerId,
    grace_seconds: Option<u64>,
    json: bool,
) -> Result<(), Failure> {
    let app = context.app().await?;
    let (now, by, brand) = (app.clock.now(), By::operator(), &app.config.brand);
    let tx = app.db.begin().await?;
    let rotated =
        resource_servers::rotate_credential(&tx, now, &by, brand, None, id, grace_seconds).await;
    let (api, credential) = match rotated {
        Err(Refused::NotFound) => {
            return Err(Failure::Failed(format!(
                "there is no resource server {id} that has a credential"
            )));
        }
        rotated => rotated?,
    };
    tx.commit().await?;
    if json {
        let credential = credential.expose_secret();
        return output::json(&serde_json::json!({
            "id": id, "credential": credential,
            "older_credential_expires_at": api.older_credential_expires_at,
        }));
    }
    println!(
        "The new credential of {}, shown this once: {}",
        api.audience,
        credential.expose_secret()
    );
    match api.older_credential_expires_at {
        Some(end) => println!("The older one works until {end}."),
        None => println!("The older one has ended."),
    }
    Ok(())
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
                    "status_list": api.status_list,
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

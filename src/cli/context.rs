//! What every command needs: the settings in force and, mostly, the opened installation.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::anyhow;
use entity::{OrganizationId, UserId};
use portcullis_verifier::ScopeSet;
use secrecy::SecretString;

use super::{Failure, output};
use crate::app::App;
use crate::config::{self, BadConfig, Config, Overrides, Settings};
use crate::identity;
use crate::platform::clock::Clock;
use crate::platform::telemetry;
use crate::tenancy::{self, Role};

/// More than this is no password.
const MAX_SECRET: u64 = 4096;

pub(super) struct Context {
    pub file: Option<PathBuf>,
    pub overrides: Overrides,
}

impl Context {
    pub fn settings(&self) -> Result<Settings, BadConfig> {
        config::read(self.file.as_deref(), &self.overrides)
    }

    /// This program with the flags that it was given, for commands that people paste. A database URL with a password
    /// in it is not repeated.
    pub fn program(&self) -> String {
        let mut words = vec![output::program()];
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([flag.to_owned(), output::quoted(&value)]);
            }
        };
        let path = |path: &PathBuf| path.display().to_string();
        let is_harmless = |url: &String| !config::is_secret(url);
        add("--config", self.file.as_ref().map(path));
        add("--listen", self.overrides.listen.clone());
        add("--issuer", self.overrides.issuer.clone());
        add("--data-dir", self.overrides.data_dir.as_ref().map(path));
        add("--database-url", self.overrides.database_url.clone().filter(is_harmless));
        words.join(" ")
    }

    pub fn config(&self) -> Result<Config, BadConfig> {
        self.settings()?.check()
    }

    /// The installation, opened beside a server that may be running.
    pub async fn app(&self) -> Result<App, Failure> {
        let config = self.config()?;
        telemetry::start(&config.log)
            .map_err(|error| BadConfig(format!("log.filter can't be used: {error}")))?;
        let (app, _) = App::open(config, Clock::System).await?;
        Ok(app)
    }
}

/// The organization of that name, or the only one.
pub(super) async fn organization(app: &App, name: Option<&str>) -> Result<OrganizationId, Failure> {
    let found = tenancy::find_organization_by_name(app.db.reader(), name).await?;
    match (found, name) {
        (Some((id, _)), _) => Ok(id),
        (None, Some(name)) => {
            Err(Failure::Failed(format!("there is no organization called {name}")))
        }
        (None, None) => {
            Err(anyhow!("there is no organization yet; run `portcullis setup` first").into())
        }
    }
}

/// The user with that address, or the organization's first owner, and what their role allows.
pub(super) async fn acting_user(
    app: &App,
    organization: OrganizationId,
    email: Option<&str>,
) -> Result<(UserId, ScopeSet), Failure> {
    let user = match email {
        None => tenancy::first_member(app.db.reader(), organization, Role::Owner).await?,
        Some(email) => {
            let email = email.trim().to_lowercase();
            identity::find_user_by_email(app.db.reader(), &email).await?.map(|user| user.id)
        }
    };
    let membership = match user {
        Some(user) => tenancy::find_membership(app.db.reader(), organization, user).await?,
        None => None,
    };
    match (user, membership) {
        (Some(user), Some(membership)) => Ok((user, membership.scopes)),
        _ => Err(Failure::Failed("there is no such member in the organization".to_owned())),
    }
}

/// A secret from standard input, without the end of its line.
pub(super) fn secret_from_stdin() -> Result<SecretString, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_SECRET)
        .read_to_string(&mut text)
        .map_err(|_| Failure::Usage("standard input can't be read as text".to_owned()))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

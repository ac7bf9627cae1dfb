//! `App`: everything that a request may need. Cheap to clone; there are no globals.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::alerts::Alerts;
use crate::api_keys::ApiKeys;
use crate::audit::By;
use crate::clients::Clients;
use crate::config::Config;
use crate::exchange::PhantomTokens;
use crate::grants::Grants;
use crate::leaks::{GithubKeys, Reports};
use crate::platform::clock::Clock;
use crate::platform::db::Db;
use crate::platform::mail::Mailer;
use crate::platform::master_key::{MasterKey, SealingKey};
use crate::platform::password::Passwords;
use crate::rate_limit::{KeyLimits, RateLimits};
use crate::resource_servers::{self, ResourceServers};
use crate::revocation::{CatchUpRequests, Revocations};
use crate::signing::{self, Algorithm, Signer};
use crate::status_lists::StatusLists;
use crate::tokens::{AcceptedTokens, RefreshTokens};

/// A handle to the running server's state.
#[derive(Clone)]
pub struct App(Arc<State>);

/// The state behind the handle.
pub struct State {
    pub config: Config,
    pub db: Db,
    pub clock: Clock,
    pub signing_seal: SealingKey,
    pub signer: Signer,
    pub refresh_tokens: RefreshTokens,
    pub accepted_tokens: AcceptedTokens,
    pub passwords: Passwords,
    /// None where no mail server is configured.
    pub mailer: Option<Mailer>,
    pub alerts: Alerts,
    /// Credentials that somebody reported as leaked.
    pub reports: Reports,
    pub github_keys: GithubKeys,
    pub revocations: Arc<Revocations>,
    pub clients: Clients,
    pub grants: Grants,
    pub api_keys: ApiKeys,
    pub phantom_tokens: PhantomTokens,
    pub resource_servers: ResourceServers,
    pub status_lists: StatusLists,
    pub limits: RateLimits,
    pub key_limits: KeyLimits,
    /// What is counted for operators.
    pub metrics: Registry,
    /// Cancelled when the server begins to stop: endless answers end then.
    pub stopping: CancellationToken,
}

impl Deref for App {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0
    }
}

impl App {
    /// Opens the database, brings it up to date, and makes what a first start needs: the master key, a signing key,
    /// the management API.
    ///
    /// # Errors
    /// When the database, the master key or the mail settings can't be used.
    pub async fn open(config: Config, clock: Clock) -> Result<(Self, CatchUpRequests)> {
        let mailer = Mailer::new(&config.mail)?;
        let alerts = Alerts::new(&config.webhook, mailer.clone(), &config.issuer)?;
        let github_keys = GithubKeys::new(&config.secret_scanning)?;
        let db = Db::open(&config.database_url).await?;
        db.migrate().await?;
        let is_new = signing::list(db.reader()).await?.is_empty();
        let master_key = master_key(&config, is_new)?;
        let signing_seal = master_key.sealing_key(signing::SEALING_LABEL);
        let now = clock.now();
        signing::ensure_active(&db, now, &By::operator(), &signing_seal, Algorithm::Es256).await?;
        resource_servers::ensure_management_api(&db, now, &config.issuer).await?;
        let signer = Signer::load(&db, master_key.sealing_key(signing::SEALING_LABEL)).await?;
        let (revocations, requests) = Revocations::new();
        let mut metrics = Registry::default();
        let key_limits = KeyLimits::new(clock.clone(), config.redis_url.as_ref(), &mut metrics)?;
        let state = State {
            refresh_tokens: RefreshTokens::new(
                &config.brand,
                master_key.hmac_key(RefreshTokens::LABEL),
            ),
            accepted_tokens: AcceptedTokens::default(),
            passwords: Passwords::new()?,
            mailer,
            api_keys: ApiKeys::new(&config.api_keys, alerts.clone(), &db),
            phantom_tokens: PhantomTokens::default(),
            alerts,
            reports: Reports::default(),
            github_keys,
            clients: Clients::new(&db),
            grants: Grants::new(&db),
            resource_servers: ResourceServers::default(),
            status_lists: StatusLists::default(),
            limits: RateLimits::default(),
            key_limits,
            metrics,
            stopping: CancellationToken::new(),
            config,
            db,
            clock,
            signing_seal,
            signer,
            revocations,
        };
        Ok((Self(Arc::new(state)), requests))
    }
}

/// The setting, or the file, which only a new installation makes: another key would open nothing of an old one.
fn master_key(config: &Config, is_new: bool) -> Result<MasterKey> {
    let file = &config.master_key_file;
    match &config.master_key {
        Some(text) => MasterKey::from_text(text).context("the setting master_key can't be used"),
        None if !is_new && !file.exists() => bail!(
            "there is no {}, and what this database holds is sealed with a master key; put it back",
            file.display()
        ),
        None => MasterKey::from_file(file),
    }
}

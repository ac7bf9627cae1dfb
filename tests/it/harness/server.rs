//! A Portcullis server in this process, on a port and a database of its own, with a clock that can be moved.

use std::sync::Arc;
use std::time::Duration;

use portcullis::app::App;
use portcullis::config::Settings;
use portcullis::platform::clock::Clock;
use portcullis::server;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::services::{Database, OwnDatabase};

pub struct Server {
    pub app: App,
    pub issuer: String,
    /// Where requests go: the issuer itself, or what would stand behind a proxy under the issuer's name.
    pub address: String,
    /// Ends the server when it is dropped.
    _stop: oneshot::Sender<()>,
    database: Arc<OwnDatabase>,
}

impl Server {
    /// Starts a server, or none where the database's service is missing.
    pub async fn start(database: Database) -> Option<Self> {
        Self::start_with(database, |_| ()).await
    }

    /// Starts a server whose settings were changed first.
    pub async fn start_with(
        database: Database,
        change: impl FnOnce(&mut Settings),
    ) -> Option<Self> {
        let database = Arc::new(database.create().await?);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Some(Self::run(database, listener, Clock::manual(), change).await)
    }

    /// Starts a server on a database that is there already.
    pub async fn start_on(database: OwnDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::run(Arc::new(database), listener, Clock::manual(), |_| ()).await
    }

    /// A second process on the same database, with the same issuer, master key and clock.
    pub async fn beside(&self) -> Self {
        self.beside_with(|_| ()).await
    }

    /// A second process whose settings were changed first.
    pub async fn beside_with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (clock, issuer) = (self.app.clock.clone(), self.issuer.clone());
        let changes = |settings: &mut Settings| {
            settings.issuer = issuer;
            change(settings);
        };
        Self { address, ..Self::run(self.database.clone(), listener, clock, changes).await }
    }

    async fn run(
        database: Arc<OwnDatabase>,
        listener: TcpListener,
        clock: Clock,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings {
            listen: listener.local_addr().unwrap().to_string(),
            data_dir: database.directory.path().to_path_buf(),
            database_url: database.url.clone(),
            ..Settings::default()
        };
        // Tests are faster than the clock that stands still for them.
        settings.api_keys.requests_per_minute = 1_000_000;
        change(&mut settings);
        let config = settings.check().unwrap();
        let (app, requests) = App::open(config, clock).await.unwrap();
        let issuer = app.config.issuer.clone();
        let address = format!("http://{}{}", app.config.listen, app.config.base_path);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = app.clone();
        tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            server::serve(served, requests, listener, stop).await.unwrap();
        });
        Self { app, issuer, address, _stop: stop, database }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// The URL of the database, for whoever else opens it.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// Where the master key is.
    pub fn data_dir(&self) -> &std::path::Path {
        self.database.directory.path()
    }

    /// Lets time pass, without waiting for it.
    pub fn passes(&self, time: Duration) {
        self.app.clock.advance(time);
    }
}

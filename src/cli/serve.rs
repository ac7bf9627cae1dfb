//! `portcullis serve`: the server, and the few lines that say what to do next.

use std::io::ErrorKind;
use std::net::SocketAddr;

use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::context::Context;
use crate::app::App;
use crate::config::BadConfig;
use crate::identity;
use crate::platform::clock::Clock;
use crate::platform::telemetry;
use crate::{resource_servers, server};

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let mut settings = context.settings()?;
    let config = settings.clone().check()?;
    telemetry::start(&config.log)
        .map_err(|error| BadConfig(format!("log.filter can't be used: {error}")))?;
    let listener = listen(config.listen).await?;
    let metrics = match config.metrics_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    // With port 0 the system has chosen one, and the issuer follows from it.
    settings.listen = listener.local_addr()?.to_string();
    let (app, requests) = App::open(settings.check()?, Clock::System).await?;
    // A command may have been run under another issuer; a server knows who it is.
    resource_servers::adopt_management_api(&app.db, app.clock.now(), &app.config.issuer).await?;
    let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    announce(&app, metrics_address, &context.program()).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    if let Some(listener) = metrics {
        let app = app.clone();
        tokio::spawn(async move {
            if let Err(error) = server::serve_metrics(app, listener).await {
                tracing::error!(error = format!("{error:#}"), "the metrics are served no more");
            }
        });
    }
    server::serve(app, requests, listener, stop).await?;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BadConfig> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => BadConfig(format!("{address} is in use by another program")),
        _ => BadConfig(format!("can't listen on {address}: {error}")),
    })
}

async fn announce(app: &App, metrics: Option<SocketAddr>, program: &str) -> Result<(), Failure> {
    let issuer = &app.config.issuer;
    println!("Portcullis {}", env!("CARGO_PKG_VERSION"));
    println!("  issuer    {issuer}");
    println!("  listening {}", app.config.listen);
    println!("  database  {}", app.config.database_label());
    if let Some(address) = metrics {
        println!("  metrics   http://{address}{}", server::METRICS);
    }
    println!();
    if identity::is_set_up(&app.db).await? {
        println!("Next: log in at {issuer}/login, or run `{program} --help`.");
        return Ok(());
    }
    let token = identity::make_setup_link(&app.db, app.clock.now()).await?;
    println!(
        "Nobody owns this installation yet. Within an hour, open this link to make the owner's account:"
    );
    println!("  {issuer}/setup?token={}", token.expose_secret());
    println!("or fill it with a worked example:");
    println!("  {program} quickstart");
    Ok(())
}

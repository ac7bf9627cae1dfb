//! `portcullis serve`: the server, and the few lines that say what to do next.

use std::io::ErrorKind;

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
    let listener = TcpListener::bind(config.listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            BadConfig(format!("{} is in use by another program", config.listen))
        }
        _ => BadConfig(format!("can't listen on {}: {error}", config.listen)),
    })?;
    // With port 0 the system has chosen one, and the issuer follows from it.
    settings.listen = listener.local_addr()?.to_string();
    let (app, requests) = App::open(settings.check()?, Clock::System).await?;
    // A command may have been run under another issuer; a server knows who it is.
    resource_servers::adopt_management_api(&app.db, app.clock.now(), &app.config.issuer).await?;
    announce(&app, &context.program()).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    server::serve(app, requests, listener, stop).await?;
    Ok(())
}

async fn announce(app: &App, program: &str) -> Result<(), Failure> {
    let issuer = &app.config.issuer;
    println!("Portcullis {}", env!("CARGO_PKG_VERSION"));
    println!("  issuer    {issuer}");
    println!("  listening {}", app.config.listen);
    println!("  database  {}", app.config.database_label());
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

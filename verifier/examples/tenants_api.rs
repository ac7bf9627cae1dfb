//! A small API protected by Portcullis: it lists and creates tenants, each caller those of their organization.
//!
//! ```text
//! PORTCULLIS_CREDENTIAL=… cargo run --example tenants_api
//! curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8081/v1/tenants
//! ```
//!
//! Settings: `PORTCULLIS_ISSUER`, `PORTCULLIS_CREDENTIAL`, `TENANTS_API_LISTEN`, `TENANTS_API_AUDIENCE`.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use portcullis_verifier::axum::RequireScope;
use portcullis_verifier::{Principal, Verifier};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

const MAX_NAME_LENGTH: usize = 100;
const MAX_TENANTS: usize = 10_000;

type Tenants = Arc<Mutex<Vec<Tenant>>>;

#[derive(Clone, Serialize)]
struct Tenant {
    id: usize,
    name: String,
    #[serde(skip)]
    organization: Option<String>,
}

#[derive(Deserialize)]
struct NewTenant {
    name: String,
}

/// `GET /v1/tenants`, scope `read:tenants`.
async fn list(
    State(tenants): State<Tenants>,
    Extension(caller): Extension<Principal>,
) -> Json<Vec<Tenant>> {
    let tenants = tenants.lock().unwrap_or_else(PoisonError::into_inner);
    let own = tenants.iter().filter(|each| each.organization.as_deref() == caller.organization());
    Json(own.cloned().collect())
}

/// `POST /v1/tenants`, scope `write:tenants`.
async fn create(
    State(tenants): State<Tenants>,
    Extension(caller): Extension<Principal>,
    Json(new): Json<NewTenant>,
) -> Result<(StatusCode, Json<Tenant>), (StatusCode, &'static str)> {
    if new.name.is_empty() || new.name.chars().count() > MAX_NAME_LENGTH {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "A name has 1 to 100 characters.\n"));
    }
    let mut tenants = tenants.lock().unwrap_or_else(PoisonError::into_inner);
    if tenants.len() >= MAX_TENANTS {
        return Err((StatusCode::INSUFFICIENT_STORAGE, "There are too many tenants.\n"));
    }
    let tenant = Tenant {
        id: tenants.len() + 1,
        name: new.name,
        organization: caller.organization().map(str::to_owned),
    };
    tenants.push(tenant.clone());
    Ok((StatusCode::CREATED, Json(tenant)))
}

fn api(verifier: Verifier) -> Result<Router, Box<dyn Error>> {
    let reads = RequireScope::new(verifier.clone(), "read:tenants")?;
    let writes = RequireScope::new(verifier, "write:tenants")?;
    Ok(Router::new()
        .route("/v1/tenants", get(list).route_layer(reads))
        .route("/v1/tenants", post(create).route_layer(writes))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .with_state(Tenants::default()))
}

async fn run() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let issuer = setting("PORTCULLIS_ISSUER", "http://127.0.0.1:8080");
    let audience = setting("TENANTS_API_AUDIENCE", "https://api.example.com");
    let listen = setting("TENANTS_API_LISTEN", "127.0.0.1:8081");
    let credential = env::var("PORTCULLIS_CREDENTIAL").map_err(|_| {
        "PORTCULLIS_CREDENTIAL is not set. It is the secret with which this API authenticates to the \
         authorization server; you get one when you register the API there."
    })?;

    let verifier =
        Verifier::discover(&issuer).audience(&audience).credential(credential).build().await?;
    let listener = TcpListener::bind(&listen).await?;
    println!(
        "The tenants API listens on http://{} for credentials of {issuer} with the audience {audience}",
        listener.local_addr()?
    );
    let stop = async {
        // Without a signal handler it runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, api(verifier)?).with_graceful_shutdown(stop).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    eprint!("The tenants API can't run: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

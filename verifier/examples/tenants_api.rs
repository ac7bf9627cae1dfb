//! A small API protected by Portcullis: it lists and creates tenants, each caller those of their organization.
//!
//! ```text
//! PORTCULLIS_CREDENTIAL=… cargo run --example tenants_api
//! curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8081/v1/tenants
//! ```
//!
//! Settings: `PORTCULLIS_ISSUER`, `PORTCULLIS_CREDENTIAL`, `TENANTS_API_LISTEN`, `TENANTS_API_AUDIENCE`, and
//! `TENANTS_API_PROXIES`, the networks of the proxies in front of it, separated by commas.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, FromRef, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use portcullis_verifier::axum::{Refusal, RequireScope, Verified, protected_resource};
use portcullis_verifier::network::{Network, NetworkError};
use portcullis_verifier::{Principal, ProtectedResource, Verifier};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

const MAX_NAME_LENGTH: usize = 100;
const MAX_TENANTS: usize = 10_000;

#[derive(Clone, Default)]
struct Tenants(Arc<Mutex<Vec<Tenant>>>);

impl Tenants {
    fn lock(&self) -> MutexGuard<'_, Vec<Tenant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the handlers share; `FromRef` tells `Verified` where the verifier is.
#[derive(Clone)]
struct Api {
    tenants: Tenants,
    verifier: Verifier,
}

impl FromRef<Api> for Tenants {
    fn from_ref(api: &Api) -> Tenants {
        api.tenants.clone()
    }
}

impl FromRef<Api> for Verifier {
    fn from_ref(api: &Api) -> Verifier {
        api.verifier.clone()
    }
}

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
    let tenants = tenants.lock();
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
    let mut tenants = tenants.lock();
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

/// `GET /v1/tenants/{id}`, scope `read:tenants/{id}`: which scope is required depends on the request.
async fn show(
    State(tenants): State<Tenants>,
    caller: Verified,
    Path(id): Path<usize>,
) -> Result<Result<Json<Tenant>, StatusCode>, Refusal> {
    caller.require(&format!("read:tenants/{id}"))?;
    let tenants = tenants.lock();
    let found = tenants.iter().find(|each| each.id == id);
    // Another organization's is as unknown as one that does not exist.
    let own = found.filter(|each| each.organization.as_deref() == caller.organization());
    Ok(own.cloned().map(Json).ok_or(StatusCode::NOT_FOUND))
}

fn api(verifier: Verifier) -> Result<Router, Box<dyn Error>> {
    let reads = RequireScope::new(verifier.clone(), "read:tenants")?;
    let writes = RequireScope::new(verifier.clone(), "write:tenants")?;
    Ok(Router::new()
        .route("/v1/tenants", get(list).route_layer(reads))
        .route("/v1/tenants", post(create).route_layer(writes))
        .route("/v1/tenants/{id}", get(show))
        .layer(DefaultBodyLimit::max(16 * 1024))
        // RFC 9728: where clients find the authorization server of this API. Every refusal names it.
        .merge(protected_resource(&verifier))
        .with_state(Api { tenants: Tenants::default(), verifier }))
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

    let proxies = setting("TENANTS_API_PROXIES", "");
    let proxies = proxies.split(',').filter(|each| !each.is_empty()).map(str::parse);
    let proxies: Vec<Network> = proxies.collect::<Result<_, NetworkError>>()?;

    let description =
        ProtectedResource::new().scopes(["read:tenants", "write:tenants"]).name("Tenants");
    let verifier = Verifier::discover(&issuer)
        .audience(&audience)
        .credential(credential)
        .protected_resource(description)
        .trusted_proxies(proxies)
        .build()
        .await?;
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
    // Keys that are confined to networks are held against the address that this remembers.
    let service = api(verifier)?.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
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

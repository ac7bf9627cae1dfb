//! A service without axum: tower's layers over hyper's connections.
//!
//! ```text
//! PORTCULLIS_CREDENTIAL=… cargo run --example tower_service
//! curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8082/v1/tenants
//! ```
//!
//! Settings: `PORTCULLIS_ISSUER`, `PORTCULLIS_CREDENTIAL`, `TOWER_SERVICE_LISTEN`, `TOWER_SERVICE_AUDIENCE`, and
//! `TOWER_SERVICE_PROXIES`, the networks of the proxies in front of it, separated by commas.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use portcullis_verifier::network::{Network, NetworkError};
use portcullis_verifier::tower::RequireScope;
use portcullis_verifier::{Principal, ProtectedResource, ScopeError, Verifier};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type Answer = Response<Full<Bytes>>;

fn json(text: String) -> Answer {
    let mut answer = Response::new(text.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// `GET /v1/tenants`, scope `read:tenants`. The layer has put the caller into the extensions.
async fn list(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let organization = request.extensions().get().and_then(Principal::organization);
    Ok(json(serde_json::json!({"organization": organization, "tenants": []}).to_string()))
}

/// What the service is made of, for a router as small as can be.
#[derive(Clone)]
struct Api {
    verifier: Verifier,
    reads: RequireScope,
}

impl Api {
    fn new(verifier: Verifier) -> Result<Api, ScopeError> {
        Ok(Api { reads: RequireScope::new(verifier.clone(), "read:tenants")?, verifier })
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        // RFC 9728: where clients find the authorization server of this API. Every refusal names it.
        let metadata = self.verifier.protected_resource();
        if let Some(metadata) = metadata.filter(|it| it.path() == request.uri().path()) {
            return Ok(json(metadata.json().to_owned()));
        }
        match request.uri().path() {
            "/v1/tenants" => self.reads.layer(service_fn(list)).oneshot(request).await,
            _ => {
                let mut answer = json(r#"{"error":"not_found"}"#.to_owned());
                *answer.status_mut() = http::StatusCode::NOT_FOUND;
                Ok(answer)
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(api: Api, connection: TcpStream, peer: SocketAddr) {
    let service = ServiceBuilder::new()
        // Keys that are confined to networks are held against this address.
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        })
        .service_fn(move |request| api.clone().answer(request));
    let server = auto::Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(service);
    if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await {
        eprintln!("The connection from {peer} broke: {error}");
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let issuer = setting("PORTCULLIS_ISSUER", "http://127.0.0.1:8080");
    let audience = setting("TOWER_SERVICE_AUDIENCE", "https://api.example.com");
    let listen = setting("TOWER_SERVICE_LISTEN", "127.0.0.1:8082");
    let proxies = setting("TOWER_SERVICE_PROXIES", "");
    let proxies = proxies.split(',').filter(|each| !each.is_empty()).map(str::parse);
    let proxies: Vec<Network> = proxies.collect::<Result<_, NetworkError>>()?;
    let credential =
        env::var("PORTCULLIS_CREDENTIAL").map_err(|_| "PORTCULLIS_CREDENTIAL is not set.")?;

    let verifier = Verifier::discover(&issuer)
        .audience(&audience)
        .credential(credential)
        .protected_resource(ProtectedResource::new().scopes(["read:tenants"]).name("Tenants"))
        .trusted_proxies(proxies)
        .build()
        .await?;
    let api = Api::new(verifier)?;
    let listener = TcpListener::bind(&listen).await?;
    println!(
        "The service listens on http://{} for credentials of {issuer} with the audience {audience}",
        listener.local_addr()?
    );
    loop {
        let (connection, peer) = listener.accept().await?;
        tokio::spawn(serve(api.clone(), connection, peer));
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    eprint!("The service can't run: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

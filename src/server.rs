//! The only file that knows every room: it mounts their routes, orders the layers, and stops gracefully.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::serve::{Listener, ListenerExt as _};
use axum::{Router, ServiceExt};
use tokio::net::TcpListener;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use tower_http::csrf::CsrfLayer;

use crate::api_keys::{Pace, pages as keys};
use crate::app::App;
use crate::audit::pages::log;
use crate::clients::pages as applications;
use crate::http::{EveryRequest, PageError, Problem, get_asset};
use crate::identity::pages::account;
use crate::invitations::pages::manage as invites;
use crate::organizations::pages::{members, projects, roles, settings};
use crate::platform::impatient::Impatient;
use crate::resource_servers::pages as apis;
use crate::revocation::CatchUpRequests;
use crate::signing::pages as signing_keys;
use crate::{
    alerts, clients, console, grants, health, identity, invitations, janitor, leaks, oauth,
    openapi, revocation, status_lists,
};

/// How long the other side of a connection may take nothing of an answer, of a feed above all.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the use of API keys is written down.
const RECORD: Duration = Duration::from_secs(1);
/// How long requests in flight may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Where the metrics are, on the listener of their own.
pub const METRICS: &str = "/metrics";

/// Serves until `stop` resolves, then lets requests in flight finish.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    app: App,
    requests: CatchUpRequests,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let follower = {
        let app = app.clone();
        tokio::spawn(async move {
            let (db, clock, revocations) =
                (app.db.clone(), app.clock.clone(), app.revocations.clone());
            revocation::follow(db, clock, revocations, requests, |logged| {
                Box::pin(forget_stale_copies(app.clone(), logged.entry.subject.clone()))
            })
            .await;
        })
    };
    // Nothing is answered before everything that was ever revoked is known.
    if !app.revocations.is_caught_up().await {
        follower.abort();
        bail!("the revocation log can't be read");
    }
    let janitor = tokio::spawn(janitor::run(app.clone()));
    let recorder = tokio::spawn(record_uses(app.clone()));
    // A Redis that is there counts from the first call on; one that isn't holds nobody up.
    app.key_limits.connect().await;
    let redis = {
        let app = app.clone();
        tokio::spawn(async move { app.key_limits.stay_connected().await })
    };
    let deliverer =
        tokio::spawn(alerts::deliver(app.db.clone(), app.clock.clone(), app.alerts.clone()));
    let ender = {
        let (db, clock, reports) = (app.db.clone(), app.clock.clone(), app.reports.clone());
        let (alerts, revocations) = (app.alerts.clone(), app.revocations.clone());
        tokio::spawn(async move { leaks::work(&db, &clock, &reports, &alerts, &revocations).await })
    };
    let stopping = app.stopping.clone();
    let drained = {
        let stopping = stopping.clone();
        async move {
            stopping.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        }
    };
    // axum knows how to tell a caller's address of a listener that is tapped, and of no other kind of ours.
    let listener = Connections(listener).tap_io(|_| ());
    let service = EveryRequest { app: app.clone(), router: router(app.clone()) };
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop.await;
        stopping.cancel();
    });
    tokio::select! {
        result = serving.into_future() => result?,
        () = drained => tracing::warn!("some requests did not finish in time"),
    }
    follower.abort();
    janitor.abort();
    recorder.abort();
    write_uses(&app, Pace::AtOnce).await;
    redis.abort();
    deliverer.abort();
    ender.abort();
    // What still borrows a connection is answered by nobody any more.
    app.db.clone().close().await?;
    Ok(())
}

/// Connections whose other side has to take what it asked for.
struct Connections(TcpListener);

impl Listener for Connections {
    type Io = Impatient;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Impatient, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Answers are small and whole: waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        (Impatient::new(stream, PATIENCE), address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Writes down how API keys are used, in batches.
async fn record_uses(app: App) {
    let mut interval = tokio::time::interval(RECORD);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        write_uses(&app, Pace::Unhurried).await;
    }
}

async fn write_uses(app: &App, pace: Pace) {
    if let Err(error) = app.api_keys.write_uses(&app.db, pace).await {
        tracing::error!(error = format!("{error:#}"), "the use of API keys can't be written down");
    }
}

/// Serves the metrics until the server begins to stop: on a listener of their own, for they are the operator's alone.
///
/// # Errors
/// When the listener fails.
pub async fn serve_metrics(app: App, listener: TcpListener) -> Result<()> {
    let stopping = app.stopping.clone();
    let router = Router::new().route(METRICS, get(health::metrics)).with_state(app);
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    Ok(serving.await?)
}

/// Drops what memory knows of the subject of an entry, before anyone is told that the entry is in force.
async fn forget_stale_copies(app: App, subject: String) {
    match subject.split_once('_').map(|(prefix, _)| prefix) {
        Some("app") => app.clients.invalidate(),
        Some("api") => app.resource_servers.invalidate(),
        Some("sig") => {
            // The janitor comes by once more, in case this fails.
            if let Err(error) = app.signer.reload(&app.db).await {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the signing keys can't be read anew"
                );
            }
        }
        _ => {}
    }
}

/// Every route. The list is also kept in `tests/it/routes.rs`, with who may call what.
pub fn router(app: App) -> Router {
    let well_known = "/.well-known/oauth-authorization-server";
    let metadata = oauth::metadata::render(&app.config);
    let public = Router::new()
        .route(well_known, get(oauth::metadata::get).with_state(metadata.clone()))
        .route("/oauth/jwks", get(oauth::jwks::get))
        .route("/oauth/status-lists/{id}", get(status_lists::api::get))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors_of_anybody());
    let protocol = Router::new()
        .route("/oauth/token", post(oauth::token::post))
        .route("/oauth/revoke", post(oauth::revoke::post))
        // Set under the layer: one that the whole router gets would answer preflights before CORS does.
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors_of_redirect_uris(app.clone()));
    let pages = Router::new()
        .route("/", get(console::home))
        .route("/login", get(identity::pages::login).post(identity::pages::post_login))
        .route("/logout", post(identity::pages::logout))
        .route("/setup", get(identity::pages::setup).post(identity::pages::post_setup))
        .route(
            "/invitation",
            get(invitations::pages::invitation).post(invitations::pages::post_invitation),
        )
        .route("/oauth/authorize/consent", post(oauth::authorize::consent))
        .merge(console_pages())
        // State changes of people come from our own pages (Sec-Fetch-Site, Origin) or not at all.
        .layer(CsrfLayer::new().with_rejection_response(from_elsewhere));
    let (management, _) = openapi::management_api().split_for_parts();
    // No layer: who calls is told from who is made to call where the caller is looked at (src/access/).
    let management = management.method_not_allowed_fallback(method_not_allowed);
    let rooms = Router::new()
        .merge(pages)
        .merge(protocol)
        .route("/oauth/authorize", get(oauth::authorize::get).post(oauth::authorize::post))
        .route("/oauth/introspect", post(oauth::introspect::post))
        .route("/forward-auth", any(oauth::forward_auth::any))
        .route("/oauth/revocations", get(revocation::api::get))
        .route("/openapi.json", get(openapi::json))
        .route("/docs", get(openapi::reader))
        .route("/docs/reader.js", get(openapi::reader_script))
        .route("/docs/swagger-ui-bundle.js", get(openapi::swagger_script))
        .route("/docs/swagger-ui.css", get(openapi::swagger_style))
        .merge(management)
        .route("/assets/{file}", get(get_asset))
        .merge(public);

    let base = app.config.base_path.clone();
    let mut root =
        Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready));
    root = match base.as_str() {
        "" => root.merge(rooms),
        // RFC 8414 §3.1 inserts the well-known part between host and path; some clients append it instead.
        // The front page under a path has a slash at its end, which nesting takes away.
        base => {
            let inserted = Router::new()
                .route(
                    &format!("{well_known}{base}"),
                    get(oauth::metadata::get).with_state(metadata),
                )
                .method_not_allowed_fallback(method_not_allowed)
                .layer(cors_of_anybody());
            root.nest(base, rooms).route(&format!("{base}/"), get(console::home)).merge(inserted)
        }
    };
    root.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(app)
}

/// The pages of the console: those about an organization begin with `/o/{organization}`.
fn console_pages() -> Router<App> {
    Router::new()
        .route("/o/{organization}", get(console::organization))
        .route("/o/{organization}/projects", get(projects::list))
        .route("/o/{organization}/projects/new", get(projects::new).post(projects::create))
        .route("/o/{organization}/projects/{id}", get(projects::one).post(projects::edit))
        .route(
            "/o/{organization}/projects/{id}/delete",
            get(projects::delete).post(projects::post_delete),
        )
        .route("/o/{organization}/settings", get(settings::one).post(settings::edit))
        .route("/o/{organization}/settings/close", get(settings::close).post(settings::post_close))
        .route("/o/{organization}/audit-log", get(log::list))
        .route("/o/{organization}/audit-log.csv", get(log::export))
        .route("/o/{organization}/signing-keys", get(signing_keys::list))
        .route(
            "/o/{organization}/signing-keys/rotate",
            get(signing_keys::rotate).post(signing_keys::post_rotate),
        )
        .merge(pages_of_api_keys())
        .merge(pages_of_applications())
        .merge(pages_of_resource_servers())
        .merge(pages_of_people())
        // About the person.
        .route("/account", get(account::account).post(account::post_account))
        .route(
            "/account/password",
            get(account::change_password).post(account::post_change_password),
        )
        .route(
            "/account/sessions/end-others",
            get(account::to_account).post(account::end_other_sessions),
        )
        .route("/account/sessions/{id}/end", get(account::to_account).post(account::end_session))
        .route("/connected-apps", get(grants::pages::connected))
        .route("/connected-apps/end", get(grants::pages::to_connected).post(grants::pages::end))
}

fn pages_of_people() -> Router<App> {
    Router::new()
        .route("/o/{organization}/members", get(members::list))
        .route("/o/{organization}/members/{id}", get(members::one).post(members::edit))
        .route(
            "/o/{organization}/members/{id}/remove",
            get(members::remove).post(members::post_remove),
        )
        .route("/o/{organization}/leave", get(members::leave).post(members::post_leave))
        .route("/o/{organization}/invitations", get(invites::list))
        .route("/o/{organization}/invitations/new", get(invites::new).post(invites::create))
        .route("/o/{organization}/invitations/{id}", get(invites::one))
        .route(
            "/o/{organization}/invitations/{id}/revoke",
            get(invites::revocation).post(invites::post_revocation),
        )
        .route("/o/{organization}/roles", get(roles::list))
        .route("/o/{organization}/roles/new", get(roles::new).post(roles::create))
        .route("/o/{organization}/roles/{id}", get(roles::one).post(roles::edit))
        .route("/o/{organization}/roles/{id}/delete", get(roles::delete).post(roles::post_delete))
}

fn pages_of_api_keys() -> Router<App> {
    Router::new()
        .route("/o/{organization}/api-keys", get(keys::list))
        .route("/o/{organization}/api-keys/new", get(keys::new).post(keys::create))
        .route(
            "/o/{organization}/api-keys/revoke",
            get(keys::revoke_many).post(keys::post_revoke_many),
        )
        .route("/o/{organization}/api-keys/{id}", get(keys::one))
        .route("/o/{organization}/api-keys/{id}/edit", get(keys::edit).post(keys::post_edit))
        .route("/o/{organization}/api-keys/{id}/rotate", get(keys::rotate).post(keys::post_rotate))
        .route("/o/{organization}/api-keys/{id}/revoke", get(keys::revoke).post(keys::post_revoke))
        .route(
            "/o/{organization}/api-keys/{id}/hand-over",
            get(keys::hand_over).post(keys::post_hand_over),
        )
}

fn pages_of_applications() -> Router<App> {
    Router::new()
        .route("/o/{organization}/applications", get(applications::list))
        .route(
            "/o/{organization}/applications/new",
            get(applications::new).post(applications::create),
        )
        .route("/o/{organization}/applications/{id}", get(applications::one))
        .route("/o/{organization}/applications/{id}/connect", get(applications::connect))
        .route(
            "/o/{organization}/applications/{id}/edit",
            get(applications::edit).post(applications::post_edit),
        )
        .route(
            "/o/{organization}/applications/{id}/secrets",
            get(applications::secrets).post(applications::add),
        )
        .route(
            "/o/{organization}/applications/{id}/remove-secret",
            get(applications::remove).post(applications::post_remove),
        )
        .route(
            "/o/{organization}/applications/{id}/disable",
            get(applications::disable).post(applications::post_disable),
        )
        .route(
            "/o/{organization}/applications/{id}/enable",
            get(applications::enable).post(applications::post_enable),
        )
        .route(
            "/o/{organization}/applications/{id}/delete",
            get(applications::delete).post(applications::post_delete),
        )
}

fn pages_of_resource_servers() -> Router<App> {
    Router::new()
        .route("/o/{organization}/resource-servers", get(apis::list))
        .route("/o/{organization}/resource-servers/new", get(apis::new).post(apis::create))
        .route("/o/{organization}/resource-servers/{id}", get(apis::one))
        .route(
            "/o/{organization}/resource-servers/{id}/edit",
            get(apis::edit).post(apis::post_edit),
        )
        .route(
            "/o/{organization}/resource-servers/{id}/credential",
            get(apis::credential).post(apis::rotate),
        )
        .route(
            "/o/{organization}/resource-servers/{id}/delete",
            get(apis::delete).post(apis::post_delete),
        )
}

/// What is public may be read by every page.
fn cors_of_anybody() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET])
}

/// Browser apps reach the endpoint from the origins of their redirect URIs, and nobody else's pages do.
fn cors_of_redirect_uris(app: App) -> CorsLayer {
    let is_known = move |origin: HeaderValue, _: &axum::http::request::Parts| {
        let app = app.clone();
        async move {
            let Ok(origin) = origin.to_str() else { return false };
            origin.len() <= 300
                && clients::has_origin(app.db.reader(), origin).await.unwrap_or_else(|error| {
                    tracing::error!(%error, "an origin can't be looked up");
                    false
                })
        }
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::async_predicate(is_known))
        .allow_methods([Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
}

/// A form that another site sent here in this browser's name.
fn from_elsewhere<E>(_: E) -> Response {
    let message =
        "It came from another site. Go back to the page that you want to use, and try again there.";
    PageError::new(StatusCode::FORBIDDEN, "This request can't be used", message).into_response()
}

async fn not_found(State(app): State<App>, request: Request) -> Response {
    if is_api(&app, &request) {
        Problem::not_found().into_response()
    } else {
        PageError::not_found().into_response()
    }
}

async fn method_not_allowed(State(app): State<App>, request: Request) -> Response {
    let (status, title) = (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    let detail = "This address can't be used with this method.";
    match is_api(&app, &request) {
        true => Problem::new(status, title, detail).into_response(),
        false => PageError::new(status, title, detail).into_response(),
    }
}

/// Whether programs, rather than people, ask for such an address.
fn is_api(app: &App, request: &Request) -> bool {
    let path = request.uri().path();
    let path = path.strip_prefix(app.config.base_path.as_str()).unwrap_or(path);
    let is_protocol = path.starts_with("/oauth/") && !path.starts_with("/oauth/authorize");
    is_protocol || path.starts_with("/v1/") || path.starts_with("/.well-known/")
}

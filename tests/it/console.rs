//! The console as people use it, in a real browser: from the setup to a revoked key, from an invitation to a consent,
//! without script, and against other sites.

use axum::response::Html;
use axum::routing::get;
use axum::{Extension, Router};
use portcullis::audit::By;
use portcullis::identity::make_setup_link;
use portcullis::resource_servers::{self, Catalog, CatalogScope, NewResourceServer};
use portcullis::signing::Algorithm;
use portcullis::tenancy::Role;
use portcullis_verifier::axum::RequireScope;
use portcullis_verifier::{Principal, Verifier};
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

use crate::harness::actors::{claims, http};
use crate::harness::browser::Browser;
use crate::harness::world::{AUDIENCE, PASSWORD};
use crate::harness::{Database, Server, World, eventually};

/// An API that protects itself with our library, on a port of its own.
struct Api(String);

impl Api {
    async fn start(issuer: &str, credential: &str) -> Self {
        let verifier = Verifier::discover(issuer).audience(AUDIENCE).credential(credential);
        let reads = RequireScope::new(verifier.build().await.unwrap(), "read:tenants").unwrap();
        let tenants = async |Extension(caller): Extension<Principal>| {
            format!("the tenants of {}", caller.organization().unwrap_or_default())
        };
        let router = Router::new().route("/v1/tenants", get(tenants).route_layer(reads));
        Self(serve(router).await)
    }

    async fn is_called_with(&self, credential: &str) -> StatusCode {
        let request = http().get(format!("{}/v1/tenants", self.0)).bearer_auth(credential);
        request.send().await.unwrap().status()
    }

    async fn comes_to_refuse(&self, credential: &str) {
        eventually(async || self.is_called_with(credential).await == StatusCode::UNAUTHORIZED)
            .await;
    }
}

/// Serves until the test ends, and says where.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

/// Registers the API, as an operator does, and tells its credential.
async fn register_api(server: &Server, organization: entity::OrganizationId) -> String {
    let entry = |(scope, sentence): (&str, &str)| CatalogScope {
        scope: scope.parse().unwrap(),
        sentence: sentence.to_owned(),
        needs_admin: false,
    };
    let catalog =
        [("read:tenants", "See your tenants"), ("write:tenants", "Create and change your tenants")];
    let new = NewResourceServer {
        organization,
        audience: AUDIENCE,
        name: "Example API",
        algorithm: Algorithm::Es256,
        catalog: Catalog(catalog.map(entry).to_vec()),
        access_token_seconds: None,
        is_shared: true,
        status_list: false,
    };
    let tx = server.app.db.begin().await.unwrap();
    let now = server.app.clock.now();
    let Ok((_, credential)) = resource_servers::create(&tx, now, &By::operator(), "pc", new).await
    else {
        panic!("the API can't be registered");
    };
    tx.commit().await.unwrap();
    credential.expose_secret().to_owned()
}

/// Sets the server up in the browser; tells the path of the organization that it leads to.
async fn sets_up(browser: &Browser, server: &Server) -> String {
    let link = make_setup_link(&server.app.db, server.app.clock.now()).await.unwrap();
    browser.goes_to(&server.url(&format!("/setup?token={}", link.expose_secret()))).await;
    browser.fills("organization", "Example").await;
    browser.fills("name", "Ada Lovelace").await;
    browser.fills("email", "ada@example.com").await;
    browser.fills("password", PASSWORD).await;
    browser.presses("Create the owner").await;
    let address = browser.client.current_url().await.unwrap();
    let organization = address.path().split('/').nth(2).unwrap();
    format!("/o/{organization}")
}

/// Reads the secret, says that it is stored, and goes on.
async fn stores_the_secret(browser: &Browser) -> String {
    let secret = browser.reads("#secret").await;
    browser.ticks("input[type=checkbox]").await;
    browser.presses("Go on").await;
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_called_with_rotated_and_revoked() {
    let Some(server) = Server::start(Database::Sqlite).await else { return };
    Browser::does(async |browser| {
        let organization = sets_up(browser, &server).await;
        let id = organization.rsplit('/').next().unwrap().parse().unwrap();
        let api = Api::start(&server.issuer, &register_api(&server, id).await).await;

        browser.goes_to(&server.url(&format!("{organization}/api-keys"))).await;
        assert!(browser.reads("main").await.contains("No API keys yet"));
        browser.follows("Create a key").await;
        browser.fills("name", "nightly report").await;
        browser.opens_all_details().await;
        browser.ticks("input[value='read:tenants']").await;
        browser.presses("Create the key").await;
        let secret = stores_the_secret(browser).await;
        assert!(secret.starts_with("pc_live_"), "{secret}");
        assert_eq!(browser.reads("h1").await, "nightly report Active");
        let key = browser.client.current_url().await.unwrap();
        let key = format!("{}{}", server.url(""), key.path());

        assert_eq!(api.is_called_with(&secret).await, StatusCode::OK);
        eventually(async || {
            browser.goes_to(&server.url(&format!("{organization}/api-keys"))).await;
            // It expires; what says Never is when it was used last.
            !browser.reads("tbody").await.contains("Never")
        })
        .await;

        // The older secret works beside the newer one for as long as was chosen.
        browser.goes_to(&format!("{key}/rotate")).await;
        browser.ticks("input[name=grace_seconds][value='3600']").await;
        browser.presses("Rotate the key").await;
        let second = stores_the_secret(browser).await;
        assert!(browser.reads("h1").await.contains("Rotating"));
        browser.goes_to(&server.url(&format!("{organization}/api-keys"))).await;
        browser.photographs("console").await;
        assert_eq!(api.is_called_with(&second).await, StatusCode::OK);
        assert_eq!(api.is_called_with(&secret).await, StatusCode::OK);
        browser.goes_to(&format!("{key}/rotate")).await;
        browser.ticks("input[name=grace_seconds][value='0']").await;
        browser.presses("Rotate the key").await;
        let third = stores_the_secret(browser).await;
        api.comes_to_refuse(&secret).await;
        api.comes_to_refuse(&second).await;
        assert_eq!(api.is_called_with(&third).await, StatusCode::OK);

        // Nothing of any secret is left in what the browser remembers.
        browser.client.back().await.unwrap();
        let left = browser.client.source().await.unwrap();
        assert!(!left.contains(&third) && !left.contains(&second), "{left}");

        browser.goes_to(&format!("{key}/revoke")).await;
        browser.fills("name", "nightly").await;
        browser.presses("Revoke the key").await;
        assert!(browser.reads("[role=alert]").await.contains("Nothing was changed yet."));
        assert_eq!(api.is_called_with(&third).await, StatusCode::OK);
        browser.fills("name", "nightly report").await;
        browser.presses("Revoke the key").await;
        api.comes_to_refuse(&third).await;
        assert!(browser.reads("main").await.contains("Revoked"));
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_invited_joins_and_allows_an_application_in_one_of_two_organizations() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let landing = Router::new()
        .route("/callback", get(async || Html("<!doctype html><title>App</title><h1>Back</h1>")));
    let redirect_uri = format!("{}/callback", serve(landing).await);
    let mut app =
        world.registers(|new| new.redirect_uris = vec!["http://127.0.0.1/callback".into()]).await;
    app.redirect_uri = redirect_uri;
    Browser::does(async |browser| {
        let members = world.server.url(&format!("/o/{}/invitations/new", world.organization));
        browser.goes_to(&members).await;
        browser.logs_in("ada@example.com").await;
        browser.fills("email", "grace@example.com").await;
        browser.ticks("input[name=role][value=member]").await;
        browser.presses("Make the link").await;
        let link = browser.reads("#link").await;

        browser.client.delete_all_cookies().await.unwrap();
        browser.goes_to(&link).await;
        browser.fills("name", "Grace").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Join").await;
        assert!(browser.reads("header").await.contains("Example"));
        let grace = crate::harness::Person::new(&world.server, "grace@example.com", PASSWORD);
        let second = world.organization_of(&grace, "Grace's own").await;
        browser.goes_to(&world.server.url("/")).await;
        assert_eq!(browser.reads("h1").await, "Your organizations");

        let endpoint = world.server.url("/oauth/authorize");
        let request = app.request("read:users write:tenants");
        let request = url::Url::parse_with_params(&endpoint, request).unwrap();
        browser.goes_to(request.as_str()).await;
        browser.chooses("organization", &second.to_string()).await;
        browser.ticks("input[value='write:tenants']").await;
        browser.presses("Allow").await;
        assert_eq!(browser.reads("h1").await, "Back");
        let address = browser.client.current_url().await.unwrap();
        let code = address.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let tokens = app.redeems(&code).await;
        assert_eq!(tokens.member("scope"), "read:users", "the other was unticked");
        assert_eq!(claims(tokens.member("access_token"))["org"], second.to_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_on_another_site_changes_nothing() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let target = world.server.url(&format!("/o/{}/projects/new", world.organization));
    let trap = format!(
        "<!doctype html><title>Win</title><form method=post action='{target}'><input name=name value=Trap>\
         <input name=form value=x><button>Click here</button></form>"
    );
    let trap = Router::new().route("/", get(async move || Html(trap)));
    // Another host, so another site.
    let evil = serve(trap).await.replace("127.0.0.1", "localhost");
    Browser::does(async |browser| {
        browser.goes_to(&target).await;
        browser.logs_in("ada@example.com").await;
        browser.goes_to(&evil).await;
        browser.presses("Click here").await;
        assert!(browser.reads("[role=alert]").await.contains("It came from another site."));
        browser.goes_to(&target.replace("/new", "")).await;
        assert!(browser.reads("main").await.contains("No projects yet"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_paths_work_without_script() {
    let Some(server) = Server::start(Database::Sqlite).await else { return };
    Browser::without_script(async |browser| {
        let organization = sets_up(browser, &server).await;
        let id = organization.rsplit('/').next().unwrap().parse().unwrap();
        register_api(&server, id).await;
        browser.goes_to(&server.url(&format!("{organization}/projects/new"))).await;
        browser.fills("name", "Payments").await;
        browser.presses("Make the project").await;
        assert!(browser.reads("tbody").await.contains("Payments"));
        browser.goes_to(&server.url(&format!("{organization}/api-keys/new"))).await;
        browser.fills("name", "nightly report").await;
        browser.opens_all_details().await;
        browser.ticks("input[value='read:tenants']").await;
        browser.presses("Create the key").await;
        assert!(stores_the_secret(browser).await.starts_with("pc_live_"));
        // Nobody put the reader's time zone in its place: script did not run.
        assert!(browser.reads("time").await.ends_with("UTC"));
        browser.opens_menu("Your account").await;
        browser.presses("Log out").await;
        assert_eq!(browser.reads("h1").await, "Log in");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_member_loses_a_page_at_the_next_click() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let member = world.member("max@example.com", Role::Admin).await;
    member.logs_in().await;
    let page = format!("/o/{}/audit-log", world.organization);
    assert_eq!(member.gets(&page).await.status, StatusCode::OK);
    world.puts(&member, Some(Role::Viewer)).await;
    assert_eq!(member.gets(&page).await.status, StatusCode::FORBIDDEN);
    world.puts(&member, None).await;
    assert_eq!(member.gets(&page).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_gives_power_away_asks_for_the_password_again() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let scope = format!("{} read:tenants", world.api.id);
    let forms: [(&str, &[(&str, &str)]); 5] = [
        ("api-keys", &[("name", "nightly"), ("expiry", "7"), ("scopes", "read:tenants")]),
        (
            "applications",
            &[
                ("name", "Dashboard"),
                ("kind", "confidential"),
                ("requires_pkce", "1"),
                ("grant_types", "client_credentials"),
                ("scopes", &scope),
            ],
        ),
        (
            "resource-servers",
            &[
                ("name", "Bills"),
                ("audience", "https://bills.example.com"),
                ("algorithm", "ES256"),
                ("scopes", "read:bills = See your bills"),
            ],
        ),
        ("invitations", &[("email", "grace@example.com"), ("role", "viewer")]),
        ("roles", &[("name", "Clerk"), ("scopes", "read:tenants")]),
    ];
    world.server.passes(std::time::Duration::from_secs(16 * 60));
    let new = |section: &str| format!("/o/{}/{section}/new", world.organization);
    for (section, fields) in forms {
        let fields = [fields, &[("password", "")]].concat();
        let refused = world.owner.fills_in(&new(section), &new(section), &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{section}: {refused:?}");
        assert!(refused.text.contains("Password</a> must be entered again"), "{refused:?}");
        let list = world.owner.gets(&new(section).replace("/new", "")).await.text;
        assert!(!list.contains(fields[0].1), "{section}: it was made: {list}");
    }
    // Nothing else was wrong with them; and once it was entered it is not asked for again.
    for (section, fields) in forms {
        let made = world.owner.fills_in(&new(section), &new(section), fields).await;
        assert!(made.status != StatusCode::UNPROCESSABLE_ENTITY, "{section}: {made:?}");
        let list = world.owner.gets(&new(section).replace("/new", "")).await.text;
        assert!(list.contains(fields[0].1), "{section}: it was not made: {list}");
    }
    assert!(!world.owner.gets(&new("roles")).await.text.contains(r#"name="password""#));
}

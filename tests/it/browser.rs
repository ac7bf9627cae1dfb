//! The pages in a real browser: its own form checks, its cookie rules, its content security policy, its redirects.
//!
//! What the pages do to the database is tested elsewhere, on both; here SQLite alone must do.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Html;
use axum::routing::get;
use portcullis::identity::make_setup_link;
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use url::Url;

use crate::harness::actors::claims;
use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Application, Database, Server, World};

/// An application on this computer that waits for its answer.
struct Listener {
    redirect_uri: String,
    answers: mpsc::UnboundedReceiver<String>,
}

impl Listener {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let redirect_uri = format!("http://{}/callback", listener.local_addr().unwrap());
        let (sender, answers) = mpsc::unbounded_channel();
        let callback = async |State(sender): State<mpsc::UnboundedSender<String>>,
                              RawQuery(query): RawQuery| {
            sender.send(query.unwrap_or_default()).unwrap();
            Html("<!doctype html><title>Dashboard</title><h1>Back at the application</h1>")
        };
        let router = Router::new().route("/callback", get(callback)).with_state(sender);
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { redirect_uri, answers }
    }

    /// What the browser came back with.
    fn receives(&mut self) -> HashMap<String, String> {
        let query = self.answers.try_recv().unwrap();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

fn link(world: &World, app: &Application, scope: &str) -> String {
    let endpoint = world.server.url("/oauth/authorize");
    Url::parse_with_params(&endpoint, app.request(scope)).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_and_decides() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let mut listener = Listener::start().await;
    let mut app = world
        .registers(|new| new.redirect_uris = vec!["http://127.0.0.1/callback".to_owned()])
        .await;
    app.redirect_uri = listener.redirect_uri.clone();
    Browser::does(async |browser| {
        browser.goes_to(&link(&world, &app, "write:tenants read:users")).await;
        assert_eq!(browser.client.title().await.unwrap(), "Log in · Portcullis");
        browser.photographs("login").await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", "a wrong password").await;
        browser.presses("Log in").await;
        let alert = browser.reads("[role=alert]").await;
        assert_eq!(alert, "The e-mail address or the password is wrong.");
        browser.photographs("login-refused").await;

        // The address is kept, and the cursor stands in the password.
        browser.client.active_element().await.unwrap().send_keys(PASSWORD).await.unwrap();
        browser.presses("Log in").await;
        assert_eq!(browser.reads("h1").await, "Allow Dashboard to act for you?");
        let page = browser.reads("main").await;
        for words in [
            "ada@example.com",
            "Example API",
            "Example,",
            "Create and change your tenants",
            "See your users",
            "this computer",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        browser.photographs("consent").await;
        browser.presses("Deny").await;
        assert_eq!(browser.reads("h1").await, "Back at the application");
        let answer = listener.receives();
        assert_eq!(answer["error"], "access_denied");
        assert_eq!((&*answer["state"], &answer["iss"]), ("xyz", &world.server.issuer));

        browser.goes_to(&link(&world, &app, "write:tenants read:users")).await;
        browser.presses("Allow").await;
        let answer = listener.receives();
        assert_eq!((&*answer["state"], &answer["iss"]), ("xyz", &world.server.issuer));
        let tokens = app.redeems(&answer["code"]).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        let token = claims(tokens.member("access_token"));
        assert_eq!(token["org"], world.organization.to_string());
        assert!(tokens.member("refresh_token").starts_with("pc_rt_"));

        // Agreed before: the browser goes through login without a further question, form-action and all.
        browser.client.delete_all_cookies().await.unwrap();
        browser.goes_to(&link(&world, &app, "read:users")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        assert_eq!(browser.reads("h1").await, "Back at the application");
        assert!(listener.receives().contains_key("code"));

        let second =
            world.second_organization("A second organization with a long name", Role::Viewer).await;
        let question = format!("{}&prompt=consent", link(&world, &app, "write:tenants read:users"));
        browser.goes_to(&question).await;
        browser.photographs("consent-organizations").await;
        let choice = browser.client.find(fantoccini::Locator::Id("organization")).await.unwrap();
        choice.select_by_value(&second.to_string()).await.unwrap();
        browser.presses("Allow").await;
        let tokens = app.redeems(&listener.receives()["code"]).await;
        assert_eq!(claims(tokens.member("access_token"))["org"], second.to_string());

        browser.goes_to(&world.server.url("/oauth/authorize?client_id=unknown")).await;
        assert!(browser.reads("[role=alert]").await.contains("not known here"));
        browser.photographs("error").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owner_sets_the_server_up() {
    let Some(server) = Server::start(Database::Sqlite).await else { return };
    let link = make_setup_link(&server.app.db, server.app.clock.now()).await.unwrap();
    Browser::does(async |browser| {
        browser.goes_to(&server.url(&format!("/setup?token={}", link.expose_secret()))).await;
        browser.photographs("setup").await;
        // The cursor stands in the first field. Spaces satisfy the browser, and not us.
        browser.client.active_element().await.unwrap().send_keys("   ").await.unwrap();
        browser.fills("name", "Ada Lovelace").await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Create the owner").await;
        let problem = browser.reads("#organization-problem").await;
        assert_eq!(problem, "It must have 1 to 100 characters.");
        browser.photographs("setup-refused").await;

        let field = browser.client.active_element().await.unwrap();
        assert_eq!(field.attr("id").await.unwrap().as_deref(), Some("organization"));
        browser.fills("organization", "Example").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Create the owner").await;
        // Nothing is there yet: the page says what to do first.
        assert!(browser.reads("header").await.contains("Example"));
        browser.photographs("first-page").await;
        browser.opens_menu("Your account").await;
        browser.presses("Log out").await;
        assert_eq!(browser.reads("h1").await, "Log in");
        browser.goes_to(&server.url(&format!("/setup?token={}", link.expose_secret()))).await;
        assert!(browser.reads("[role=alert]").await.contains("It was used"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_unticks_what_an_application_should_not_do() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let mut listener = Listener::start().await;
    let mut app = world
        .registers(|new| {
            new.redirect_uris = vec!["http://127.0.0.1/callback".to_owned()];
            new.audiences[0].allowed = "admin".parse().unwrap();
        })
        .await;
    app.redirect_uri = listener.redirect_uri.clone();
    let mut tool = world
        .registers(|new| {
            new.name = "acme-cli";
            new.redirect_uris = vec!["http://127.0.0.1/callback".to_owned()];
            new.is_confidential = false;
            new.grant_types.retain(|it| *it != portcullis::clients::GrantType::ClientCredentials);
        })
        .await;
    tool.redirect_uri = listener.redirect_uri.clone();
    Browser::does(async |browser| {
        browser.goes_to(&link(&world, &app, "read:tenants *:users")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.photographs("consent-powerful").await;
        for scope in ["read:tenants", "*:users"] {
            clicks(browser, &format!("input[value='{scope}']")).await;
        }
        browser.presses("Allow").await;
        assert!(browser.reads("[role=alert]").await.contains("Tick at least one thing"));
        browser.photographs("consent-nothing-ticked").await;
        clicks(browser, "input[value='read:tenants']").await;
        browser.presses("Allow").await;
        let tokens = app.redeems(&listener.receives()["code"]).await;
        assert_eq!(tokens.member("scope"), "read:tenants");

        browser.goes_to(&link(&world, &tool, "read:tenants read:users")).await;
        assert_eq!(browser.reads("h1").await, "Allow this command line?");
        browser.photographs("consent-command-line").await;
        clicks(browser, "main p a").await;
        browser.waits_for("#email").await;
        browser.photographs("login-as-somebody-else").await;
        clicks(browser, "main .notice a").await;
        browser.waits_for("input[name=ticks]").await;
        clicks(browser, "input[value='read:tenants']").await;
        browser.presses("Allow").await;
        let tokens = tool.redeems(&listener.receives()["code"]).await;
        assert_eq!(tokens.member("scope"), "read:users");

        browser.goes_to(&world.server.url("/nowhere")).await;
        browser.photographs("not-found").await;
        browser.goes_to(&world.server.url("/account")).await;
        browser.opens_menu("Your account").await;
        browser.presses("Log out").await;
        assert_eq!(browser.reads("[role=status]").await, "You are logged out.");
        browser.photographs("login-logged-out").await;
    })
    .await;
}

async fn clicks(browser: &Browser, selector: &str) {
    let found = browser.client.find(fantoccini::Locator::Css(selector)).await.unwrap();
    found.click().await.unwrap();
}

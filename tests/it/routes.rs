//! Every route with who may call it, and what everybody else is told.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use rstest::rstest;

use crate::harness::actors::http;
use crate::harness::{Answer, Database, World};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// A client's credentials; a page of ours or a bearer token is none.
    Client,
    /// A client's or a resource server's credentials.
    ClientOrResourceServer,
    ResourceServer,
    /// A token or an API key that covers this scope.
    Scope(&'static str),
    /// The same, or the credential of a resource server.
    ScopeOrResourceServer(&'static str),
    /// Any token or API key that the management API accepts.
    Anybody,
    /// Any token or API key that the one shared API accepts.
    AnybodyThere,
    /// A person who is logged in; others are sent to log in.
    Session,
    /// A one-time link.
    SetupLink,
}
use Wants::{
    Anybody, AnybodyThere, Client, ClientOrResourceServer, Nothing, ResourceServer, Scope,
    ScopeOrResourceServer, Session, SetupLink,
};

/// The golden list. A route that is not here fails a test below.
pub const ROUTES: &[(&str, &str, Wants)] = &[
    ("GET", "/", Session),
    ("GET", "/.well-known/oauth-authorization-server", Nothing),
    ("GET", "/assets/{file}", Nothing),
    ("GET", "/docs", Nothing),
    ("GET", "/docs/reader.js", Nothing),
    ("GET", "/docs/swagger-ui-bundle.js", Nothing),
    ("GET", "/docs/swagger-ui.css", Nothing),
    ("GET", "/account", Session),
    ("POST", "/account", Session),
    ("GET", "/account/password", Session),
    ("POST", "/account/password", Session),
    ("GET", "/account/sessions/end-others", Session),
    ("POST", "/account/sessions/end-others", Session),
    ("GET", "/account/sessions/{id}/end", Session),
    ("POST", "/account/sessions/{id}/end", Session),
    ("GET", "/connected-apps", Session),
    ("GET", "/connected-apps/end", Session),
    ("POST", "/connected-apps/end", Session),
    ("ANY", "/forward-auth", AnybodyThere),
    ("GET", "/healthz", Nothing),
    ("GET", "/invitation", SetupLink),
    ("POST", "/invitation", SetupLink),
    ("GET", "/login", Nothing),
    ("POST", "/login", Nothing),
    ("POST", "/logout", Nothing),
    // Who is at the browser is asked once the request is known to be a client's.
    ("GET", "/oauth/authorize", Nothing),
    ("POST", "/oauth/authorize", Nothing),
    ("POST", "/oauth/authorize/consent", Session),
    ("POST", "/oauth/introspect", ClientOrResourceServer),
    ("GET", "/o/{organization}", Session),
    ("GET", "/o/{organization}/projects", Session),
    ("GET", "/o/{organization}/projects/new", Session),
    ("POST", "/o/{organization}/projects/new", Session),
    ("GET", "/o/{organization}/projects/{id}", Session),
    ("POST", "/o/{organization}/projects/{id}", Session),
    ("GET", "/o/{organization}/projects/{id}/delete", Session),
    ("POST", "/o/{organization}/projects/{id}/delete", Session),
    ("GET", "/o/{organization}/members", Session),
    ("GET", "/o/{organization}/members/{id}", Session),
    ("POST", "/o/{organization}/members/{id}", Session),
    ("GET", "/o/{organization}/members/{id}/remove", Session),
    ("POST", "/o/{organization}/members/{id}/remove", Session),
    ("GET", "/o/{organization}/leave", Session),
    ("POST", "/o/{organization}/leave", Session),
    ("GET", "/o/{organization}/invitations", Session),
    ("GET", "/o/{organization}/invitations/new", Session),
    ("POST", "/o/{organization}/invitations/new", Session),
    ("GET", "/o/{organization}/invitations/{id}", Session),
    ("GET", "/o/{organization}/invitations/{id}/revoke", Session),
    ("POST", "/o/{organization}/invitations/{id}/revoke", Session),
    ("GET", "/o/{organization}/roles", Session),
    ("GET", "/o/{organization}/roles/new", Session),
    ("POST", "/o/{organization}/roles/new", Session),
    ("GET", "/o/{organization}/roles/{id}", Session),
    ("POST", "/o/{organization}/roles/{id}", Session),
    ("GET", "/o/{organization}/roles/{id}/delete", Session),
    ("POST", "/o/{organization}/roles/{id}/delete", Session),
    ("GET", "/o/{organization}/settings", Session),
    ("POST", "/o/{organization}/settings", Session),
    ("GET", "/o/{organization}/settings/close", Session),
    ("POST", "/o/{organization}/settings/close", Session),
    ("GET", "/o/{organization}/audit-log", Session),
    ("GET", "/o/{organization}/audit-log.csv", Session),
    ("GET", "/o/{organization}/api-keys", Session),
    ("GET", "/o/{organization}/api-keys/new", Session),
    ("POST", "/o/{organization}/api-keys/new", Session),
    ("GET", "/o/{organization}/api-keys/revoke", Session),
    ("POST", "/o/{organization}/api-keys/revoke", Session),
    ("GET", "/o/{organization}/api-keys/{id}", Session),
    ("GET", "/o/{organization}/api-keys/{id}/edit", Session),
    ("POST", "/o/{organization}/api-keys/{id}/edit", Session),
    ("GET", "/o/{organization}/api-keys/{id}/rotate", Session),
    ("POST", "/o/{organization}/api-keys/{id}/rotate", Session),
    ("GET", "/o/{organization}/api-keys/{id}/revoke", Session),
    ("POST", "/o/{organization}/api-keys/{id}/revoke", Session),
    ("GET", "/o/{organization}/api-keys/{id}/hand-over", Session),
    ("POST", "/o/{organization}/api-keys/{id}/hand-over", Session),
    ("GET", "/o/{organization}/applications", Session),
    ("GET", "/o/{organization}/applications/new", Session),
    ("POST", "/o/{organization}/applications/new", Session),
    ("GET", "/o/{organization}/applications/{id}", Session),
    ("GET", "/o/{organization}/applications/{id}/connect", Session),
    ("GET", "/o/{organization}/applications/{id}/edit", Session),
    ("POST", "/o/{organization}/applications/{id}/edit", Session),
    ("GET", "/o/{organization}/applications/{id}/secrets", Session),
    ("POST", "/o/{organization}/applications/{id}/secrets", Session),
    ("GET", "/o/{organization}/applications/{id}/remove-secret", Session),
    ("POST", "/o/{organization}/applications/{id}/remove-secret", Session),
    ("GET", "/o/{organization}/applications/{id}/disable", Session),
    ("POST", "/o/{organization}/applications/{id}/disable", Session),
    ("GET", "/o/{organization}/applications/{id}/enable", Session),
    ("POST", "/o/{organization}/applications/{id}/enable", Session),
    ("GET", "/o/{organization}/applications/{id}/delete", Session),
    ("POST", "/o/{organization}/applications/{id}/delete", Session),
    ("GET", "/o/{organization}/resource-servers", Session),
    ("GET", "/o/{organization}/resource-servers/new", Session),
    ("POST", "/o/{organization}/resource-servers/new", Session),
    ("GET", "/o/{organization}/resource-servers/{id}", Session),
    ("GET", "/o/{organization}/resource-servers/{id}/edit", Session),
    ("POST", "/o/{organization}/resource-servers/{id}/edit", Session),
    ("GET", "/o/{organization}/resource-servers/{id}/credential", Session),
    ("POST", "/o/{organization}/resource-servers/{id}/credential", Session),
    ("GET", "/o/{organization}/resource-servers/{id}/delete", Session),
    ("POST", "/o/{organization}/resource-servers/{id}/delete", Session),
    ("GET", "/o/{organization}/signing-keys", Session),
    ("GET", "/o/{organization}/signing-keys/rotate", Session),
    ("POST", "/o/{organization}/signing-keys/rotate", Session),
    ("GET", "/oauth/jwks", Nothing),
    ("GET", "/oauth/revocations", ResourceServer),
    ("POST", "/oauth/revoke", Client),
    ("GET", "/oauth/status-lists/{id}", Nothing),
    ("POST", "/oauth/token", Client),
    ("GET", "/openapi.json", Nothing),
    ("GET", "/readyz", Nothing),
    ("GET", "/setup", SetupLink),
    ("POST", "/setup", SetupLink),
    ("GET", "/v1/api-keys", Scope("read:api-keys")),
    ("POST", "/v1/api-keys", Scope("write:api-keys")),
    ("DELETE", "/v1/api-keys/{id}", Scope("write:api-keys")),
    ("GET", "/v1/api-keys/{id}", Scope("read:api-keys")),
    ("POST", "/v1/api-keys/verify", ScopeOrResourceServer("verify:api-keys")),
    ("PATCH", "/v1/api-keys/{id}", Scope("write:api-keys")),
    ("POST", "/v1/api-keys/{id}/revoke", Scope("write:api-keys")),
    ("POST", "/v1/api-keys:revoke", Scope("write:api-keys")),
    ("POST", "/v1/api-keys:import", Scope("admin:api-keys")),
    ("POST", "/v1/api-keys/{id}/rotate", Scope("write:api-keys")),
    ("POST", "/v1/api-keys/{id}/hand-over", Scope("admin:api-keys")),
    ("GET", "/v1/members", Scope("read:members")),
    // Everybody may leave.
    ("DELETE", "/v1/members/{id}", Anybody),
    ("GET", "/v1/members/{id}", Scope("read:members")),
    ("PATCH", "/v1/members/{id}", Scope("write:members")),
    ("GET", "/v1/organizations", Scope("read:organizations")),
    ("POST", "/v1/organizations", Scope("write:organizations")),
    ("DELETE", "/v1/organizations/{id}", Scope("write:organizations")),
    ("GET", "/v1/organizations/{id}", Scope("read:organizations")),
    ("PATCH", "/v1/organizations/{id}", Scope("write:organizations")),
    ("GET", "/v1/clients", Scope("read:clients")),
    ("POST", "/v1/clients", Scope("write:clients")),
    ("DELETE", "/v1/clients/{id}", Scope("write:clients")),
    ("GET", "/v1/clients/{id}", Scope("read:clients")),
    ("PATCH", "/v1/clients/{id}", Scope("write:clients")),
    ("POST", "/v1/clients/{id}/disable", Scope("write:clients")),
    ("POST", "/v1/clients/{id}/enable", Scope("write:clients")),
    ("POST", "/v1/clients/{id}/secrets", Scope("write:clients")),
    ("DELETE", "/v1/clients/{id}/secrets/{secret}", Scope("write:clients")),
    ("GET", "/v1/audit-events", Scope("read:audit-events")),
    ("GET", "/v1/grants", Scope("read:grants")),
    ("DELETE", "/v1/grants/{id}", Scope("write:grants")),
    ("GET", "/v1/grants/{id}", Scope("read:grants")),
    ("POST", "/v1/revocations", Scope("write:grants")),
    ("GET", "/v1/invitations", Scope("read:members")),
    ("POST", "/v1/invitations", Scope("write:members")),
    ("DELETE", "/v1/invitations/{id}", Scope("write:members")),
    ("GET", "/v1/invitations/{id}", Scope("read:members")),
    ("GET", "/v1/me", Anybody),
    ("GET", "/v1/me/connected-apps", Scope("read:connected-apps")),
    ("DELETE", "/v1/me/connected-apps/{client}", Scope("write:connected-apps")),
    ("GET", "/v1/projects", Scope("read:projects")),
    ("POST", "/v1/projects", Scope("write:projects")),
    ("DELETE", "/v1/projects/{id}", Scope("write:projects")),
    ("GET", "/v1/projects/{id}", Scope("read:projects")),
    ("PATCH", "/v1/projects/{id}", Scope("write:projects")),
    ("GET", "/v1/roles", Scope("read:roles")),
    ("POST", "/v1/roles", Scope("write:roles")),
    ("DELETE", "/v1/roles/{id}", Scope("write:roles")),
    ("GET", "/v1/roles/{id}", Scope("read:roles")),
    ("PATCH", "/v1/roles/{id}", Scope("write:roles")),
    ("GET", "/v1/users", Scope("read:users")),
    ("DELETE", "/v1/users/{id}", Scope("write:users")),
    ("GET", "/v1/users/{id}", Scope("read:users")),
    ("POST", "/v1/users/{id}/resume", Scope("write:users")),
    ("POST", "/v1/users/{id}/suspend", Scope("write:users")),
    ("GET", "/v1/resource-servers", Scope("read:resource-servers")),
    ("POST", "/v1/resource-servers", Scope("write:resource-servers")),
    ("DELETE", "/v1/resource-servers/{id}", Scope("write:resource-servers")),
    ("GET", "/v1/resource-servers/{id}", Scope("read:resource-servers")),
    ("PATCH", "/v1/resource-servers/{id}", Scope("write:resource-servers")),
    ("POST", "/v1/resource-servers/{id}/credential", Scope("write:resource-servers")),
    ("GET", "/v1/scopes", Scope("read:resource-servers")),
    // Who reports a leak proves it by what they report, and GitHub by its signature.
    ("POST", "/v1/credentials:revoke", Nothing),
    ("POST", "/v1/secret-scanning/github", Nothing),
    ("GET", "/v1/signing-keys", Scope("read:signing-keys")),
    ("GET", "/v1/signing-keys/{id}", Scope("read:signing-keys")),
    ("POST", "/v1/signing-keys/rotate", Scope("write:signing-keys")),
];

/// The routes of the management API, as its document lists them, and those of `src/server.rs`, as its lines spell them.
fn mounted() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(portcullis::openapi::document("")).unwrap();
    let mut found = of_the_server();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods = operations.as_object().unwrap().keys().map(|method| method.to_uppercase());
        found.extend(methods.map(|method| (method, path.clone())));
    }
    found
}

fn of_the_server() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/server.rs"));
    let text = text.unwrap();
    // Whatever way the lines are broken.
    let text: String = text.split_whitespace().collect();
    let mut found = BTreeSet::new();
    for rest in text.split(".route(").skip(1) {
        let end = rest.find(".route(").unwrap_or(rest.len());
        let (path, handlers) = rest[..end].split_once(',').unwrap();
        let path = match path.strip_prefix('"') {
            Some(path) => path.trim_end_matches('"').to_owned(),
            None if path == "well_known" => "/.well-known/oauth-authorization-server".to_owned(),
            // The same under the issuer's path; `issuer_path.rs` looks at these.
            None if path.contains("base") || path == "&front" => continue,
            // On a listener of its own; `rate_limits.rs` looks at it.
            None if path == "METRICS" => continue,
            None => panic!("a route that this test can't read: {path}"),
        };
        // The route's own call ends where its parentheses balance.
        let mut depth = 1;
        let end = handlers.find(|letter| {
            depth += match letter {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        let handlers = &handlers[..end.unwrap_or_else(|| panic!("no end: {handlers}"))];
        let methods = ["get", "post", "put", "patch", "delete", "any", "head", "options"];
        let before = found.len();
        for method in methods {
            let is_called = handlers.starts_with(&format!("{method}("))
                || handlers.contains(&format!(").{method}("));
            if is_called {
                found.insert((method.to_uppercase(), path.clone()));
            }
        }
        assert!(found.len() > before, "a route that this test can't read: {path},{handlers}");
    }
    found
}

#[test]
fn the_list_names_every_route_and_no_other() {
    let listed: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(listed.len(), ROUTES.len(), "a route is listed twice");
    assert_eq!(mounted(), listed);
}

async fn sends(world: &World, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let path = path.replace("{id}", "key_01j9zq4k2mfd8v6w3x5y7b1c0e");
    let path = path.replace("{client}", "app_01j9zq4k2mfd8v6w3x5y7b1c0e");
    let path = path.replace("{organization}", "org_01j9zq4k2mfd8v6w3x5y7b1c0e");
    let mut request = http().request(method.clone(), world.server.url(&path));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    if method == Method::POST || method == Method::PATCH {
        request = if path.starts_with("/v1/") {
            request.header("content-type", "application/json").body("{}")
        } else {
            request.form(&[("token", "x"), ("grant_type", "client_credentials")])
        };
    }
    Answer::of(request.send().await.unwrap()).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_lacks_the_credential_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let token = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    let key = world.api_key(&["read:tenants"]).await.secret;
    let bearer = |credential: &str| format!("Bearer {credential}");
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    let garbage = [
        "Bearer nonsense".to_owned(),
        "Bearer a.b.c".to_owned(),
        bearer(&unsigned),
        bearer(&key[..key.len() - 1]),
        "Basic YTpi".to_owned(),
    ];
    for (method, path, wants) in ROUTES {
        let asks = async |value: Option<&str>| sends(&world, method, path, value).await;
        let refused = |answer: &Answer, status: u16, challenge: &str| {
            assert_eq!(answer.status.as_u16(), status, "{method} {path}: {answer:?}");
            let found = answer.header("www-authenticate");
            assert!(found.contains(challenge), "{method} {path}: {found}");
        };
        let nobody = asks(None).await;
        match wants {
            Nothing => {
                // Without parameters a login has the wrong password, and an authorization request no client.
                let expected = match *path {
                    "/login" if *method == "POST" => 401,
                    "/oauth/authorize" => {
                        if *method == "POST" {
                            303
                        } else {
                            400
                        }
                    }
                    "/logout" => 303,
                    // No asset has such a name.
                    "/assets/{file}" => 404,
                    "/v1/credentials:revoke" => 422,
                    // This installation is no partner of GitHub's.
                    "/v1/secret-scanning/github" => 404,
                    // Nobody has ever had such a list.
                    "/oauth/status-lists/{id}" => 404,
                    _ => 200,
                };
                assert_eq!(nobody.status.as_u16(), expected, "{method} {path}: {nobody:?}");
            }
            Client | ClientOrResourceServer => {
                assert_eq!(nobody.refusal(), "401 invalid_client", "{method} {path}");
                for value in garbage.iter().chain([&bearer(&key), &bearer(&token)]) {
                    let answer = asks(Some(value)).await;
                    assert_eq!(answer.refusal(), "401 invalid_client", "{path} {value}");
                    if value.starts_with("Basic ") {
                        refused(&answer, 401, "Basic ");
                    }
                }
                let resource_server = asks(Some(&bearer(&world.credential))).await;
                let is_welcome = *wants == ClientOrResourceServer;
                assert_eq!(resource_server.status == StatusCode::OK, is_welcome, "{path}");
            }
            ResourceServer => {
                refused(&nobody, 401, "Bearer ");
                for value in garbage.iter().chain([&bearer(&key), &bearer(&token)]) {
                    refused(&asks(Some(value)).await, 401, "Bearer ");
                }
            }
            Anybody => {
                refused(&nobody, 401, "Bearer ");
                for value in garbage.iter().chain([&bearer(&token), &bearer(&world.credential)]) {
                    let answer = asks(Some(value)).await;
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value}: {answer:?}");
                }
                let answer = asks(Some(&bearer(&key))).await;
                assert!(answer.status != 403 && answer.status != 401, "{path}: {answer:?}");
            }
            AnybodyThere => {
                refused(&nobody, 401, "Bearer ");
                for value in garbage.iter().chain([&bearer(&world.credential)]) {
                    refused(&asks(Some(value)).await, 401, "Bearer ");
                }
                for value in [bearer(&key), bearer(&token)] {
                    assert_eq!(asks(Some(&value)).await.status, StatusCode::OK, "{value}");
                }
            }
            Scope(scope) | ScopeOrResourceServer(scope) => {
                refused(&nobody, 401, "Bearer ");
                let challenge = nobody.header("www-authenticate");
                assert!(!challenge.contains("error"), "{challenge}: nothing was presented");
                for value in &garbage {
                    let answer = asks(Some(value)).await;
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value}: {answer:?}");
                }
                refused(&asks(Some(&bearer(&token))).await, 401, "invalid_token");
                let resource_server = asks(Some(&bearer(&world.credential))).await;
                match wants {
                    Scope(_) => refused(&resource_server, 401, "invalid_token"),
                    _ => assert_eq!(resource_server.status, 422, "it was let in"),
                }
                let answer = asks(Some(&bearer(&key))).await;
                refused(&answer, 403, "insufficient_scope");
                refused(&answer, 403, &format!("scope=\"{scope}\""));
                let enough = world.api_key(&[scope]).await.secret;
                let answer = asks(Some(&bearer(&enough))).await;
                assert!(answer.status != 403 && answer.status != 401, "{path}: {answer:?}");
                if let Some(resource) = scope.strip_prefix("write:") {
                    let reader = world.api_key(&[&format!("read:{resource}")]).await.secret;
                    refused(&asks(Some(&bearer(&reader))).await, 403, "insufficient_scope");
                }
            }
            Session => {
                let is_sent_to_login = nobody.status == StatusCode::SEE_OTHER
                    && nobody.header("location").starts_with("/login");
                // The consent looks at the request first, and this one is none.
                assert!(is_sent_to_login || nobody.status == 400, "{path}: {nobody:?}");
            }
            SetupLink => refused(&nobody, 403, ""),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_without_a_session_is_sent_to_log_in() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = world.confidential_app().await;
    let request = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(app.request("read:tenants"))
        .finish();
    let organization = world.organization.to_string();
    let form = [("request", &*request), ("organization", &*organization), ("decision", "allow")];
    let answer = app.posts_as_it_is("/oauth/authorize/consent", &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert!(answer.header("location").starts_with("/login?next="), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_are_refused_in_the_language_of_the_place() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    for (method, path, status, kind) in [
        ("PUT", "/v1/api-keys", 405, "application/problem+json"),
        ("PUT", "/v1/api-keys/x", 405, "application/problem+json"),
        ("GET", "/v1/", 404, "application/problem+json"),
        ("GET", "/v1/nothing", 404, "application/problem+json"),
        ("DELETE", "/login", 405, "text/html"),
        ("GET", "/logout", 405, "text/html"),
        ("GET", "/oauth/token", 405, "application/problem+json"),
        ("PUT", "/oauth/authorize", 405, "text/html"),
        ("GET", "/nothing", 404, "text/html"),
        ("POST", "/nothing", 404, "text/html"),
        ("GET", "/login/", 404, "text/html"),
        ("GET", "//login", 404, "text/html"),
        ("GET", "/assets/../src/server.rs", 404, "text/html"),
        ("GET", "/assets/%2e%2e/server.rs", 404, "text/html"),
    ] {
        let answer = sends(&world, method, path, None).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {answer:?}");
        assert!(answer.header("content-type").starts_with(kind), "{method} {path}: {answer:?}");
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_on_another_site_can_not_act_for_a_person() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    for (method, path, _) in ROUTES {
        let is_page = !path.starts_with("/v1/")
            && (!path.starts_with("/oauth/") || *path == "/oauth/authorize/consent");
        if *method != "POST" || !is_page {
            continue;
        }
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
        ] {
            let mut request = http().post(world.server.url(path)).form(&[("a", "b")]);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}: {answer:?}");
        }
        let own = [("sec-fetch-site", "same-origin"), ("origin", world.server.issuer.as_str())];
        let mut request = http().post(world.server.url(path)).form(&[("a", "b")]);
        for (name, value) in own {
            request = request.header(name, value);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        let is_link = path.starts_with("/setup") || path.starts_with("/invitation");
        assert!(is_link || answer.status != StatusCode::FORBIDDEN, "{path}: {answer:?}");
    }
}

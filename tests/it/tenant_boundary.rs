//! Nothing crosses the boundary between organizations, and nobody does more than their role says: the golden list of
//! routes, walked as nobody, as a stranger, as somebody of another organization, and as each role.

use std::collections::BTreeMap;

use portcullis::api_keys::Pace;
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::http;
use crate::harness::{Answer, Database, Person, World};
use crate::routes::{ROUTES, Wants};

/// Ids that nothing has, by kind.
const UNKNOWN: &str = "01h455vb4pex5vsknk084sn02q";

/// The management API: method, path, and the scope that it asks for, none where any credential will do.
fn routes() -> impl Iterator<Item = (Method, &'static str, Option<&'static str>)> {
    let asks = |(_, path, wants): &&(&str, &str, Wants)| {
        path.starts_with("/v1/") && *wants != Wants::Nothing
    };
    ROUTES.iter().filter(asks).map(|(method, path, wants)| {
        let scope = match wants {
            Wants::Scope(scope) | Wants::ScopeOrResourceServer(scope) => Some(*scope),
            Wants::Anybody => None,
            other => panic!("{path} wants {other:?}"),
        };
        (method.parse().unwrap(), *path, scope)
    })
}

/// A body that the route would take, made so that it changes nothing that other steps need.
fn body(method: &Method, path: &str) -> Option<Value> {
    let body = match (method.as_str(), path) {
        ("GET" | "DELETE", _) => return None,
        ("PATCH", "/v1/members/{id}") => json!({ "role": "viewer" }),
        ("POST", "/v1/api-keys/{id}/hand-over") => json!({ "owner": format!("usr_{UNKNOWN}") }),
        ("PATCH", _) => json!({ "name": "Taken over" }),
        _ => json!({}),
    };
    Some(body)
}

/// The kind of id in a path.
fn prefix(path: &str) -> &'static str {
    let kinds = [
        ("/v1/me/connected-apps/", "app"),
        ("/v1/api-keys/", "key"),
        ("/v1/organizations/", "org"),
        ("/v1/projects/", "prj"),
        ("/v1/roles/", "rol"),
        ("/v1/members/", "usr"),
        ("/v1/users/", "usr"),
        ("/v1/invitations/", "inv"),
        ("/v1/resource-servers/", "api"),
        ("/v1/clients/", "app"),
        ("/v1/grants/", "gnt"),
        ("/v1/signing-keys/", "sig"),
        ("/v1/audit-events/", "evt"),
    ];
    let kind = kinds.iter().find(|(start, _)| path.starts_with(start));
    kind.unwrap_or_else(|| panic!("what is the id in {path}?")).1
}

/// Who calls, and in which organization.
enum As<'a> {
    Nobody,
    Key(&'a str),
    Session(&'a Person, String),
}

async fn calls(world: &World, who: &As<'_>, method: &Method, path: &str) -> Answer {
    let template = path.to_owned();
    calls_at(world, who, method, &template, path).await
}

/// Calls `path`, which is `template` with its ids filled in.
async fn calls_at(
    world: &World,
    who: &As<'_>,
    method: &Method,
    template: &str,
    path: &str,
) -> Answer {
    let url = world.server.url(path);
    let mut request = match who {
        As::Nobody => http().request(method.clone(), url),
        As::Key(secret) => http().request(method.clone(), url).bearer_auth(secret),
        As::Session(person, organization) => person
            .browser
            .request(method.clone(), url)
            .header("portcullis-organization", organization),
    };
    if let Some(body) = body(method, template) {
        request = request.json(&body);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// Whether the path names a thing.
fn has_id(path: &str) -> bool {
    path.contains("{id}") || path.contains("{client}")
}

fn filled(path: &str, id: &str) -> String {
    let path = path.replace("{id}", id).replace("{client}", id);
    path.replace("{secret}", &format!("sec_{UNKNOWN}"))
}

/// One of everything in an organization, by the prefix of its id.
async fn one_of_everything(world: &World) -> BTreeMap<&'static str, String> {
    let key = world.api_key(&["admin"]).await;
    let makes = async |path: &str, body: Value| {
        let request = http().post(world.server.url(path)).bearer_auth(&key.secret).json(&body);
        let made = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{path}: {made:?}");
        made.json
    };
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    let mut ids = BTreeMap::new();
    ids.insert("key", key.id.clone());
    ids.insert("org", world.organization.to_string());
    ids.insert("prj", id(&makes("/v1/projects", json!({ "name": "Secret project" })).await));
    let role = json!({ "name": "Secret role", "scopes": ["read:tenants"] });
    ids.insert("rol", id(&makes("/v1/roles", role).await));
    let invitation = json!({ "email": "secret@example.com", "role": "member" });
    ids.insert("inv", id(&makes("/v1/invitations", invitation).await));
    let api = json!({
        "audience": "https://secret.example.com", "name": "Secret API", "algorithm": "ES256", "is_shared": false,
        "scopes": [{ "scope": "read:secrets", "sentence": "See secrets" }],
    });
    let api = makes("/v1/resource-servers", api).await;
    let client = json!({
        "name": "Secret app", "type": "confidential", "grant_types": ["client_credentials"],
        "audiences": [{ "resource_server": api["id"], "scopes": ["read:secrets"] }],
    });
    ids.insert("app", id(&makes("/v1/clients", client).await));
    ids.insert("api", id(&api));
    ids.insert("usr", world.owner.id(&world.server).await.to_string());
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let code = world.owner.answers(&app.request("read:tenants")).await;
    let claims = crate::harness::actors::claims(app.redeems(&code).await.member("access_token"));
    ids.insert("gnt", claims["grant"].as_str().unwrap().to_owned());
    ids
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_organization_is_not_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ours = one_of_everything(&world).await;
    let eve = world.stranger("eve@elsewhere.example").await;
    let theirs = world.organization_of(&eve, "Elsewhere").await;
    let key = world.api_key_in(theirs, &eve, Role::Owner, &["admin"], None).await;
    let before = snapshot(&world, &ours).await;
    eve.logs_in().await;
    for who in [As::Key(&key.secret), As::Session(&eve, theirs.to_string())] {
        for (method, path, _) in routes() {
            if !has_id(path) {
                continue;
            }
            let kind = prefix(path);
            let Some(foreign) = ours.get(kind) else {
                assert_eq!(kind, "sig", "{path}: is one of everything there?");
                continue;
            };
            let unknown = filled(path, &format!("{kind}_{UNKNOWN}"));
            let unknown = calls_at(&world, &who, &method, path, &unknown).await;
            let answer = calls_at(&world, &who, &method, path, &filled(path, foreign)).await;
            let refused = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
            assert!(refused.contains(&answer.status), "{method} {path}: {answer:?}");
            assert_eq!(answer.status, unknown.status, "{method} {path}");
            assert_eq!(answer.text, unknown.text, "{method} {path}");
            if answer.status == StatusCode::FORBIDDEN {
                // Only what no id matters for: the installation's own.
                let for_operators = ["/v1/users", "/v1/signing-keys", "/v1/organizations"];
                assert!(for_operators.iter().any(|it| path.starts_with(it)), "{method} {path}");
            }
        }
        for (method, path, _) in routes() {
            if method != Method::GET || path.contains('{') {
                continue;
            }
            let listed = calls(&world, &who, &method, path).await;
            for (kind, id) in &ours {
                assert!(
                    !listed.text.contains(id.as_str()),
                    "{path} shows a foreign {kind}: {listed:?}"
                );
            }
            for word in ["ecret ", "secret@", "ada@example.com", "read:secrets"] {
                assert!(!listed.text.contains(word), "{path} shows {word}: {listed:?}");
            }
        }
        for search in [
            "/v1/api-keys?name=s",
            "/v1/clients?name=secret",
            "/v1/members?email=ada",
            "/v1/invitations?email=secret",
            "/v1/organizations?name=ex",
            &format!("/v1/api-keys?owner={}", ours["usr"]),
            &format!("/v1/api-keys?project={}", ours["prj"]),
            &format!("/v1/grants?user={}", ours["usr"]),
            &format!("/v1/grants?client={}", ours["app"]),
            &format!("/v1/audit-events?actor={}", ours["usr"]),
            &format!("/v1/audit-events?target={}", ours["key"]),
            &format!("/v1/scopes?resource_server={}", ours["api"]),
        ] {
            let found = calls(&world, &who, &Method::GET, search).await;
            assert_eq!(found.status, StatusCode::OK, "{search}: {found:?}");
            let found = &found.json["items"];
            assert!(
                found.as_array().unwrap().iter().all(|it| !is_ours(it, &ours)),
                "{search}: {found}"
            );
        }
    }
    assert_eq!(snapshot(&world, &ours).await, before, "nothing of it did anything");
}

fn is_ours(item: &Value, ours: &BTreeMap<&str, String>) -> bool {
    let text = item.to_string();
    ours.values().any(|id| text.contains(id.as_str()))
}

/// What an owner sees of their things.
async fn snapshot(world: &World, ours: &BTreeMap<&str, String>) -> Vec<Value> {
    let key = world.api_key(&["admin"]).await;
    // When a key was used last is written down a little later.
    world.server.app.api_keys.write_uses(&world.server.app.db, Pace::AtOnce).await.unwrap();
    let mut seen = Vec::new();
    for (method, path, _) in routes() {
        if method != Method::GET || !has_id(path) || path.contains("{secret}") {
            continue;
        }
        let Some(id) = ours.get(prefix(path)) else { continue };
        let answer = calls(world, &As::Key(&key.secret), &method, &filled(path, id)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        seen.push(answer.json);
    }
    seen
}

/// The matrix: which role may call what asks for this scope.
fn may(role: Role, scope: &str) -> bool {
    match scope {
        "read:organizations"
        | "read:projects"
        | "read:members"
        | "read:roles"
        | "read:resource-servers"
        | "read:clients"
        | "read:api-keys"
        | "read:connected-apps" => true,
        "write:api-keys" | "write:connected-apps" => role != Role::Viewer,
        "write:organizations"
        | "write:projects"
        | "write:members"
        | "write:roles"
        | "write:resource-servers"
        | "write:clients"
        | "admin:api-keys"
        | "verify:api-keys"
        | "read:grants"
        | "write:grants"
        | "read:users"
        | "write:users"
        | "read:signing-keys"
        | "write:signing-keys"
        | "read:audit-events" => matches!(role, Role::Owner | Role::Admin),
        other => panic!("who may {other}?"),
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_the_matrix_says(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ours = world.organization.to_string();
    for role in Role::ALL {
        let person = world.member(&format!("{role}@example.com"), role).await;
        person.logs_in().await;
        // All that the role has, on a key, and in the browser.
        let scopes: Vec<String> = role.scopes().iter().map(ToString::to_string).collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let key = world.api_key_of(&person, role, &scopes, None).await;
        for who in [As::Key(&key.secret), As::Session(&person, ours.clone())] {
            for (method, path, scope) in routes() {
                let path = match has_id(path) {
                    true => filled(path, &format!("{}_{UNKNOWN}", prefix(path))),
                    false => path.to_owned(),
                };
                let answer = calls(&world, &who, &method, &path).await;
                let Some(scope) = scope else {
                    assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{role} {method} {path}");
                    continue;
                };
                let is_refused = answer.header("www-authenticate").contains("insufficient_scope");
                assert_eq!(is_refused, !may(role, scope), "{role} {method} {path}: {answer:?}");
                assert_eq!(
                    answer.status == StatusCode::FORBIDDEN,
                    is_refused,
                    "{role} {method} {path}: {answer:?}"
                );
            }
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_and_strangers_get_nowhere(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ours = world.organization.to_string();
    let stranger = world.stranger("sam@example.com").await;
    stranger.logs_in().await;
    for (method, path, _) in routes() {
        let path = match has_id(path) {
            true => filled(path, &format!("{}_{UNKNOWN}", prefix(path))),
            false => path.to_owned(),
        };
        let nobody = calls(&world, &As::Nobody, &method, &path).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}: {nobody:?}");
        // Somebody with an account and no organization, whether they name one of others or one that is not there.
        for named in [ours.clone(), format!("org_{UNKNOWN}")] {
            let refused = calls(&world, &As::Session(&stranger, named), &method, &path).await;
            assert_eq!(refused.status, StatusCode::NOT_FOUND, "{method} {path}: {refused:?}");
        }
    }
}

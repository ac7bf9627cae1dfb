//! `/v1/resource-servers` and `/v1/scopes`: whose they are, what they offer to whom, and how their credentials change.

use std::time::Duration;

use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::{http, introspect};
use crate::harness::feed::Feed;
use crate::harness::world::AUDIENCE;
use crate::harness::{Answer, Application, Database, Redirected, Server, World};

const APIS: &str = "/v1/resource-servers";
const UNKNOWN: &str = "api_01h455vb4pex5vsknk084sn02q";

/// Whoever calls the management API with a credential.
pub struct Caller<'a> {
    server: &'a Server,
    credential: String,
}

impl<'a> Caller<'a> {
    pub fn with(world: &'a World, credential: &str) -> Self {
        Self { server: &world.server, credential: credential.to_owned() }
    }

    /// Somebody who may do everything in the world's organization.
    pub async fn admin(world: &'a World) -> Self {
        Self::with(world, &world.api_key(&["admin"]).await.secret)
    }

    /// Somebody who may do everything in another organization, and that organization.
    pub async fn elsewhere(world: &'a World) -> (Self, entity::OrganizationId) {
        let other = world.second_organization("Elsewhere", Role::Owner).await;
        let key = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
        (Self::with(world, &key.secret), other)
    }

    pub async fn calls(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request =
            http().request(method, self.server.url(path)).bearer_auth(&self.credential);
        if let Some(body) = body {
            request = request.json(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn gets(&self, path: &str) -> Answer {
        self.calls(Method::GET, path, None, &[]).await
    }

    pub async fn posts(&self, path: &str, body: &Value) -> Answer {
        self.calls(Method::POST, path, Some(body), &[]).await
    }

    pub async fn patches(&self, path: &str, body: &Value) -> Answer {
        self.calls(Method::PATCH, path, Some(body), &[]).await
    }

    pub async fn deletes(&self, path: &str) -> Answer {
        self.calls(Method::DELETE, path, None, &[]).await
    }

    /// Makes something, and gives what was answered.
    pub async fn makes(&self, path: &str, body: &Value) -> Answer {
        let made = self.posts(path, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made
    }
}

/// The fields that a problem document names.
pub fn fields(problem: &Answer) -> Vec<&str> {
    let errors = problem.json["errors"].as_array();
    errors.into_iter().flatten().map(|error| error["field"].as_str().unwrap()).collect()
}

#[track_caller]
pub fn assert_status(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
}

fn api(audience: &str) -> Value {
    json!({
        "audience": audience, "name": "Billing", "algorithm": "EdDSA", "access_token_seconds": 300,
        "scopes": [
            { "scope": "read:invoices", "sentence": "See your invoices" },
            { "scope": "write:invoices", "sentence": "Write invoices", "needs_admin": true },
        ],
    })
}

/// What the world's API offers, with some scopes left to admins.
fn catalog(guarded: &[&str], left_out: &[&str]) -> Value {
    let all = ["read:tenants", "write:tenants", "read:users", "write:users", "admin"];
    let left = all.into_iter().filter(|scope| !left_out.contains(scope));
    let entry = |scope: &str| {
        let needs_admin = guarded.contains(&scope);
        json!({ "scope": scope, "sentence": format!("May {scope}"), "needs_admin": needs_admin })
    };
    json!({ "scopes": left.map(entry).collect::<Vec<_>>() })
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_registered_changed_and_deleted(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let made = admin.makes(APIS, &api("https://billing.example.com")).await;
    assert_eq!((made.header("etag"), made.header("cache-control")), ("\"1\"", "no-store"));
    let credential = made.member("credential").to_owned();
    let expected = json!({
        "id": made.json["id"], "organization": world.organization.to_string(),
        "audience": "https://billing.example.com", "name": "Billing", "algorithm": "EdDSA",
        "access_token_seconds": 300, "is_shared": true, "status_list": false,
        "older_credential_expires_at": null,
        "scopes": [
            { "scope": "read:invoices", "sentence": "See your invoices", "needs_admin": false },
            { "scope": "write:invoices", "sentence": "Write invoices", "needs_admin": true },
        ],
        "created_at": made.json["created_at"], "version": 1,
    });
    let mut with_credential = expected.clone();
    with_credential["credential"] = json!(credential);
    assert_eq!(made.json, with_credential);
    let path = format!("{APIS}/{}", made.member("id"));
    let read = admin.gets(&path).await;
    assert_eq!((read.header("etag"), &read.json), ("\"1\"", &expected));
    let listed = admin.gets(APIS).await;
    assert_eq!(listed.json["items"].as_array().unwrap().len(), 3, "{listed:?}");
    assert!(!listed.text.contains(&credential) && !read.text.contains(&credential));

    // It works from the first moment on, with its own algorithm and lifetime.
    let client = json!({
        "name": "Robot", "type": "confidential", "grant_types": ["client_credentials"],
        "audiences": [{ "resource_server": made.json["id"], "scopes": ["read:invoices"] }],
    });
    let robot = admin.makes("/v1/clients", &client).await;
    let secret = Some(robot.member("client_secret").to_owned());
    let robot = Application::new(&world.server, robot.member("id").into(), secret, String::new());
    let token = robot.acts_for_itself("").await;
    assert_eq!(token.json["expires_in"], 300, "{token:?}");
    let token = token.member("access_token").to_owned();
    assert_eq!(introspect(&world.server, &credential, &token).await.json["active"], true);

    let stale = [("if-match", "\"7\"")];
    let name = json!({ "name": "Invoices" });
    let refused = admin.calls(Method::PATCH, &path, Some(&name), &stale).await;
    assert_status(&refused, 412);
    let current = [("if-match", "\"1\"")];
    let changed = admin.calls(Method::PATCH, &path, Some(&name), &current).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""), "{changed:?}");
    assert_eq!(
        (&changed.json["name"], &changed.json["scopes"]),
        (&json!("Invoices"), &expected["scopes"])
    );
    let more = json!({
        "algorithm": "RS256", "access_token_seconds": null, "is_shared": false,
        "scopes": [{ "scope": "read:invoices", "sentence": "Read" }],
    });
    let changed = admin.patches(&path, &more).await;
    assert_status(&changed, 200);
    assert_eq!(changed.json["access_token_seconds"], Value::Null);
    assert_eq!(
        (&changed.json["is_shared"], &changed.json["algorithm"]),
        (&json!(false), &json!("RS256"))
    );
    assert_eq!(robot.acts_for_itself("").await.json["expires_in"], 600);
    assert_eq!(admin.patches(&path, &json!({})).await.json["version"], 4);

    // With it end its credential and everything that came of it.
    assert_status(&admin.deletes(&path).await, 204);
    for answer in [admin.gets(&path).await, admin.deletes(&path).await] {
        assert_status(&answer, 404);
    }
    assert_eq!(introspect(&world.server, &credential, "x").await.refusal(), "401 invalid_client");
    assert_eq!(robot.introspects(&token).await.json["active"], false);
    assert_eq!(robot.acts_for_itself("").await.refusal(), "400 invalid_target");
    let left = admin.gets(&format!("/v1/clients/{}", robot.id)).await;
    assert_eq!((&left.json["audiences"], &left.json["version"]), (&json!([]), &json!(2)));
    // Its audience is free again, for its own organization.
    let (other, _) = Caller::elsewhere(&world).await;
    let taken = other.posts(APIS, &api("https://billing.example.com")).await;
    assert_eq!(fields(&taken), ["audience"], "{taken:?}");
    admin.makes(APIS, &api("https://billing.example.com")).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_api_ends_what_people_have_allowed_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, app) = (Caller::admin(&world).await, world.confidential_app().await);
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let late = world.owner.approves_again(&app, "read:tenants").await;
    let (access, refresh) = (tokens.member("access_token"), tokens.member("refresh_token"));
    let key = world.api_key(&["read:tenants"]).await;
    assert_status(&admin.deletes(&format!("{APIS}/{}", world.api.id)).await, 204);
    assert_eq!(app.introspects(access).await.json["active"], false);
    assert_eq!(app.introspects(refresh).await.json["active"], false);
    assert_eq!(app.refreshes(refresh).await.refusal(), "400 invalid_grant");
    assert_eq!(app.redeems(&late).await.refusal(), "400 invalid_grant");
    let redirected = Redirected::of(&world.owner.visits(&app.request("read:tenants")).await);
    assert_eq!(redirected.get("error"), "invalid_target");
    let feed = Feed::asks(&world.server, &world.credential, None).await;
    assert_eq!(feed.status(), StatusCode::UNAUTHORIZED);
    let told = introspect(&world.server, &world.credential, &key.secret).await;
    assert_eq!(told.refusal(), "401 invalid_client");
    let wanted = json!({ "name": "x", "scopes": ["read:tenants"] });
    assert_eq!(fields(&admin.posts("/v1/api-keys", &wanted).await), ["scopes[0]"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_sent_again_makes_nothing_more(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let key = [("idempotency-key", "one")];
    let wanted = api("https://billing.example.com");
    let first = admin.calls(Method::POST, APIS, Some(&wanted), &key).await;
    let again = admin.calls(Method::POST, APIS, Some(&wanted), &key).await;
    assert_status(&again, 201);
    assert_eq!(again.json["id"], first.json["id"]);
    assert!(first.json["credential"].is_string() && again.json["credential"].is_null());
    let path = format!("{APIS}/{}/credential", first.member("id"));
    let rotated = admin.calls(Method::POST, &path, Some(&json!({})), &key).await;
    assert_status(&rotated, 422);
    let key = [("idempotency-key", "two")];
    let rotated = admin.calls(Method::POST, &path, Some(&json!({})), &key).await;
    let again = admin.calls(Method::POST, &path, Some(&json!({})), &key).await;
    assert_eq!((again.status.as_u16(), &again.json["version"]), (201, &rotated.json["version"]));
    assert!(rotated.json["credential"].is_string() && again.json["credential"].is_null());
    let credential = rotated.member("credential");
    assert_status(&introspect(&world.server, credential, "x").await, 200);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_refused_by_the_name_of_the_field(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let path = format!("{APIS}/{}", world.api.id);
    let scope = |scope: &str, sentence: &str| json!({ "scope": scope, "sentence": sentence });
    let long = "x".repeat(201);
    for (name, value, field) in [
        ("audience", json!("nonsense"), "audience"),
        ("audience", json!("https://a.example/#x"), "audience"),
        ("audience", json!(AUDIENCE), "audience"),
        ("audience", json!(7), "audience"),
        ("name", json!(""), "name"),
        ("name", json!("x".repeat(101)), "name"),
        ("algorithm", json!("HS256"), "algorithm"),
        ("algorithm", json!("none"), "algorithm"),
        ("access_token_seconds", json!(0), "access_token_seconds"),
        ("access_token_seconds", json!(86_401), "access_token_seconds"),
        ("access_token_seconds", json!(-1), "access_token_seconds"),
        ("scopes", json!([]), "scopes"),
        ("scopes", json!([scope("read:a b", "x")]), "scopes[0].scope"),
        ("scopes", json!([scope("read:a/b", "x")]), "scopes[0].scope"),
        ("scopes", json!([scope("read:a", "x"), scope("read:a", "y")]), "scopes[1].scope"),
        ("scopes", json!([scope("read:a", " ")]), "scopes[0].sentence"),
        ("scopes", json!([scope("read:a", &long)]), "scopes[0].sentence"),
        ("scopes", json!([scope("read:a", &format!(" {}", &long[1..]))]), "scopes[0].sentence"),
        ("scopes", json!([scope("read:a", "a\u{0}b")]), "scopes[0].sentence"),
        ("is_shared", json!("yes"), "is_shared"),
        ("status_list", json!("yes"), "status_list"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut wanted = api("https://billing.example.com");
        wanted[name] = value.clone();
        let refused = admin.posts(APIS, &wanted).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{value}");
        if name != "audience" {
            let refused = admin.patches(&path, &json!({ name: value })).await;
            assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{value}");
        }
    }
    let fixed = json!({ "audience": "https://other.example.com" });
    assert_eq!(fields(&admin.patches(&path, &fixed).await), ["audience"], "it is fixed");
    for (grace, expected) in [(json!(2_592_001), 422), (json!(-1), 422), (json!("1"), 422)] {
        let body = json!({ "grace_seconds": grace });
        let refused = admin.posts(&format!("{path}/credential"), &body).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (expected, vec!["grace_seconds"]));
    }
    assert_eq!(admin.gets(&path).await.json["version"], 1, "none of this did anything");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_organizations_own_api_is_nobody_elses(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let (other, elsewhere) = Caller::elsewhere(&world).await;
    let made = other.makes(APIS, &api("https://billing.example.com")).await;
    assert_eq!(made.json["is_shared"], false);
    let (id, credential) = (made.member("id"), made.member("credential"));
    let path = format!("{APIS}/{id}");
    let rotation = format!("{path}/credential");
    let nothing = admin.gets(&format!("{APIS}/{UNKNOWN}")).await;
    for answer in [
        admin.gets(&path).await,
        admin.patches(&path, &json!({ "name": "Mine", "algorithm": "RS256" })).await,
        admin.deletes(&path).await,
        admin.posts(&rotation, &json!({})).await,
    ] {
        assert_eq!((answer.status.as_u16(), &answer.text), (404, &nothing.text));
    }
    assert!(!admin.gets(APIS).await.text.contains(id));
    assert!(!admin.gets("/v1/scopes").await.text.contains("invoices"));
    assert!(other.gets("/v1/scopes").await.text.contains("invoices"));
    let filtered = admin.gets(&format!("/v1/scopes?resource_server={id}")).await;
    assert_eq!(filtered.json["items"], json!([]));

    // Not for its clients, and not on its keys.
    let client = |api: &str| {
        json!({
            "name": "x", "type": "confidential", "grant_types": ["authorization_code"],
            "redirect_uris": ["https://app.example.com/callback"],
            "audiences": [{ "resource_server": api, "scopes": ["read:invoices"] }],
        })
    };
    let foreign = admin.posts("/v1/clients", &client(id)).await;
    let unknown = admin.posts("/v1/clients", &client(UNKNOWN)).await;
    assert_eq!(fields(&foreign), ["audiences[0].resource_server"]);
    assert_eq!(foreign.text, unknown.text);
    let key = json!({ "name": "x", "scopes": ["read:invoices"] });
    assert_eq!(fields(&admin.posts("/v1/api-keys", &key).await), ["scopes[0]"]);
    let own_key = other.makes("/v1/api-keys", &key).await;
    let told = introspect(&world.server, credential, own_key.member("secret")).await;
    assert_eq!(told.json["scope"], "read:invoices");
    let everything = world.api_key(&["read"]).await;
    let told = introspect(&world.server, credential, &everything.secret).await;
    assert_eq!(told.text, r#"{"active":false}"#, "another organization's key");

    // Whoever is in both organizations can allow it in its own alone.
    let made = other.makes("/v1/clients", &client(id)).await;
    let secret = Some(made.member("client_secret").to_owned());
    let uri = "https://app.example.com/callback".to_owned();
    let app = Application::new(&world.server, made.member("id").to_owned(), secret, uri);
    world.owner.logs_in().await;
    let page = world.owner.visits(&app.request("read:invoices")).await;
    assert_status(&page, 200);
    assert!(page.text.contains(&elsewhere.to_string()));
    assert!(!page.text.contains(&world.organization.to_string()), "{page:?}");
    let ben = world.member("ben@example.com", Role::Owner).await;
    ben.logs_in().await;
    let redirected = Redirected::of(&ben.visits(&app.request("read:invoices")).await);
    assert_eq!(redirected.get("error"), "access_denied");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_the_organization_that_runs_the_installation_shares_and_only_owners_change(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let (other, _) = Caller::elsewhere(&world).await;
    let mut wanted = api("https://billing.example.com");
    wanted["is_shared"] = json!(true);
    let refused = other.posts(APIS, &wanted).await;
    assert_status(&refused, 403);
    assert!(refused.member("detail").contains("is_shared"), "{refused:?}");
    wanted["is_shared"] = json!(false);
    let own = other.makes(APIS, &wanted).await;
    let path = format!("{APIS}/{}", own.member("id"));
    let refused = other.patches(&path, &json!({ "is_shared": true })).await;
    assert_status(&refused, 403);
    assert_eq!(other.gets(&path).await.json["version"], 1);

    // A shared one is seen, and nobody else's to change; the management API is nobody's at all.
    let shared = format!("{APIS}/{}", world.api.id);
    assert_status(&other.gets(&shared).await, 200);
    let listed = admin.gets(APIS).await;
    let apis = listed.json["items"].as_array().unwrap();
    let own = apis.iter().find(|api| api["organization"].is_null()).unwrap();
    let own = format!("{APIS}/{}", own["id"].as_str().unwrap());
    for (caller, path) in [(&other, &shared), (&other, &own), (&admin, &own)] {
        for answer in [
            caller.patches(path, &json!({ "name": "Mine" })).await,
            caller.deletes(path).await,
            caller.posts(&format!("{path}/credential"), &json!({})).await,
        ] {
            assert_status(&answer, 403);
        }
    }
    // Once it is shared no more, it is gone for the others.
    assert_status(&admin.patches(&shared, &json!({ "is_shared": false })).await, 200);
    assert_status(&other.gets(&shared).await, 404);
    assert_status(&other.patches(&shared, &json!({ "name": "Mine" })).await, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_rotated_with_a_grace(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let path = format!("{APIS}/{}", world.api.id);
    let rotates = async |body: Value| {
        let made = admin.makes(&format!("{path}/credential"), &body).await;
        made.member("credential").to_owned()
    };
    let works = async |credential: &str| {
        let told = introspect(&world.server, credential, "x").await.status == StatusCode::OK;
        let fed = Feed::asks(&world.server, credential, None).await.status() == StatusCode::OK;
        assert_eq!(told, fed);
        told
    };
    let first = world.credential.clone();
    let second = rotates(json!({ "grace_seconds": 3600 })).await;
    let end = world.server.app.clock.now() + Duration::from_secs(3600);
    let shown = admin.gets(&path).await;
    assert_eq!(shown.member("older_credential_expires_at"), end.to_string());
    assert!(works(&first).await && works(&second).await);
    world.server.passes(Duration::from_millis(3_599_999));
    assert!(works(&first).await);
    world.server.passes(Duration::from_millis(1));
    assert!(!works(&first).await && works(&second).await);
    assert!(admin.gets(&path).await.json["older_credential_expires_at"].is_null());

    // A further rotation ends the grace of the one before.
    let third = rotates(json!({})).await;
    assert!(works(&second).await && works(&third).await);
    let fourth = rotates(json!({})).await;
    assert!(!works(&second).await && works(&third).await && works(&fourth).await);
    world.server.passes(Duration::from_secs(24 * 60 * 60));
    assert!(!works(&third).await);
    // A feed ends with the credential that opened it.
    let mut feed = Feed::of(&world.server, &fourth, None).await;
    feed.until_ready().await;
    let fifth = rotates(json!({ "grace_seconds": 0 })).await;
    assert!(!works(&fourth).await && works(&fifth).await);
    let rest = tokio::time::timeout(Duration::from_secs(10), feed.rest()).await;
    assert_eq!(rest.unwrap(), "", "it has ended");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_falls_out_of_a_catalog_is_granted_no_more(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let app = world
        .registers(|new| new.audiences[0].default = "read:tenants read:users".parse().unwrap())
        .await;
    let code = world.owner.approves(&app, "read:tenants read:users").await;
    let tokens = app.redeems(&code).await;
    let late = world.owner.approves_again(&app, "read:tenants read:users").await;
    let key = world.api_key(&["read:tenants", "read:users"]).await;
    let path = format!("{APIS}/{}", world.api.id);
    assert_status(&admin.patches(&path, &catalog(&[], &["read:users"])).await, 200);
    assert_eq!(app.redeems(&late).await.member("scope"), "read:tenants");
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refreshed.member("scope"), "read:tenants");
    let told = introspect(&world.server, &world.credential, &key.secret).await;
    assert_eq!(told.json["scope"], "read:tenants");
    assert_eq!(app.acts_for_itself("read:users").await.refusal(), "400 invalid_scope");
    assert_eq!(app.acts_for_itself("").await.member("scope"), "read:tenants", "the default");
    let asked = Redirected::of(&world.owner.visits(&app.request("read:users")).await);
    assert_eq!(asked.get("error"), "invalid_scope");
    // The text stays, so that it is granted again once it is offered again.
    assert_status(&admin.patches(&path, &catalog(&[], &[])).await, 200);
    let told = introspect(&world.server, &world.credential, &key.secret).await;
    assert_eq!(told.json["scope"], "read:tenants read:users");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_an_admin_only_an_admin_grants(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (admin, app) = (Caller::admin(&world).await, world.confidential_app().await);
    let bob = world.member("bob@example.com", Role::Member).await;
    let own =
        world.api_key_of(&bob, Role::Member, &["write:api-keys", "write:tenants"], None).await;
    let path = format!("{APIS}/{}", world.api.id);
    let guarded = catalog(&["write:tenants"], &[]);
    assert_status(&admin.patches(&path, &guarded).await, 200);
    let scope = async |secret: &str| {
        let told = introspect(&world.server, &world.credential, secret).await;
        told.json["scope"].as_str().unwrap_or_default().to_owned()
    };

    bob.logs_in().await;
    let page = bob.visits(&app.request("write:tenants read:users")).await;
    assert!(!page.text.contains("May write:tenants"), "{page:?}");
    let tokens = app.redeems(&bob.answers(&app.request("write:tenants read:users")).await).await;
    assert_eq!(tokens.member("scope"), "read:users");
    let refused = Redirected::of(&bob.visits(&app.request("write:tenants")).await);
    assert_eq!(refused.get("error"), "access_denied");
    let wanted = json!({ "name": "x", "scopes": ["write:tenants"] });
    let member = Caller::with(&world, &own.secret);
    assert_eq!(fields(&member.posts("/v1/api-keys", &wanted).await), ["scopes[0]"]);
    assert_eq!(scope(&own.secret).await, "", "the key was made before");

    world.puts(&bob, Some(Role::Admin)).await;
    let tokens = app.redeems(&bob.answers(&app.request("write:tenants")).await).await;
    assert_eq!(tokens.member("scope"), "write:tenants");
    let key = world.api_key_of(&bob, Role::Admin, &["write:tenants", "read:users"], None).await;
    assert_eq!(scope(&key.secret).await, "read:users write:tenants");
    world.puts(&bob, Some(Role::Member)).await;
    assert_eq!(scope(&key.secret).await, "read:users", "a demoted admin's key");
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refreshed.refusal(), "400 invalid_grant", "nothing is left of it");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_listed_page_by_page(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let whole = admin.gets("/v1/scopes?limit=100").await;
    let whole = whole.json["items"].as_array().unwrap();
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.gets(&format!("/v1/scopes?limit=3{cursor}")).await;
        paged.extend(page.json["items"].as_array().unwrap().iter().cloned());
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, whole);
    let id = world.api.id.to_string();
    let only = admin.gets(&format!("/v1/scopes?resource_server={id}")).await;
    let scopes: Vec<&str> = only.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["scope"].as_str().unwrap())
        .collect();
    assert_eq!(scopes, ["read:tenants", "write:tenants", "read:users", "write:users", "admin"]);
    assert_eq!(
        only.json["items"][0],
        json!({
            "scope": "read:tenants", "sentence": "See your tenants", "needs_admin": false,
            "resource_server": id, "audience": AUDIENCE,
        })
    );
    for (query, field) in [
        ("cursor=x", "cursor"),
        ("cursor=api_01h455vb4pex5vsknk084sn02q", "cursor"),
        ("cursor=api_01h455vb4pex5vsknk084sn02q.x", "cursor"),
        ("resource_server=x", "resource_server"),
        ("limit=0", "limit"),
        ("colour=red", "colour"),
    ] {
        let refused = admin.gets(&format!("/v1/scopes?{query}")).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{query}");
    }
    world.server.passes(Duration::from_millis(1));
    let newest = admin.makes(APIS, &api("https://billing.example.com")).await;
    let page = admin.gets(&format!("{APIS}?limit=1")).await;
    assert_eq!(page.json["items"][0]["id"], newest.json["id"], "newest first");
    let next = admin.gets(&format!("{APIS}?cursor={}", page.member("next_cursor"))).await;
    let (items, cursor) = (next.json["items"].as_array().unwrap(), &next.json["next_cursor"]);
    assert_eq!((items.len(), cursor), (2, &Value::Null));
}

//! `/v1/clients`: applications are registered, changed, switched off and deleted, and their secrets replaced.

use std::time::Duration;

use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::{claims, introspect};
use crate::harness::{Answer, Application, Database, World};
use crate::resource_servers::{Caller, assert_status, fields};

const CLIENTS: &str = "/v1/clients";
const CALLBACK: &str = "https://app.example.com/callback";
const UNKNOWN: &str = "app_01h455vb4pex5vsknk084sn02q";

fn client(world: &World) -> Value {
    json!({
        "name": "Dashboard", "type": "confidential",
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "redirect_uris": [CALLBACK],
        "audiences": [{
            "resource_server": world.api.id.to_string(),
            "scopes": ["read:tenants", "write:tenants", "read:users"],
            "default_scopes": ["read:tenants"],
        }],
    })
}

fn application(world: &World, made: &Answer) -> Application {
    let secret = made.json["client_secret"].as_str().map(str::to_owned);
    Application::new(&world.server, made.member("id").to_owned(), secret, CALLBACK.to_owned())
}

fn path(app: &Application) -> String {
    format!("{CLIENTS}/{}", app.id)
}

/// The same application, with another secret.
fn with_secret(world: &World, app: &Application, secret: &str) -> Application {
    let secret = Some(secret.to_owned());
    Application::new(&world.server, app.id.clone(), secret, app.redirect_uri.clone())
}

async fn is_active(world: &World, token: &str) -> bool {
    introspect(&world.server, &world.credential, token).await.json["active"] == true
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_registered_read_and_changed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let made = admin.makes(CLIENTS, &client(&world)).await;
    assert_eq!((made.header("etag"), made.header("cache-control")), ("\"1\"", "no-store"));
    let secret = made.member("client_secret").to_owned();
    let scopes = json!(["read:users", "write:tenants"]);
    let expected = json!({
        "id": made.json["id"], "organization": world.organization.to_string(),
        "name": "Dashboard", "type": "confidential", "status": "active",
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "redirect_uris": [CALLBACK], "requires_pkce": true,
        "audiences": [{
            "resource_server": world.api.id.to_string(), "scopes": scopes,
            "default_scopes": ["read:tenants"],
        }],
        "refresh_retry_seconds": 2, "is_first_party": false,
        "logo_uri": null, "policy_uri": null, "tos_uri": null,
        "secrets": [{
            "id": made.json["secrets"][0]["id"], "created_at": made.json["created_at"],
            "expires_at": null,
        }],
        "created_at": made.json["created_at"], "disabled_at": null, "deleted_at": null,
        "version": 1,
    });
    let mut with_secret = expected.clone();
    with_secret["client_secret"] = json!(secret);
    assert_eq!(made.json, with_secret);
    let app = application(&world, &made);
    let read = admin.gets(&path(&app)).await;
    assert_eq!((read.header("etag"), &read.json), ("\"1\"", &expected));
    assert!(!read.text.contains(&secret));
    let code = world.owner.approves(&app, "read:users").await;
    assert_status(&app.redeems(&code).await, 200);

    let rename = json!({ "name": "Console" });
    let patches = async |body: &Value, tag: &str| {
        admin.calls(Method::PATCH, &path(&app), Some(body), &[("if-match", tag)]).await
    };
    assert_status(&patches(&rename, "\"2\"").await, 412);
    assert_status(&patches(&rename, "W/\"1\"").await, 412);
    let changed = patches(&rename, "\"1\"").await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""), "{changed:?}");
    assert_status(&patches(&rename, "\"1\"").await, 412);
    let links = json!({
        "logo_uri": "https://app.example.com/logo.svg", "policy_uri": "http://127.0.0.1/policy",
        "tos_uri": "https://app.example.com/terms?x=1", "refresh_retry_seconds": 0,
        "requires_pkce": false, "redirect_uris": [CALLBACK, "com.example.app:/callback"],
    });
    let changed = admin.patches(&path(&app), &links).await;
    assert_status(&changed, 200);
    for (name, value) in links.as_object().unwrap() {
        assert_eq!(&changed.json[name], value);
    }
    let changed = admin.patches(&path(&app), &json!({ "logo_uri": null })).await;
    assert_eq!(
        (&changed.json["logo_uri"], &changed.json["tos_uri"]),
        (&Value::Null, &links["tos_uri"])
    );
    assert_eq!(admin.gets(&path(&app)).await.json, changed.json);
    assert_eq!(fields(&admin.patches(&path(&app), &json!({ "type": "public" })).await), ["type"]);

    // A new redirect URI counts from the answer on.
    let mut elsewhere = application(&world, &made);
    elsewhere.redirect_uri = "com.example.app:/callback".to_owned();
    let redirected = world.owner.decides(&elsewhere.request("read:users"), "allow").await;
    assert!(redirected.location.starts_with("com.example.app:/callback?code="), "{redirected:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_listed_by_name_and_status(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let mut made = Vec::new();
    for name in ["Alpha", "Beta", "alphabet", "Gamma"] {
        world.server.passes(Duration::from_millis(1));
        let mut wanted = client(&world);
        wanted["name"] = json!(name);
        made.push(application(&world, &admin.makes(CLIENTS, &wanted).await));
    }
    assert_status(&admin.posts(&format!("{}/disable", path(&made[1])), &json!({})).await, 200);
    assert_status(&admin.deletes(&path(&made[3])).await, 204);
    let names = async |query: &str| -> Vec<String> {
        let page = admin.gets(&format!("{CLIENTS}?{query}")).await;
        assert_status(&page, 200);
        let items = page.json["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["Gamma", "alphabet", "Beta", "Alpha"]);
    assert_eq!(names("name=ALPHA").await, ["alphabet", "Alpha"]);
    assert_eq!(names("status=active").await, ["alphabet", "Alpha"]);
    assert_eq!(names("status=disabled").await, ["Beta"]);
    assert_eq!(names("status=deleted").await, ["Gamma"]);
    let first = admin.gets(&format!("{CLIENTS}?limit=3")).await;
    let cursor = first.member("next_cursor");
    assert_eq!(names(&format!("limit=3&cursor={cursor}")).await, ["Alpha"]);
    for (query, field) in [("status=gone", "status"), ("cursor=x", "cursor"), ("q=x", "q")] {
        let refused = admin.gets(&format!("{CLIENTS}?{query}")).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{query}");
    }
    let (other, _) = Caller::elsewhere(&world).await;
    assert_eq!(other.gets(CLIENTS).await.json["items"], json!([]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_sent_again_tells_no_secret_again(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let posts = async |path: &str, body: &Value, key: &str| {
        admin.calls(Method::POST, path, Some(body), &[("idempotency-key", key)]).await
    };
    let first = posts(CLIENTS, &client(&world), "one").await;
    let again = posts(CLIENTS, &client(&world), "one").await;
    assert_eq!((again.status.as_u16(), &again.json["id"]), (201, &first.json["id"]));
    assert!(first.json["client_secret"].is_string() && again.json["client_secret"].is_null());
    let mut other = client(&world);
    other["name"] = json!("Another");
    assert_status(&posts(CLIENTS, &other, "one").await, 422);
    let app = application(&world, &first);
    let secrets = format!("{}/secrets", path(&app));
    let added = posts(&secrets, &json!({}), "two").await;
    let again = posts(&secrets, &json!({}), "two").await;
    assert_eq!((again.status.as_u16(), &again.json["secrets"]), (201, &added.json["secrets"]));
    assert!(added.json["client_secret"].is_string() && again.json["client_secret"].is_null());
    assert_eq!(again.json["secrets"].as_array().unwrap().len(), 2);
    assert_status(&app.acts_for_itself("").await, 200);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_safe_redirect_uris_are_registered(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let app = application(&world, &admin.makes(CLIENTS, &client(&world)).await);
    let long = format!("https://app.example/{}", "x".repeat(2000));
    for (uri, is_fine) in [
        ("https://app.example/cb", true),
        ("https://app.example:8443/cb?x=1", true),
        ("http://127.0.0.1/cb", true),
        ("http://[::1]:8000/cb", true),
        ("http://localhost:3000/cb", true),
        ("com.example.app:/cb", true),
        ("http://app.example/cb", false),
        ("https://app.example/cb#f", false),
        ("https://app.example/cb#", false),
        ("https://*.example/cb", false),
        ("https://user:pass@app.example/cb", false),
        ("javascript:alert(1)", false),
        ("data:text/html,x", false),
        ("myapp:/cb", false),
        ("/cb", false),
        ("https://app.example/c b", false),
        ("https://app.exämple/cb", false),
        ("https://app.example/\u{0}", false),
        ("", false),
        (&long, false),
    ] {
        let mut wanted = client(&world);
        wanted["redirect_uris"] = json!([CALLBACK, uri]);
        let posted = admin.posts(CLIENTS, &wanted).await;
        let patched =
            admin.patches(&path(&app), &json!({ "redirect_uris": [CALLBACK, uri] })).await;
        if is_fine {
            assert_eq!((posted.status.as_u16(), patched.status.as_u16()), (201, 200), "{uri}");
        } else {
            for refused in [posted, patched] {
                assert_eq!(fields(&refused), ["redirect_uris[1]"], "{uri}: {refused:?}");
            }
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_refused_by_the_name_of_the_field(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let app = application(&world, &admin.makes(CLIENTS, &client(&world)).await);
    let api = world.api.id.to_string();
    let audience = |scopes: Value| json!([{ "resource_server": api, "scopes": scopes }]);
    let both = json!([audience(json!(["read:users"]))[0], audience(json!(["read:users"]))[0]]);
    let beyond = json!([{ "resource_server": api, "scopes": ["read:users"], "default_scopes": ["write:users"] }]);
    let many: Vec<String> = (0..21).map(|at| format!("https://a.example/{at}")).collect();
    for (name, value, field) in [
        ("name", json!(""), "name"),
        ("name", json!("x".repeat(101)), "name"),
        ("name", json!("a\u{0}b"), "name"),
        ("grant_types", json!([]), "grant_types"),
        ("grant_types", json!(["password"]), "grant_types[0]"),
        ("grant_types", json!(["refresh_token"]), "grant_types"),
        ("grant_types", json!(["authorization_code", "authorization_code"]), "grant_types"),
        ("redirect_uris", json!([]), "redirect_uris"),
        ("redirect_uris", json!(many), "redirect_uris"),
        ("redirect_uris", json!([CALLBACK, CALLBACK]), "redirect_uris[1]"),
        ("audiences", json!([]), "audiences"),
        ("audiences", audience(json!([])), "audiences[0].scopes"),
        ("audiences", audience(json!(["x y"])), "audiences[0].scopes[0]"),
        ("audiences", audience(json!(["read:moon"])), "audiences[0].scopes"),
        ("audiences", beyond, "audiences[0].default_scopes"),
        ("audiences", both, "audiences[1].resource_server"),
        ("refresh_retry_seconds", json!(61), "refresh_retry_seconds"),
        ("refresh_retry_seconds", json!(-1), "refresh_retry_seconds"),
        ("logo_uri", json!("javascript:alert(1)"), "logo_uri"),
        ("logo_uri", json!("http://app.example.com/logo"), "logo_uri"),
        ("logo_uri", json!("com.example.app:/logo"), "logo_uri"),
        ("logo_uri", json!("data:image/png;base64,"), "logo_uri"),
        ("policy_uri", json!("https://user@app.example.com/"), "policy_uri"),
        ("tos_uri", json!("https://app.example.com/#x"), "tos_uri"),
        ("tos_uri", json!(format!("https://a.example/{}", "x".repeat(2000))), "tos_uri"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut wanted = client(&world);
        wanted[name] = value.clone();
        let refused = admin.posts(CLIENTS, &wanted).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{value}");
        let refused = admin.patches(&path(&app), &json!({ name: value })).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{value}");
    }
    let mut public = client(&world);
    public["type"] = json!("public");
    assert_eq!(fields(&admin.posts(CLIENTS, &public).await), ["grant_types"]);
    public["grant_types"] = json!(["authorization_code"]);
    public["requires_pkce"] = json!(false);
    assert_eq!(fields(&admin.posts(CLIENTS, &public).await), ["requires_pkce"]);
    let grace = json!({ "grace_seconds": 2_592_001 });
    let refused = admin.posts(&format!("{}/secrets", path(&app)), &grace).await;
    assert_eq!(fields(&refused), ["grace_seconds"]);
    assert_eq!(admin.gets(&path(&app)).await.json["version"], 1, "none of this did anything");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_work_during_the_grace(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let first = application(&world, &admin.makes(CLIENTS, &client(&world)).await);
    let secrets = format!("{}/secrets", path(&first));
    let adds = async |body: Value| {
        let made = admin.makes(&secrets, &body).await;
        with_secret(&world, &first, made.member("client_secret"))
    };
    let works = async |app: &Application| {
        let answer = app.acts_for_itself("").await;
        assert!(answer.status == StatusCode::OK || answer.refusal() == "401 invalid_client");
        answer.status == StatusCode::OK
    };
    let second = adds(json!({ "grace_seconds": 60 })).await;
    assert!(works(&first).await && works(&second).await);
    let shown = admin.gets(&path(&first)).await.json["secrets"].clone();
    let end = world.server.app.clock.now() + Duration::from_secs(60);
    let ends: Vec<&Value> =
        shown.as_array().unwrap().iter().map(|secret| &secret["expires_at"]).collect();
    assert!(ends.contains(&&json!(end.to_string())) && ends.contains(&&Value::Null), "{shown}");
    world.server.passes(Duration::from_millis(59_999));
    assert!(works(&first).await);
    world.server.passes(Duration::from_millis(1));
    assert!(!works(&first).await && works(&second).await);
    let shown = admin.gets(&path(&first)).await.json["secrets"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 1);

    // Never more than two.
    let third = adds(json!({})).await;
    let fourth = adds(json!({})).await;
    assert!(!works(&second).await && works(&third).await && works(&fourth).await);
    let fifth = adds(json!({ "grace_seconds": 0 })).await;
    assert!(!works(&third).await && !works(&fourth).await && works(&fifth).await);

    // One goes at once, the last one stays.
    let sixth = adds(json!({})).await;
    let shown = admin.gets(&path(&first)).await.json["secrets"].clone();
    let older = shown.as_array().unwrap().iter().find(|it| !it["expires_at"].is_null()).unwrap();
    let older = format!("{secrets}/{}", older["id"].as_str().unwrap());
    assert_status(&admin.deletes(&older).await, 204);
    assert!(!works(&fifth).await && works(&sixth).await);
    assert_status(&admin.deletes(&older).await, 404);
    let left = admin.gets(&path(&first)).await.json["secrets"][0]["id"].clone();
    let last = format!("{secrets}/{}", left.as_str().unwrap());
    assert_status(&admin.deletes(&last).await, 409);
    assert!(works(&sixth).await);

    let mut public = client(&world);
    public["type"] = json!("public");
    public["grant_types"] = json!(["authorization_code"]);
    let public = admin.makes(CLIENTS, &public).await;
    assert!(public.json["client_secret"].is_null() && public.json["secrets"] == json!([]));
    let path = format!("{CLIENTS}/{}/secrets", public.member("id"));
    assert_status(&admin.posts(&path, &json!({})).await, 409);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_client_more_than_they_may_do_themselves(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let some = world.api_key(&["write:clients", "read:tenants"]).await;
    let some = Caller::with(&world, &some.secret);
    let refused = some.posts(CLIENTS, &client(&world)).await;
    assert_eq!(fields(&refused), ["audiences[0].scopes"; 2], "{refused:?}");
    assert!(refused.text.contains("`write:tenants`") && refused.text.contains("`read:users`"));
    // What people consent to is bounded by their own roles.
    let mut for_people = client(&world);
    for_people["grant_types"] = json!(["authorization_code"]);
    let app = application(&world, &some.makes(CLIENTS, &for_people).await);
    let all = json!({ "grant_types": ["authorization_code", "client_credentials"] });
    assert_eq!(some.patches(&path(&app), &all).await.status.as_u16(), 422);
    assert_status(&admin.patches(&path(&app), &all).await, 200);
    // What it had before may stay, but its secret is worth more than they may do.
    assert_status(&some.patches(&path(&app), &json!({ "name": "Robot" })).await, 200);
    let secrets = format!("{}/secrets", path(&app));
    assert_status(&some.posts(&secrets, &json!({})).await, 403);
    assert_status(&admin.posts(&secrets, &json!({})).await, 201);
    let less = json!({ "audiences": [{ "resource_server": world.api.id.to_string(), "scopes": ["read:tenants"] }] });
    assert_status(&some.patches(&path(&app), &less).await, 200);
    assert_status(&some.posts(&secrets, &json!({})).await, 201);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_ask_for_less_loses_what_it_had(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let (second, _) = world.second_api("https://other.example.com", world.api.algorithm).await;
    let mut wanted = client(&world);
    let entry = |api: entity::ResourceServerId, scopes: &[&str]| json!({ "resource_server": api.to_string(), "scopes": scopes });
    let (here, there) = (world.api.id, second.id);
    wanted["audiences"] =
        json!([entry(here, &["write:tenants", "read:users"]), entry(there, &["read:tenants"])]);
    let app = application(&world, &admin.makes(CLIENTS, &wanted).await);
    let asks = async |resource: &str| {
        let form = [("grant_type", "client_credentials"), ("resource", resource)];
        app.posts("/oauth/token", &form).await
    };
    let code = world.owner.approves(&app, "write:tenants read:users").await;
    let tokens = app.redeems(&code).await;
    let (own, other) = (asks(&world.api.audience).await, asks(&second.audience).await);
    let grant = |answer: &Answer| claims(answer.member("access_token"))["grant"].clone();
    let narrower = json!({ "audiences": [entry(here, &["read:users"])] });
    assert_status(&admin.patches(&path(&app), &narrower).await, 200);
    for token in [&tokens, &own, &other] {
        let told = app.introspects(token.member("access_token")).await;
        assert_eq!(told.json["active"], false, "{token:?}");
    }
    world.server.passes(Duration::from_secs(3));
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refreshed.member("scope"), "read:users");
    assert!(is_active(&world, refreshed.member("access_token")).await);
    let anew = asks(&world.api.audience).await;
    assert_eq!(
        (anew.member("scope"), grant(&anew)),
        ("read:users", grant(&own)),
        "the grant stays"
    );
    assert_eq!(asks(&second.audience).await.refusal(), "400 invalid_target");

    // What comes back comes back under another grant.
    assert_status(
        &admin.patches(&path(&app), &json!({ "audiences": wanted["audiences"] })).await,
        200,
    );
    assert!(is_active(&world, anew.member("access_token")).await, "nothing was taken away");
    let back = asks(&second.audience).await;
    assert_ne!(grant(&back), grant(&other));
    assert_eq!(app.introspects(back.member("access_token")).await.json["active"], true);
    // A client that does not act for itself any more has no grants of its own.
    let people = json!({ "grant_types": ["authorization_code", "refresh_token"] });
    assert_status(&admin.patches(&path(&app), &people).await, 200);
    assert_eq!(app.introspects(back.member("access_token")).await.json["active"], false);
    assert_eq!(asks(&second.audience).await.refusal(), "400 unauthorized_client");
}

/// Asserts that no endpoint does anything for the application.
async fn assert_is_shut_out(world: &World, app: &Application, code: &str, refresh: &str) {
    let secret = app.secret.as_deref().unwrap();
    for answer in [
        app.acts_for_itself("read:tenants").await,
        app.refreshes(refresh).await,
        app.redeems(code).await,
        app.introspects(refresh).await,
        app.revokes(refresh).await,
        app.posts_with_basic("/oauth/introspect", (&app.id, secret), &[("token", refresh)]).await,
    ] {
        assert_eq!(answer.refusal(), "401 invalid_client");
    }
    let page = world.owner.visits(&app.request("read:tenants")).await;
    assert_status(&page, 400);
    assert!(page.header("location").is_empty() && page.text.contains("role=\"alert\""));
    let request = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(app.request("read:tenants"))
        .finish();
    let organization = world.organization.to_string();
    let form = [("request", &*request), ("organization", &organization), ("decision", "allow")];
    assert_status(&world.owner.posts("/oauth/authorize/consent", &form).await, 400);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_client_can_do_nothing_until_it_is_enabled(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let app = application(&world, &admin.makes(CLIENTS, &client(&world)).await);
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let own = app.acts_for_itself("").await;
    let refresh = tokens.member("refresh_token");
    let late = world.owner.approves_again(&app, "read:tenants").await;
    for _ in 0..2 {
        let disabled = admin.posts(&format!("{}/disable", path(&app)), &json!({})).await;
        assert_eq!((disabled.status.as_u16(), &disabled.json["status"]), (200, &json!("disabled")));
        assert_eq!((&disabled.json["version"], disabled.header("etag")), (&json!(2), "\"2\""));
    }
    assert_is_shut_out(&world, &app, &late, refresh).await;
    for token in [&tokens, &own] {
        assert!(!is_active(&world, token.member("access_token")).await);
    }
    // It can be changed meanwhile, and stays off.
    let renamed = admin.patches(&path(&app), &json!({ "name": "Later" })).await;
    assert_eq!(renamed.json["status"], "disabled");

    world.server.passes(Duration::from_secs(3));
    for _ in 0..2 {
        let enabled = admin.posts(&format!("{}/enable", path(&app)), &json!({})).await;
        assert_eq!((enabled.status.as_u16(), &enabled.json["status"]), (200, &json!("active")));
        assert_eq!(enabled.json["version"], 4);
    }
    assert!(!is_active(&world, tokens.member("access_token")).await, "made before");
    let refreshed = app.refreshes(refresh).await;
    assert!(is_active(&world, refreshed.member("access_token")).await, "{refreshed:?}");
    assert!(is_active(&world, app.acts_for_itself("").await.member("access_token")).await);
    assert_status(&app.redeems(&late).await, 200);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_client_is_gone_for_good(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let app = application(&world, &admin.makes(CLIENTS, &client(&world)).await);
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let late = world.owner.approves_again(&app, "read:tenants").await;
    for _ in 0..2 {
        assert_status(&admin.deletes(&path(&app)).await, 204);
    }
    let read = admin.gets(&path(&app)).await;
    assert_eq!(
        (&read.json["status"], read.json["deleted_at"].is_string()),
        (&json!("deleted"), true)
    );
    assert_is_shut_out(&world, &app, &late, tokens.member("refresh_token")).await;
    assert!(!is_active(&world, tokens.member("access_token")).await);
    for answer in [
        admin.patches(&path(&app), &json!({ "name": "Back" })).await,
        admin.posts(&format!("{}/enable", path(&app)), &json!({})).await,
        admin.posts(&format!("{}/disable", path(&app)), &json!({})).await,
        admin.posts(&format!("{}/secrets", path(&app)), &json!({})).await,
    ] {
        assert_status(&answer, 409);
    }
    assert_eq!(admin.gets(&path(&app)).await.json, read.json);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_organizations_client_is_not_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::admin(&world).await;
    let (other, _) = Caller::elsewhere(&world).await;
    let made = admin.makes(CLIENTS, &client(&world)).await;
    let secret = made.json["secrets"][0]["id"].as_str().unwrap();
    let nothing = other.gets(&format!("{CLIENTS}/{UNKNOWN}")).await;
    for id in [made.member("id"), UNKNOWN, "app_x", "key_01h455vb4pex5vsknk084sn02q", "%00"] {
        let path = format!("{CLIENTS}/{id}");
        for answer in [
            other.gets(&path).await,
            other.patches(&path, &json!({ "name": "Mine" })).await,
            other.posts(&format!("{path}/secrets"), &json!({})).await,
            other.deletes(&format!("{path}/secrets/{secret}")).await,
            other.posts(&format!("{path}/disable"), &json!({})).await,
            other.posts(&format!("{path}/enable"), &json!({})).await,
            other.deletes(&path).await,
        ] {
            assert_eq!((answer.status.as_u16(), &answer.text), (404, &nothing.text), "{id}");
        }
    }
    assert_status(&application(&world, &made).acts_for_itself("").await, 200);
    let no_secret = format!("{CLIENTS}/{}/secrets/sec_x", made.member("id"));
    assert_status(&admin.deletes(&no_secret).await, 404);
    // One's own, and the company's own, are different things.
    let mut first_party = client(&world);
    first_party["is_first_party"] = json!(true);
    assert_eq!(fields(&other.posts(CLIENTS, &first_party).await), ["is_first_party"]);
    first_party["is_first_party"] = json!(false);
    let own = format!("{CLIENTS}/{}", other.makes(CLIENTS, &first_party).await.member("id"));
    let refused = other.patches(&own, &json!({ "is_first_party": true })).await;
    assert_eq!(fields(&refused), ["is_first_party"]);
    let path = format!("{CLIENTS}/{}", made.member("id"));
    let changed = admin.patches(&path, &json!({ "is_first_party": true })).await;
    assert_eq!(changed.json["is_first_party"], true);
    // A viewer sees clients and changes none.
    let vic = world.member("vic@example.com", Role::Viewer).await;
    let key = world.api_key_of(&vic, Role::Viewer, &["read:clients"], None).await;
    let viewer = Caller::with(&world, &key.secret);
    assert_status(&viewer.gets(&path).await, 200);
    assert_status(&viewer.deletes(&path).await, 403);
}

//! `/v1/api-keys`: keys are made, seen and revoked by who may, and every mistake is named.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::config::Settings;
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::{http, introspect};
use crate::harness::{Answer, Database, Server, World};

const KEYS: &str = "/v1/api-keys";
const JSON: &str = "application/json";

/// A script that calls the management API with a credential.
struct Script<'a> {
    server: &'a Server,
    credential: String,
}

impl<'a> Script<'a> {
    fn with(world: &'a World, credential: &str) -> Self {
        Self { server: &world.server, credential: credential.to_owned() }
    }

    async fn calls(&self, method: Method, path: &str) -> Answer {
        let request = http().request(method, self.server.url(path)).bearer_auth(&self.credential);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn gets(&self, path: &str) -> Answer {
        self.calls(Method::GET, path).await
    }

    async fn makes(&self, key: &Value) -> Answer {
        self.posts(JSON, key.to_string()).await
    }

    async fn posts(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = http().post(self.server.url(KEYS)).bearer_auth(&self.credential);
        let request = request.header("content-type", content_type).body(body);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn revokes(&self, id: &str) -> Answer {
        self.calls(Method::DELETE, &format!("{KEYS}/{id}")).await
    }
}

/// The fields that a problem document names.
fn fields(problem: &Answer) -> Vec<&str> {
    assert_eq!(problem.header("content-type"), "application/problem+json", "{problem:?}");
    assert_eq!(problem.json["status"], problem.status.as_u16());
    let errors = problem.json["errors"].as_array();
    errors.into_iter().flatten().map(|error| error["field"].as_str().unwrap()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_told_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    world.server.passes(Duration::from_millis(1));
    let wanted = json!({ "name": " ci ", "scopes": ["write:tenants/prod/*", "read:tenants"] });
    let made = admin.makes(&wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.member("secret");
    assert!(secret.starts_with("pc_live_") && secret.len() == "pc_live_".len() + 40, "{secret}");
    let hint = format!("{}…{}", &secret[..12], &secret[secret.len() - 4..]);
    let expected = json!({
        "id": made.member("id"), "organization": world.organization.to_string(), "name": "ci",
        "scopes": ["read:tenants", "write:tenants/prod/*"], "environment": "live",
        "status": "active", "hint": hint, "created_by": world.owner.id(&world.server).await.to_string(),
        "created_at": made.member("created_at"), "expires_at": null, "revoked_at": null,
        "rotating_until": null, "older_secret": null, "revoked_reason": null, "last_used_at": null,
        "last_used_from": null, "brand": null, "requests_per_minute": null, "project": null, "description": "", "labels": {},
        "allowed_ips": ["0.0.0.0/0", "::/0"], "owner": world.owner.id(&world.server).await.to_string(), "version": 1, "is_decoy": false,
    });
    let mut with_secret = expected.clone();
    with_secret["secret"] = json!(secret);
    with_secret["warnings"] = json!([]);
    assert_eq!(made.json, with_secret);

    let path = format!("{KEYS}/{}", made.member("id"));
    let read = admin.gets(&path).await;
    assert_eq!((read.status, &read.json), (StatusCode::OK, &expected));
    let listed = admin.gets(KEYS).await;
    assert_eq!(listed.json["items"][0], expected);
    for answer in [&read, &listed] {
        assert!(!answer.text.contains(secret) && !answer.text.contains(&secret[12..30]));
    }
    let told = introspect(&world.server, &world.credential, secret).await;
    assert_eq!(told.json["api_key"], made.json["id"]);

    let test =
        admin.makes(&json!({ "name": "x", "scopes": ["read"], "environment": "test" })).await;
    assert!(test.member("secret").starts_with("pc_test_"), "{test:?}");
    let until =
        json!({ "name": "x", "scopes": ["read"], "expires_at": "2999-01-01T00:00:00+02:00" });
    assert_eq!(admin.makes(&until).await.json["expires_at"], "2998-12-31T22:00:00Z");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_can_not_be_is_refused_by_the_name_of_the_field(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let all = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let some = world.api_key(&["write:api-keys", "write:tenants"]).await;
    let some = Script::with(&world, &some.secret);
    let long = "x".repeat(101);
    for (body, field) in [
        (json!({ "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": "", "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": "  ", "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": long, "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": "a\u{0}b", "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": 5, "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": null, "scopes": ["read:tenants"] }), "name"),
        (json!({ "name": "x" }), "scopes"),
        (json!({ "name": "x", "scopes": [] }), "scopes"),
        (json!({ "name": "x", "scopes": "read:tenants" }), "scopes"),
        (json!({ "name": "x", "scopes": ["read:tenants", 5] }), "scopes[1]"),
        (json!({ "name": "x", "scopes": vec!["read:tenants"; 101] }), "scopes"),
        (json!({ "name": "x", "scopes": ["read:nothing"] }), "scopes[0]"),
        (json!({ "name": "x", "scopes": ["read:tenants", "Read Tenants"] }), "scopes[1]"),
        (json!({ "name": "x", "scopes": [""] }), "scopes[0]"),
        (json!({ "name": "x", "scopes": ["read:tenants"], "environment": "prod" }), "environment"),
        (json!({ "name": "x", "scopes": ["read:tenants"], "environment": "" }), "environment"),
        (
            json!({ "name": "x", "scopes": ["read:tenants"], "expires_at": "2001-01-01T00:00:00Z" }),
            "expires_at",
        ),
        (json!({ "name": "x", "scopes": ["read:tenants"], "expires_at": "soon" }), "expires_at"),
        (json!({ "name": "x", "scopes": ["read:tenants"], "expires_at": 5 }), "expires_at"),
        (json!({ "name": "x", "scopes": ["read:tenants"], "admin": true }), "admin"),
        (json!([]), "body"),
        (json!("x"), "body"),
        (json!(null), "body"),
    ] {
        let refused = all.makes(&body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {refused:?}");
        assert_eq!(fields(&refused), [field], "{body}: {refused:?}");
    }
    let doubled = all.posts(JSON, r#"{"name":"x","name":"y","scopes":["read:tenants"]}"#).await;
    assert_eq!((doubled.status.as_u16(), fields(&doubled)), (422, vec!["name"]));
    // Nobody makes a key that reaches further than the credential that makes it.
    for scope in ["read:users", "admin:tenants", "*:tenants", "admin", "write"] {
        let refused = some.makes(&json!({ "name": "x", "scopes": ["read:tenants", scope] })).await;
        assert_eq!(
            (refused.status.as_u16(), fields(&refused)),
            (422, vec!["scopes[1]"]),
            "{scope}"
        );
    }
    let narrower = some.makes(&json!({ "name": "x", "scopes": ["read:tenants/acme"] })).await;
    assert_eq!(narrower.status, StatusCode::CREATED, "{narrower:?}");
    // All mistakes at once.
    let refused = all.makes(&json!({ "name": "", "scopes": ["a", "b"], "environment": "x" })).await;
    assert_eq!(fields(&refused), ["name", "scopes[0]", "scopes[1]", "environment"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_can_not_be_read_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let good = json!({ "name": "x", "scopes": ["read:tenants"] }).to_string();
    let broken = [
        &b""[..],
        b"{",
        b"name=x",
        b"{\"name\":\"x\",\"scopes\":[\"read:tenants\"]} x",
        b"{\"name\":\"\xff\",\"scopes\":[\"read:tenants\"]}",
    ];
    for body in broken {
        let refused = admin.posts(JSON, body.to_vec()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body:?}: {refused:?}");
        assert!(fields(&refused).is_empty());
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
    {
        let refused = admin.posts(content_type, good.clone()).await;
        assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let accepted = admin.posts("Application/JSON; charset=utf-8", good.clone()).await;
    assert_eq!(accepted.status, StatusCode::CREATED, "{accepted:?}");
    let large = json!({ "name": "x".repeat(64 * 1024), "scopes": ["read:tenants"] }).to_string();
    assert_eq!(admin.posts(JSON, large.clone()).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // The same without a Content-Length.
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        large.as_bytes().chunks(1000).map(|chunk| Ok(chunk.to_vec())).collect();
    let streamed = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    assert_eq!(admin.posts(JSON, streamed).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(admin.posts(JSON, deep).await.status.as_u16() / 100, 4);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_page_by_page_newest_first(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let mut made = Vec::new();
    for at in 0..6 {
        world.server.passes(Duration::from_millis(1));
        let key = admin.makes(&json!({ "name": format!("{at}"), "scopes": ["read"] })).await;
        made.push(key.member("id").to_owned());
    }
    made.reverse();
    let page = async |query: &str| admin.gets(&format!("{KEYS}?{query}")).await;
    let ids = |page: &Answer| -> Vec<String> {
        let items = page.json["items"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = page("limit=4").await;
    assert_eq!(ids(&first), made[..4]);
    let cursor = first.member("next_cursor");
    // A key that is made meanwhile moves nothing.
    world.server.passes(Duration::from_millis(1));
    admin.makes(&json!({ "name": "late", "scopes": ["read"] })).await;
    let second = page(&format!("limit=3&cursor={cursor}")).await;
    assert_eq!(ids(&second)[..2], made[4..]);
    assert_eq!((ids(&second).len(), &second.json["next_cursor"]), (3, &Value::Null));
    let exactly = page("limit=8").await;
    assert_eq!((ids(&exactly).len(), &exactly.json["next_cursor"]), (8, &Value::Null));
    let distinct: HashSet<String> = ids(&exactly).into_iter().collect();
    assert_eq!(distinct.len(), 8);

    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=abc", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=", "limit"),
        ("limit=1&cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=app_01h455vb4pex5vsknk084sn02q", "cursor"),
    ] {
        let refused = page(query).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{query}");
    }
    assert_eq!(page("limit=1&limit=2").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(page("limit=%zz").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(page("limit=%FF").await.status, StatusCode::BAD_REQUEST);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_organizations_key_is_not_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let owner = &world.owner;
    let key = world.api_key_in(elsewhere, owner, Role::Owner, &["admin"], None).await;
    let unknown = "key_01h455vb4pex5vsknk084sn02q";
    for method in [Method::GET, Method::DELETE] {
        let nothing = admin.calls(method.clone(), &format!("{KEYS}/{unknown}")).await;
        assert_eq!(nothing.status, StatusCode::NOT_FOUND);
        for id in [key.id.as_str(), "key_x", "app_01h455vb4pex5vsknk084sn02q", "%00", "%FF"] {
            let answer = admin.calls(method.clone(), &format!("{KEYS}/{id}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {id}");
            assert_eq!(answer.text, nothing.text, "{method} {id}");
            let same = |answer: &Answer| {
                let mut headers = answer.headers.clone();
                // What is left of the caller's own quota goes down with each call.
                for own in ["x-request-id", "date", "ratelimit"] {
                    headers.remove(own);
                }
                headers
            };
            assert_eq!(same(&answer), same(&nothing));
        }
    }
    let listed = admin.gets(KEYS).await;
    assert!(!listed.text.contains(&key.id), "{listed:?}");
    // It lives, and its own organization sees it and nothing of ours.
    let there = Script::with(&world, &key.secret);
    let listed = there.gets(KEYS).await;
    assert_eq!(listed.json["items"].as_array().unwrap().len(), 1, "{listed:?}");
    assert_eq!(listed.json["items"][0]["id"], key.id);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_from_the_answer_on(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let key = world.api_key(&["read:api-keys"]).await;
    let script = Script::with(&world, &key.secret);
    assert_eq!(script.gets(KEYS).await.status, StatusCode::OK);
    for _ in 0..2 {
        let answer = admin.revokes(&key.id).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
        assert_eq!(script.gets(KEYS).await.status, StatusCode::UNAUTHORIZED);
        world.server.passes(Duration::from_secs(1));
    }
    let read = admin.gets(&format!("{KEYS}/{}", key.id)).await;
    assert_eq!(read.json["status"], "revoked");
    let revoked_at = read.member("revoked_at").to_owned();
    admin.revokes(&key.id).await;
    let read = admin.gets(&format!("{KEYS}/{}", key.id)).await;
    assert_eq!(read.member("revoked_at"), revoked_at, "the first time counts");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_good_credential_is_told_how_to_bring_one(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let end = world.server.app.clock.now() + Duration::from_secs(1);
    let owner = &world.owner;
    let expired = world.api_key_of(owner, Role::Owner, &["admin"], Some(end)).await;
    world.server.passes(Duration::from_secs(1));
    let foreign = app.acts_for_itself("write:tenants").await;
    let key = world.api_key(&["admin"]).await;
    let cut = &key.secret[..key.secret.len() - 1];
    let id = &key.id;
    let calls: [(Method, String); 4] = [
        (Method::GET, KEYS.to_owned()),
        (Method::POST, KEYS.to_owned()),
        (Method::GET, format!("{KEYS}/{id}")),
        (Method::DELETE, format!("{KEYS}/{id}")),
    ];
    for (method, path) in calls {
        let asks = async |header: Option<&str>| {
            let mut request = http().request(method.clone(), world.server.url(&path));
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            Answer::of(request.send().await.unwrap()).await
        };
        for header in [None, Some("Basic eDp5")] {
            let refused = asks(header).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            let challenge = refused.header("www-authenticate");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert!(!challenge.contains("error"), "RFC 6750 §3.1: {challenge}");
            assert!(fields(&refused).is_empty());
        }
        let unknown = format!("{}{}", "pc_live_", "0".repeat(40));
        for credential in [
            "x",
            cut,
            &unknown,
            &expired.secret,
            &world.credential,
            app.secret.as_deref().unwrap(),
            "a.b.c",
            foreign.member("access_token"),
        ] {
            let refused = asks(Some(&format!("Bearer {credential}"))).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{credential}");
            let challenge = refused.header("www-authenticate");
            assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
        }
        let unreadable = asks(Some("Bearer ")).await;
        assert!(matches!(unreadable.status.as_u16(), 400 | 401), "{unreadable:?}");
    }
    let read = Script::with(&world, &key.secret).gets(&format!("{KEYS}/{id}")).await;
    assert_eq!(read.json["status"], "active", "none of this did anything");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_without_the_scope_is_told_which_one_is_missing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let reader = Script::with(&world, &world.api_key(&["read:api-keys"]).await.secret);
    let other = Script::with(&world, &world.api_key(&["write:tenants"]).await.secret);
    assert_eq!(reader.gets(KEYS).await.status, StatusCode::OK);
    let wanted = json!({ "name": "x", "scopes": ["read:api-keys"] });
    for (refused, scope) in [
        (reader.makes(&wanted).await, "write:api-keys"),
        (reader.revokes("key_01h455vb4pex5vsknk084sn02q").await, "write:api-keys"),
        (other.gets(KEYS).await, "read:api-keys"),
        (other.gets("/v1/api-keys/key_01h455vb4pex5vsknk084sn02q").await, "read:api-keys"),
    ] {
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        let challenge = refused.header("www-authenticate");
        assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
        assert!(challenge.contains(&format!(r#"scope="{scope}""#)), "{challenge}");
    }
    // A creator who is demoted takes the reach of the key along.
    let bob = world.member("bob@example.com", Role::Member).await;
    let key = world.api_key_of(&bob, Role::Member, &["write:api-keys", "read:users"], None).await;
    let script = Script::with(&world, &key.secret);
    let wanted = json!({ "name": "x", "scopes": ["read:users"] });
    assert_eq!(script.makes(&wanted).await.status, StatusCode::CREATED);
    world.puts(&bob, Some(Role::Viewer)).await;
    assert_eq!(script.makes(&wanted).await.status, StatusCode::FORBIDDEN);
    assert_eq!(script.gets(KEYS).await.status, StatusCode::OK);
    world.puts(&bob, None).await;
    assert_eq!(script.gets(KEYS).await.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_of_the_management_api_works_as_well(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.management_app().await;
    world.owner.logs_in().await;
    let mut query = app.request("admin");
    query.push(("resource", &world.server.issuer));
    let code = world.owner.answers(&query).await;
    let tokens = app.redeems(&code).await;
    let person = Script::with(&world, tokens.member("access_token"));
    let made = person.makes(&json!({ "name": "x", "scopes": ["write:tenants"] })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.json["created_by"], world.owner.id(&world.server).await.to_string());

    // A client that acts for itself may look, but a key needs a person whose role bounds it.
    let own = app.acts_for_itself("write:api-keys").await;
    let machine = Script::with(&world, own.member("access_token"));
    assert_eq!(machine.gets(KEYS).await.status, StatusCode::OK);
    let refused = machine.makes(&json!({ "name": "x", "scopes": ["read:api-keys"] })).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");

    let narrow = app.acts_for_itself("read:api-keys").await;
    let narrow = Script::with(&world, narrow.member("access_token"));
    assert_eq!(narrow.revokes(made.member("id")).await.status, StatusCode::FORBIDDEN);
    app.revokes(tokens.member("access_token")).await;
    assert_eq!(person.gets(KEYS).await.status, StatusCode::UNAUTHORIZED);
    world.server.passes(Duration::from_secs(600));
    assert_eq!(machine.gets(KEYS).await.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[case("op365_sk", &["live", "test"], "op365_sk_live_")]
#[case("ops0", &["0"], "ops0_0_")]
#[case("apvk", &[""], "apvk_")]
#[tokio::test(flavor = "multi_thread")]
async fn keys_bear_the_brand_of_the_installation(
    #[case] brand: &str,
    #[case] environments: &[&str],
    #[case] prefix: &str,
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let branded = |settings: &mut Settings| {
        settings.brand = brand.to_owned();
        settings.api_keys.environments = environments.iter().map(|it| (*it).to_owned()).collect();
    };
    let Some(server) = Server::start_with(database, branded).await else { return };
    let world = World::around(server).await;
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let made = admin.makes(&json!({ "name": "x", "scopes": ["read:api-keys"] })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let secret = made.member("secret");
    let random = secret.strip_prefix(prefix).unwrap_or_else(|| panic!("{secret}"));
    assert!(random.len() == 40 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(Script::with(&world, secret).gets(KEYS).await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn several_brands_are_in_force_at_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let branded = |settings: &mut Settings| {
        settings.brand = "op365_sk".to_owned();
        settings.further_brands = vec!["pc".to_owned(), "ops0".to_owned()];
    };
    let Some(server) = Server::start_with(database, branded).await else { return };
    let world = World::around(server).await;
    // Made under the brand that came before.
    let former = world.api_key(&["admin"]).await;
    assert!(former.secret.starts_with("pc_live_"));
    let admin = Script::with(&world, &former.secret);
    for (brand, prefix) in [(Value::Null, "op365_sk_live_"), (json!("ops0"), "ops0_live_")] {
        let wanted = json!({ "name": "x", "scopes": ["read:api-keys"], "brand": brand });
        let made = admin.makes(&wanted).await;
        assert!(made.member("secret").starts_with(prefix), "{made:?}");
        let script = Script::with(&world, made.member("secret"));
        assert_eq!(script.gets(KEYS).await.status, StatusCode::OK);
        // What it gets next is of the same brand.
        let path = format!("{KEYS}/{}/rotate", made.member("id"));
        let request = http().post(world.server.url(&path)).bearer_auth(&admin.credential);
        let rotated = Answer::of(request.json(&json!({})).send().await.unwrap()).await;
        assert!(rotated.member("secret").starts_with(prefix), "{rotated:?}");
    }
    let unknown = json!({ "name": "x", "scopes": ["read:api-keys"], "brand": "apvk" });
    assert_eq!(fields(&admin.makes(&unknown).await), ["brand"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_two_secrets_until_its_grace_is_over(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let key = world.api_key(&["read:tenants"]).await;
    let path = format!("{KEYS}/{}/rotate", key.id);
    let rotates = async |body: Value| {
        let request = http().post(world.server.url(&path)).bearer_auth(&admin.credential);
        Answer::of(request.json(&body).send().await.unwrap()).await
    };
    let told = async |secret: &str| introspect(&world.server, &world.credential, secret).await.json;
    let rotated = rotates(json!({})).await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{rotated:?}");
    assert_eq!(rotated.member("id"), key.id);
    let second = rotated.member("secret").to_owned();
    let until = rotated.member("rotating_until").to_owned();
    let now = world.server.app.clock.now();
    assert_eq!(until, (now + Duration::from_secs(86_400)).to_string());
    // Whoever remembers the old secret is told when it ends.
    assert_eq!(told(&key.secret).await["exp"], now.unix_seconds() + 86_400);
    assert_eq!(told(&second).await["exp"], Value::Null);

    // Rotating again ends the grace of the first.
    let third = rotates(json!({ "grace_seconds": 60 })).await.member("secret").to_owned();
    assert_eq!(told(&key.secret).await["active"], false);
    assert_eq!(
        (&told(&second).await["active"], &told(&third).await["active"]),
        (&json!(true), &json!(true))
    );
    world.server.passes(Duration::from_secs(60));
    assert_eq!(
        (&told(&second).await["active"], &told(&third).await["active"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(admin.gets(&format!("{KEYS}/{}", key.id)).await.json["rotating_until"], Value::Null);

    // At once.
    let fourth = rotates(json!({ "grace_seconds": 0 })).await.member("secret").to_owned();
    assert_eq!(told(&third).await["active"], false);
    for wrong in [
        json!({ "grace_seconds": 2_592_001 }),
        json!({ "grace_seconds": -1 }),
        json!({ "grace": 1 }),
    ] {
        let refused = rotates(wrong).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    }
    // Revoking takes every secret along.
    let fifth = rotates(json!({})).await.member("secret").to_owned();
    admin.revokes(&key.id).await;
    assert_eq!(
        (&told(&fourth).await["active"], &told(&fifth).await["active"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(rotates(json!({})).await.status, StatusCode::CONFLICT);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_the_secret_of_a_key_that_may_do_more_than_they(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let powerful = world.api_key(&["admin"]).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let own = world.api_key_of(&bob, Role::Member, &["write"], None).await;
    let rotates = async |credential: &str, id: &str| {
        let url = world.server.url(&format!("{KEYS}/{id}/rotate"));
        let request = http().post(url).bearer_auth(credential).json(&json!({}));
        Answer::of(request.send().await.unwrap()).await
    };
    let refused = rotates(&own.secret, &powerful.id).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert!(refused.json["secret"].is_null() && refused.json["id"].is_null(), "{refused:?}");
    let writer = world.api_key(&["write:api-keys"]).await;
    assert_eq!(rotates(&writer.secret, &own.id).await.status, StatusCode::FORBIDDEN);
    let read =
        Script::with(&world, &powerful.secret).gets(&format!("{KEYS}/{}", powerful.id)).await;
    assert_eq!((read.status, &read.json["rotating_until"]), (StatusCode::OK, &Value::Null));
    assert_eq!(rotates(&own.secret, &own.id).await.status, StatusCode::CREATED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_rotations_at_once_two_secrets_are_left(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let key = world.api_key(&["read:tenants"]).await;
    let url = world.server.url(&format!("{KEYS}/{}/rotate", key.id));
    let rotations = (0..5).map(|_| async {
        let request = http().post(&url).bearer_auth(&admin.credential).json(&json!({}));
        Answer::of(request.send().await.unwrap()).await
    });
    let made = futures::future::join_all(rotations).await;
    let mut living = 0;
    for answer in &made {
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let told = introspect(&world.server, &world.credential, answer.member("secret")).await;
        living += usize::from(told.json["active"] == true);
    }
    assert_eq!(living, 2, "the last, and the one before in its grace");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_only_from_the_networks_that_it_names(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let proxied = |settings: &mut Settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()].into();
    };
    let Some(server) = Server::start_with(database, proxied).await else { return };
    let world = World::around(server).await;
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let wanted = json!({
        "name": "office", "scopes": ["read:api-keys", "read:tenants"],
        "allowed_ips": ["192.0.2.0/24", "192.0.2.0/24", "2001:db8::/32"],
    });
    let made = admin.makes(&wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.json["allowed_ips"], json!(["192.0.2.0/24", "2001:db8::/32"]));
    assert_eq!(made.json["warnings"], json!([]));
    let secret = made.member("secret");

    // At our own API the address is the caller's, as the trusted proxy names it.
    let from = async |address: &str| {
        let request = http().get(world.server.url(KEYS)).bearer_auth(secret);
        Answer::of(request.header("x-forwarded-for", address).send().await.unwrap()).await.status
    };
    assert_eq!(from("192.0.2.7").await, StatusCode::OK);
    assert_eq!(from("2001:db8::1").await, StatusCode::OK);
    for elsewhere in ["203.0.113.1", "2001:db9::1", "192.0.2.7, 203.0.113.1", "nonsense"] {
        assert_eq!(from(elsewhere).await, StatusCode::UNAUTHORIZED, "{elsewhere}");
    }

    // A resource server passes its caller's address on, or holds it against the list itself.
    let asks = async |more: &[(&str, &str)]| {
        let form: Vec<(&str, &str)> = [("token", secret)].iter().chain(more).copied().collect();
        let request =
            http().post(world.server.url("/oauth/introspect")).bearer_auth(&world.credential);
        Answer::of(request.form(&form).send().await.unwrap()).await
    };
    let active = async |more: &[(&str, &str)]| asks(more).await.json["active"].clone();
    assert_eq!(active(&[("client_address", "192.0.2.9")]).await, true);
    assert_eq!(active(&[("client_address", "::ffff:192.0.2.9")]).await, true);
    assert_eq!(active(&[("client_address", "203.0.113.1")]).await, false);
    assert_eq!(active(&[]).await, false, "whoever says nothing of the address can't use it");
    let told = asks(&[("network_check", "local")]).await;
    assert_eq!(told.json["allowed_ips"], json!(["192.0.2.0/24", "2001:db8::/32"]), "{told:?}");
    for wrong in [
        &[("client_address", "nonsense")][..],
        &[("network_check", "remote")],
        &[("network_check", "local"), ("client_address", "192.0.2.9")],
    ] {
        assert_eq!(asks(wrong).await.refusal(), "400 invalid_request", "{wrong:?}");
    }

    let wide = json!({ "name": "x", "scopes": ["read:tenants"], "allowed_ips": ["0.0.0.0/0"] });
    let made = admin.makes(&wide).await;
    assert_eq!(made.json["warnings"].as_array().unwrap().len(), 1, "{made:?}");
    for (wrong, field) in [
        (json!([]), "allowed_ips"),
        (json!(["192.0.2.7/24"]), "allowed_ips[0]"),
        (json!(["10.0.0.0/8", "x"]), "allowed_ips[1]"),
        (json!(vec!["10.0.0.0/8"; 51]), "allowed_ips"),
    ] {
        let refused = admin
            .makes(&json!({ "name": "x", "scopes": ["read:tenants"], "allowed_ips": wrong }))
            .await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{wrong}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_bears_a_description_and_labels(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::with(&world, &world.api_key(&["admin"]).await.secret);
    let make = |more: Value| {
        let mut wanted = json!({ "name": "x", "scopes": ["read:tenants"] });
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wanted
    };
    let labels = json!({ "team": "billing", "cost-center": "4711" });
    let made = admin
        .makes(&make(
            json!({ "description": " The nightly report\nof all tenants ", "labels": labels }),
        ))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.member("description"), "The nightly report\nof all tenants");
    assert_eq!(made.json["labels"], labels);
    let many: serde_json::Map<String, Value> =
        (0..21).map(|at| (format!("l{at}"), json!("x"))).collect();
    for (wrong, field) in [
        (json!({ "labels": many }), "labels"),
        (json!({ "labels": { "": "x" } }), "labels"),
        (json!({ "labels": { "a b": "x" } }), "labels"),
        (json!({ "labels": { "team": "x".repeat(101) } }), "labels.team"),
        (json!({ "labels": { "team": "\u{0}" } }), "labels.team"),
        (json!({ "description": "x".repeat(501) }), "description"),
    ] {
        let refused = admin.makes(&make(wrong.clone())).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![field]), "{wrong}");
    }
}

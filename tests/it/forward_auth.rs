//! `ANY /forward-auth`: what a reverse proxy is told of a call that it holds; and the real nginx, configured as the
//! guide has it.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use portcullis::api_keys::Pace;
use portcullis::tenancy::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::harness::actors::{Answer, claims, http, introspect};
use crate::harness::caller::{Caller, wrong_fields};
use crate::harness::nginx::Nginx;
use crate::harness::{Database, Hook, Server, World, eventually};

/// Every header that tells in whose name a call goes on.
const HEADERS: [&str; 7] = [
    "x-auth-subject",
    "x-auth-client",
    "x-auth-api-key",
    "x-auth-organization",
    "x-auth-project",
    "x-auth-scopes",
    "x-auth-credential",
];

async fn asks(server: &Server, query: &str, authorization: Option<&str>) -> Answer {
    let mut request = http().get(server.url(&format!("/forward-auth{query}")));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    // Nobody is told anything of a call that does not go on.
    let told = HEADERS.iter().filter(|name| answer.headers.contains_key(**name)).count();
    assert_eq!(told, if answer.status == StatusCode::OK { HEADERS.len() } else { 0 }, "{answer:?}");
    answer
}

async fn asks_with(world: &World, query: &str, credential: &str) -> Answer {
    asks(&world.server, query, Some(&format!("Bearer {credential}"))).await
}

async fn admin(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// A key made over the API: its id and secret.
async fn made(admin: &Caller, more: Value) -> (String, String) {
    let mut body = json!({ "name": "ci", "scopes": ["read:tenants"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = admin.posts("/v1/api-keys", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    (made.member("id").to_owned(), made.member("secret").to_owned())
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, challenge: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let found = answer.header("www-authenticate");
    assert!(found.starts_with("Bearer realm=") && found.contains(challenge), "{answer:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_told_in_whose_name_a_call_goes_on(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let organization = world.organization.to_string();
    let project = admin.posts("/v1/projects", &json!({ "name": "Blue" })).await;
    let project = project.member("id").to_owned();
    let confined = json!({ "scopes": ["write:tenants/eu/*", "read:api-keys"], "project": project });
    let (id, secret) = made(&admin, confined).await;
    let told = |answer: &Answer| HEADERS.map(|name| answer.header(name).to_owned());

    let answer = asks_with(&world, "?scope=read:tenants/eu/acme", &secret).await;
    assert_eq!(answer.text, "");
    let (scopes, kind) = ("write:tenants/eu/*", "api_key");
    assert_eq!(told(&answer), [&*id, "", &*id, &*organization, &*project, scopes, kind]);
    assert!(answer.header("ratelimit").starts_with("\"key\";r="), "{answer:?}");
    assert!(!answer.headers.contains_key("authorization"), "it was not asked for");

    // A token that was exchanged for it is the key's too.
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &*secret),
        ("subject_token_type", "urn:portcullis:params:oauth:token-type:api-key"),
        ("resource", &*world.api.audience),
    ];
    let url = world.server.url("/oauth/token");
    let token = Answer::of(http().post(url).form(&form).send().await.unwrap()).await;
    let answer = asks_with(&world, "", token.member("access_token")).await;
    let kind = "access_token";
    assert_eq!(told(&answer), [&*id, "", &*id, &*organization, &*project, scopes, kind]);

    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants read:users").await;
    let tokens = app.redeems(&code).await;
    let token = tokens.member("access_token");
    let user = world.owner.id(&world.server).await.to_string();
    let answer = asks_with(&world, "?scope=read:tenants&scope=read:users", token).await;
    let scopes = "read:tenants read:users";
    assert_eq!(told(&answer), [&*user, &*app.id, "", &*organization, "", scopes, kind]);
    assert!(!answer.headers.contains_key("ratelimit"), "tokens have none");
    let own = app.acts_for_itself("read:tenants").await;
    let answer = asks_with(&world, "", own.member("access_token")).await;
    assert_eq!(told(&answer)[..3], [app.id.clone(), app.id.clone(), String::new()]);

    // Proxies send what method they like, and perhaps a body.
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = world.server.url("/forward-auth?scope=read:tenants");
        let request = http().request(method.clone(), url).bearer_auth(token).body("x".repeat(9999));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{method}");
    }
    // Envoy appends the caller's address; nothing there counts.
    let query =
        "?scope=read:tenants&original=/tenants?scope=write:users&resource=x&upstream_token=jwt";
    let answer = asks_with(&world, query, token).await;
    assert!(answer.status == StatusCode::OK && !answer.headers.contains_key("authorization"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_is_refused_as_the_api_itself_would(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let (_, secret) = made(&admin, json!({ "scopes": ["read:tenants/eu/*"] })).await;
    let app = world.confidential_app().await;
    let token = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    let forged = format!("{}.AAAA", token.rsplit_once('.').unwrap().0);
    let means_nothing = world.api_key(&["read:api-keys"]).await.secret;
    let (revoked, of_the_revoked) = made(&admin, json!({})).await;
    assert_eq!(asks_with(&world, "", &of_the_revoked).await.status, StatusCode::OK);
    assert_eq!(admin.deletes(&format!("/v1/api-keys/{revoked}")).await.status, 204);

    for authorization in [None, Some("Basic YTpi"), Some("")] {
        let answer = asks(&world.server, "", authorization).await;
        assert_refused(&answer, 401, "");
        assert!(!answer.header("www-authenticate").contains("error"), "nothing was presented");
    }
    let twice = http().get(world.server.url("/forward-auth"));
    let twice = twice.bearer_auth(&secret).bearer_auth(&token).send().await.unwrap();
    assert_refused(&Answer::of(twice).await, 401, "invalid_token");
    for garbage in ["Bearer", "Bearer a b", "Bearer \"x\""] {
        let answer = asks(&world.server, "", Some(garbage)).await;
        assert_refused(&answer, 401, "error=\"invalid_token\"");
    }
    let mut texts = HashSet::new();
    let cut = &secret[..secret.len() - 1];
    for bad in [&*forged, cut, &*means_nothing, &*of_the_revoked, &*world.credential, "x", "a.b.c"]
    {
        let answer = asks_with(&world, "", bad).await;
        assert_refused(&answer, 401, "error=\"invalid_token\"");
        texts.insert(answer.text);
    }
    assert_eq!(texts.len(), 1, "they are told apart: {texts:?}");

    // All scopes are required. The owner finds each refusal, whichever scope it was for.
    let both = "?scope=read:tenants/eu/a&scope=write:tenants/eu/a";
    for (query, credential, missing) in [
        ("?scope=read:tenants", &secret, "read:tenants"),
        ("?scope=write:tenants/eu/a", &secret, "write:tenants/eu/a"),
        (both, &secret, "write:tenants/eu/a"),
        ("?scope=read:tenants+read:users", &token, "read:users"),
        ("?scope=read:tenants&scope=read:users", &token, "read:users"),
    ] {
        let answer = asks_with(&world, query, credential).await;
        assert_refused(&answer, 403, "error=\"insufficient_scope\"");
        assert_refused(&answer, 403, &format!("scope=\"{missing}\""));
        if credential == &secret {
            let server = &world.server.app;
            server.api_keys.write_uses(&server.db, Pace::AtOnce).await.unwrap();
            let request_id = answer.header("x-request-id");
            let path = format!("/v1/audit-events?request_id={request_id}");
            let found = admin.gets(&path).await;
            assert_eq!(found.json["items"][0]["detail"]["required"], missing, "{found:?}");
        }
    }
    world.server.passes(Duration::from_secs(601));
    assert_refused(&asks_with(&world, "", &token).await, 401, "invalid_token");
    let limited = made(&admin, json!({ "requests_per_minute": 1 })).await.1;
    assert_eq!(asks_with(&world, "", &limited).await.status, StatusCode::OK);
    let answer = asks_with(&world, "", &limited).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!answer.header("retry-after").is_empty() && !answer.header("ratelimit").is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_can_not_be_meant_lets_nobody_in(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["admin"]).await.secret;
    assert_eq!(asks_with(&world, "", &key).await.status, StatusCode::OK);
    for (query, parameter) in [
        ("?scope=", "scope"),
        ("?scope=No%20Scope", "scope"),
        ("?scope=read:tenants&scope=", "scope"),
        ("?scopes=read:tenants", "scopes"),
        ("?resource=", "resource"),
        ("?resource=https://a.example&resource=https://a.example", "resource"),
        ("?upstream_token=", "upstream_token"),
        ("?upstream_token=opaque", "upstream_token"),
    ] {
        let answer = asks_with(&world, query, &key).await;
        assert_eq!(wrong_fields(&answer), [parameter], "{query}");
    }
    assert_eq!(asks_with(&world, "?scope=%FF", &key).await.status, StatusCode::BAD_REQUEST);
    assert_refused(&asks_with(&world, "?resource=a%00b", &key).await, 401, "invalid_token");

    // A failure of ours is no permission.
    let db = world.server.app.db.writer();
    db.execute_unprepared("ALTER TABLE api_key_secrets RENAME TO taken_away").await.unwrap();
    let unseen = portcullis_verifier::key::generate(&"pc_live".parse().unwrap()).unwrap();
    let unseen = secrecy::ExposeSecret::expose_secret(&unseen);
    let answer = asks_with(&world, "", unseen).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{answer:?}");
    db.execute_unprepared("ALTER TABLE taken_away RENAME TO api_key_secrets").await.unwrap();
    assert_refused(&asks_with(&world, "", unseen).await, 401, "invalid_token");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_the_one_that_is_named_or_the_only_one(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let key = world.api_key(&["read:tenants"]).await.secret;
    let app = world.confidential_app().await;
    let token = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    let named = format!("?resource={}", world.api.audience);
    for credential in [&key, &token] {
        assert_eq!(asks_with(&world, "", credential).await.status, StatusCode::OK);
        assert_eq!(asks_with(&world, &named, credential).await.status, StatusCode::OK);
    }
    // The management API is its own gate.
    let management = format!("?resource={}", world.server.issuer);
    let all = world.api_key(&["admin"]).await.secret;
    let own = world.management_app().await.acts_for_itself("read:api-keys").await;
    for credential in [&all, own.member("access_token")] {
        assert_refused(&asks_with(&world, &management, credential).await, 401, "invalid_token");
    }

    // What another organization keeps to itself changes nothing for anybody, and is to others like nothing.
    let eve = world.stranger("eve@example.com").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let theirs = world.api_key_in(elsewhere, &eve, Role::Owner, &["admin"], None).await.secret;
    let their_admin = Caller::with(&world.server, &theirs);
    let api = |audience: &str| {
        let scopes = json!([{ "scope": "read:tenants", "sentence": "See" }]);
        json!({ "audience": audience, "name": "X", "algorithm": "ES256", "scopes": scopes })
    };
    let registered = their_admin.posts("/v1/resource-servers", &api("https://eve.example")).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{registered:?}");
    assert_eq!(asks_with(&world, "", &key).await.status, StatusCode::OK);
    let at_theirs = "?resource=https://eve.example&scope=read:tenants";
    assert_eq!(asks_with(&world, at_theirs, &theirs).await.status, StatusCode::OK);
    for credential in [Some(&*key), Some(&*token), Some("x"), None] {
        let authorization = credential.map(|credential| format!("Bearer {credential}"));
        let authorization = authorization.as_deref();
        let of_theirs = asks(&world.server, at_theirs, authorization).await;
        let nowhere = "?resource=https://nowhere.example&scope=read:tenants";
        let unknown = asks(&world.server, nowhere, authorization).await;
        let told = |answer: &Answer| {
            (answer.status, answer.header("www-authenticate").to_owned(), answer.text.clone())
        };
        assert_eq!((of_theirs.status.as_u16(), told(&of_theirs)), (401, told(&unknown)));
    }

    // Once there are two that everybody may use, one has to be named, from the first moment on.
    let second = admin.posts("/v1/resource-servers", &api("https://second.example")).await;
    assert_eq!(second.status, StatusCode::CREATED, "{second:?}");
    for credential in [&key, &token] {
        assert_eq!(wrong_fields(&asks_with(&world, "", credential).await), ["resource"]);
        assert_eq!(asks_with(&world, &named, credential).await.status, StatusCode::OK);
    }
    let at_second = "?resource=https://second.example";
    assert_eq!(asks_with(&world, at_second, &key).await.status, StatusCode::OK);
    let answer = asks_with(&world, at_second, &token).await;
    assert!(answer.text.contains("another API"), "{answer:?}");
    let path = format!("/v1/resource-servers/{}", second.member("id"));
    assert_eq!(admin.deletes(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(asks_with(&world, "", &key).await.status, StatusCode::OK);
    assert_refused(&asks_with(&world, at_second, &key).await, 401, "invalid_token");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_the_callers_as_a_trusted_proxy_names_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let server = Server::start_with(database, |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()].into();
    });
    let Some(server) = server.await else { return };
    let world = World::around(server).await;
    let admin = admin(&world).await;
    let (_, bound) = made(&admin, json!({ "allowed_ips": ["192.0.2.0/24"] })).await;
    let from = async |address: &str, query: &str| {
        let request = http().get(world.server.url(&format!("/forward-auth{query}")));
        let request = request.bearer_auth(&bound).header("x-forwarded-for", address);
        Answer::of(request.send().await.unwrap()).await
    };
    let here = from("192.0.2.7", "?upstream_token=jwt").await;
    assert_eq!(here.status, StatusCode::OK);
    assert_eq!(from("203.0.113.9, 192.0.2.7", "").await.status, StatusCode::OK);
    for elsewhere in ["203.0.113.9", "192.0.2.7, 203.0.113.9", "x"] {
        assert_refused(&from(elsewhere, "").await, 401, "invalid_token");
    }
    assert_refused(&asks_with(&world, "", &bound).await, 401, "invalid_token");
    // The token of such a key is bound as the key is.
    let token = here.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
    assert_eq!(claims(&token)["allowed_ips"], json!(["192.0.2.0/24"]));
    assert_refused(&asks_with(&world, "", &token).await, 401, "invalid_token");
}

/// The token that stands in for a key.
async fn phantom(world: &World, key: &str) -> String {
    let answer = asks_with(world, "?upstream_token=jwt", key).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.header("authorization").strip_prefix("Bearer ").unwrap().to_owned()
}

async fn is_active(world: &World, token: &str) -> bool {
    introspect(&world.server, &world.credential, token).await.json["active"] == true
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_api_gets_a_token_in_the_place_of_a_key_and_none_is_signed_twice(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let (id, secret) = made(&admin, json!({ "scopes": ["read:tenants", "read:users"] })).await;
    let tokens = join_all((0..30).map(|_| phantom(&world, &secret))).await;
    let different: HashSet<&String> = tokens.iter().collect();
    assert_eq!(different.len(), 1, "many at once cost one signature");
    let first = &tokens[0];
    let said = claims(first);
    assert_eq!(
        [&said["sub"], &said["api_key"], &said["aud"], &said["scope"]],
        [&json!(id), &json!(id), &json!(world.api.audience), &json!("read:tenants read:users")]
    );
    assert!(is_active(&world, first).await);
    // What is required of one call does not narrow the token that serves the next.
    let answer = asks_with(&world, "?scope=read:users&upstream_token=jwt", &secret).await;
    assert_eq!(answer.header("authorization"), format!("Bearer {first}"));

    // It is renewed when half of its life is over.
    world.server.passes(Duration::from_secs(299));
    assert_eq!(phantom(&world, &secret).await, *first);
    world.server.passes(Duration::from_secs(2));
    let second = phantom(&world, &secret).await;
    assert!(second != *first && is_active(&world, &second).await && is_active(&world, first).await);

    // It never says what was true before the key was edited.
    let path = format!("/v1/api-keys/{id}");
    let edit = json!({ "scopes": ["read:tenants", "read:users", "write:users"] });
    assert_eq!(admin.patches(&path, &edit).await.status, StatusCode::OK);
    let wider = phantom(&world, &secret).await;
    assert_eq!(claims(&wider)["scope"], "read:tenants write:users");
    let edit = json!({ "scopes": ["read:tenants"] });
    assert_eq!(admin.patches(&path, &edit).await.status, StatusCode::OK);
    assert!(!is_active(&world, &wider).await);
    assert_eq!(claims(&phantom(&world, &secret).await)["scope"], "read:tenants");
    // The one that was made in the moment of the edit counts as made before it; it is not kept.
    world.server.passes(Duration::from_secs(3));
    let narrow = phantom(&world, &secret).await;
    assert!(is_active(&world, &narrow).await);
    assert_eq!(phantom(&world, &secret).await, narrow);

    // Two secrets of a key have two tokens, and each dies with its own.
    let rotated = admin.posts(&format!("{path}/rotate"), &json!({})).await;
    let newer = rotated.member("secret").to_owned();
    let of_the_newer = phantom(&world, &newer).await;
    assert_ne!(claims(&of_the_newer)["api_key_secret"], claims(&narrow)["api_key_secret"]);
    // The log may have said that copies of the key are stale; a token of the older secret is good all the same.
    let of_the_older = phantom(&world, &secret).await;
    assert_eq!(claims(&of_the_older)["api_key_secret"], claims(&narrow)["api_key_secret"]);
    assert_eq!(admin.deletes(&path).await.status, StatusCode::NO_CONTENT);
    for secret in [&secret, &newer] {
        let answer = asks_with(&world, "?upstream_token=jwt", secret).await;
        assert_refused(&answer, 401, "invalid_token");
    }
    assert!(!is_active(&world, &of_the_newer).await && !is_active(&world, &of_the_older).await);

    // A token is what it is. One that must be written down and can't be lets nobody in.
    let app = world.confidential_app().await;
    let own = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    assert_eq!(phantom(&world, &own).await, own);
    let api = format!("/v1/resource-servers/{}", world.api.id);
    let edited = admin.patches(&api, &json!({ "status_list": true })).await;
    assert_eq!(edited.status, StatusCode::OK);
    let (_, secret) = made(&admin, json!({})).await;
    assert!(claims(&phantom(&world, &secret).await)["status"]["status_list"].is_object());
    let (_, another) = made(&admin, json!({})).await;
    let db = world.server.app.db.writer();
    db.execute_unprepared("ALTER TABLE status_list_entries RENAME TO taken_away").await.unwrap();
    let answer = asks_with(&world, "?upstream_token=jwt", &another).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    phantom(&world, &secret).await;
}

/// The guide's nginx in front of an API that keeps what it is sent.
struct Gate {
    world: World,
    nginx: Nginx,
    api: Hook,
}

async fn gate() -> Option<Gate> {
    // Asked first: where nginx is missing, nothing else is needed.
    Nginx::binary()?;
    let server = Server::start_with(Database::Sqlite, |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()].into();
    });
    let world = World::around(server.await?).await;
    let api = Hook::open().await;
    let portcullis = world.server.address.strip_prefix("http://").unwrap();
    let upstream = api.url();
    let upstream = upstream.strip_prefix("http://").unwrap().strip_suffix("/hook").unwrap();
    let nginx = Nginx::starts(portcullis, upstream).await;
    Some(Gate { world, nginx, api })
}

impl Gate {
    async fn calls(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = http().post(self.nginx.url(path)).body("a body");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_lets_good_calls_through_with_our_headers_and_a_token() {
    let Some(mut gate) = gate().await else { return };
    let key = gate.world.api_key(&["read:tenants", "write:users"]).await;
    let bearer = format!("Bearer {}", key.secret);
    let spoofed: Vec<(&str, &str)> =
        HEADERS.iter().map(|name| (*name, "evil")).chain([("authorization", &*bearer)]).collect();
    let mut tokens = HashSet::new();
    for headers in [&[("authorization", &*bearer)][..], &spoofed] {
        let answer = gate.calls("/tenants?resource=evil&scope=evil", headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let seen = gate.api.next().await;
        assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", "a body"));
        let told = HEADERS.map(|name| seen.header(name).to_owned());
        let organization = gate.world.organization.to_string();
        let scopes = "read:tenants write:users";
        assert_eq!(told, [&*key.id, "", &*key.id, &*organization, "", scopes, "api_key"]);
        // The key stays outside: the API gets a token that any JWT library can check.
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
        assert!(is_active(&gate.world, &token).await);
        let keys = gate.world.server.app.signer.jwks().body;
        let keys = portcullis_verifier::KeySet::from_json(&keys).unwrap();
        let expected = portcullis_verifier::Expected {
            issuer: &gate.world.server.issuer,
            audience: Some(&gate.world.api.audience),
            leeway_seconds: 0,
        };
        let now = gate.world.server.app.clock.now().unix_seconds();
        let said = portcullis_verifier::verify_access_token(&token, &keys, &expected, now).unwrap();
        assert_eq!(said.sub, key.id);
        tokens.insert(token);
    }
    assert_eq!(tokens.len(), 1, "one token serves both calls");

    // An access token goes on as it is.
    let app = gate.world.confidential_app().await;
    let token = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
    let bearer = format!("Bearer {token}");
    assert_eq!(gate.calls("/tenants", &[("authorization", &bearer)]).await.status, StatusCode::OK);
    let seen = gate.api.next().await;
    assert_eq!((seen.header("authorization"), seen.header("x-auth-client")), (&*bearer, &*app.id));

    // The caller's address is the one that nginx saw, whatever the caller says of it.
    let admin = admin(&gate.world).await;
    let (_, bound) = made(&admin, json!({ "allowed_ips": ["127.0.0.2"] })).await;
    let there =
        reqwest::Client::builder().local_address("127.0.0.2".parse::<std::net::IpAddr>().unwrap());
    let there = there.build().unwrap();
    let answer = there.get(gate.nginx.url("/tenants")).bearer_auth(&bound).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let bearer = format!("Bearer {bound}");
    let here = [("authorization", &*bearer), ("x-forwarded-for", "127.0.0.2")];
    assert_eq!(gate.calls("/tenants", &here).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_refusals_on_and_nothing_reaches_the_api() {
    let Some(mut gate) = gate().await else { return };
    let admin = admin(&gate.world).await;
    let (id, secret) = made(&admin, json!({})).await;
    let bearer = format!("Bearer {secret}");
    let good = [("authorization", &*bearer)];

    let nobody = gate.calls("/tenants", &[]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert_eq!(nobody.header("www-authenticate"), "Bearer realm=\"portcullis\"");
    let wrong = gate.calls("/tenants", &[("authorization", "Bearer x")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.header("www-authenticate").contains("error=\"invalid_token\""), "{wrong:?}");
    // This path requires more than the key may do.
    assert_eq!(gate.calls("/tenants/new", &good).await.status, StatusCode::FORBIDDEN);
    // Nobody asks from outside.
    assert_eq!(gate.calls("/auth/read-tenants", &good).await.status, StatusCode::NOT_FOUND);
    let limited = made(&admin, json!({ "requests_per_minute": 1 })).await.1;
    let limited = format!("Bearer {limited}");
    let limited = [("authorization", &*limited)];
    assert_eq!(gate.calls("/tenants", &limited).await.status, StatusCode::OK);
    gate.api.next().await;
    let often = gate.calls("/tenants", &limited).await;
    assert_eq!(often.status, StatusCode::TOO_MANY_REQUESTS, "{often:?}");
    assert!(!often.header("retry-after").is_empty(), "{often:?}");

    // A key is refused from the answer to its revocation on.
    assert_eq!(gate.calls("/tenants", &good).await.status, StatusCode::OK);
    gate.api.next().await;
    assert_eq!(admin.deletes(&format!("/v1/api-keys/{id}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(gate.calls("/tenants", &good).await.status, StatusCode::UNAUTHORIZED);

    assert_eq!(gate.api.waiting(), 0, "what was refused reached the API");

    // Where we are away, nobody gets in.
    let Gate { world, nginx, api: _api } = gate;
    let key = world.api_key(&["admin"]).await.secret;
    drop(world);
    eventually(async || {
        let call = http().get(nginx.url("/tenants")).bearer_auth(&key).send().await.unwrap();
        call.status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
}

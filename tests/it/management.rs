//! The manners of the management API that all of its endpoints share, seen at projects and API keys.

use std::time::Duration;

use futures::future::join_all;
use portcullis::tenancy::Role;
use reqwest::{Method, RequestBuilder, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::{http, introspect};
use crate::harness::{Answer, Database, Person, World};

const PROJECTS: &str = "/v1/projects";
const KEYS: &str = "/v1/api-keys";

fn request(world: &World, method: Method, path: &str, credential: &str) -> RequestBuilder {
    http().request(method, world.server.url(path)).bearer_auth(credential)
}

async fn sent(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

async fn gets(world: &World, path: &str, credential: &str) -> Answer {
    sent(request(world, Method::GET, path, credential)).await
}

async fn posts(world: &World, path: &str, credential: &str, body: &Value) -> Answer {
    sent(request(world, Method::POST, path, credential).json(body)).await
}

async fn project(world: &World, name: &str) -> String {
    let admin = world.api_key(&["write:projects"]).await;
    let made = posts(world, PROJECTS, &admin.secret, &json!({ "name": name })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.member("id").to_owned()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_sent_again_is_made_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["admin"]).await.secret;
    let makes = async |key: &str, credential: &str, name: &str| {
        let body = json!({ "name": name });
        let request = request(&world, Method::POST, PROJECTS, credential).json(&body);
        sent(request.header("idempotency-key", key)).await
    };
    let answers = join_all((0..8).map(|_| makes("k1", &admin, "Billing"))).await;
    let ids: Vec<&str> = answers.iter().map(|answer| answer.member("id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(answers.iter().all(|answer| answer.status == StatusCode::CREATED));
    let replayed = |answer: &&Answer| answer.header("idempotency-replayed") == "true";
    assert_eq!(answers.iter().filter(replayed).count(), 7, "{answers:?}");
    assert_eq!(gets(&world, PROJECTS, &admin).await.json["items"].as_array().unwrap().len(), 1);

    let other = makes("k1", &admin, "Shipping").await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    let somebody_else = world.api_key(&["admin"]).await.secret;
    let theirs = makes("k1", &somebody_else, "Billing").await;
    assert_ne!(theirs.member("id"), ids[0], "keys are the caller's own");

    // What was refused was not made, and may be mended under the same key.
    assert_eq!(makes("k2", &admin, "").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(makes("k2", &admin, "Mended").await.status, StatusCode::CREATED);

    world.server.passes(Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(makes("k1", &admin, "Billing").await.member("id"), ids[0]);
    world.server.passes(Duration::from_secs(1));
    assert_ne!(makes("k1", &admin, "Billing").await.member("id"), ids[0]);

    for key in ["", &"k".repeat(256), "k 1", "k\u{e9}"] {
        let body = json!({ "name": "x" });
        let request = request(&world, Method::POST, PROJECTS, &admin).json(&body);
        let value = reqwest::header::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        let refused = sent(request.header("idempotency-key", value)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{key}: {refused:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_the_first_answer_only(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["admin"]).await.secret;
    let makes = async || {
        let body = json!({ "name": "ci", "scopes": ["read:tenants"] });
        let request = request(&world, Method::POST, KEYS, &admin).json(&body);
        sent(request.header("idempotency-key", "once")).await
    };
    let (first, second) = (makes().await, makes().await);
    let secret = first.member("secret").to_owned();
    assert_eq!((second.status, &second.json["secret"]), (StatusCode::CREATED, &Value::Null));
    let mut without = first.json.clone();
    without.as_object_mut().unwrap().remove("secret");
    assert_eq!(second.json, without);
    let told = introspect(&world.server, &world.credential, &secret).await;
    assert_eq!(told.json["active"], true, "{told:?}");

    // What was kept of it leaves with its day.
    let kept = async || {
        use sea_orm::{EntityTrait as _, PaginatorTrait as _};
        let found = entity::idempotency_key::Entity::find();
        found.count(world.server.app.db.reader()).await.unwrap()
    };
    portcullis::janitor::sweep(&world.server.app).await;
    assert_eq!(kept().await, 1);
    world.server.passes(Duration::from_secs(24 * 60 * 60));
    portcullis::janitor::sweep(&world.server.app).await;
    assert_eq!(kept().await, 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_editors_do_not_overwrite_one_another(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["admin"]).await.secret;
    let path = format!("{PROJECTS}/{}", project(&world, "Billing").await);
    let edits = async |name: &str, tag: Option<&str>| {
        let mut request =
            request(&world, Method::PATCH, &path, &admin).json(&json!({ "name": name }));
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        sent(request).await
    };
    let read = gets(&world, &path, &admin).await;
    let tag = read.header("etag").to_owned();
    assert!(!tag.is_empty(), "{read:?}");
    let answers = join_all((0..6).map(|_| edits("One of six", Some(&tag)))).await;
    let done = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    let stale =
        answers.iter().filter(|answer| answer.status == StatusCode::PRECONDITION_FAILED).count();
    assert_eq!((done, stale), (1, 5), "{answers:?}");
    let now = gets(&world, &path, &admin).await;
    assert_ne!(now.header("etag"), tag);
    for never_given in ["\"99\"", "\"x\"", "1", "W/\"2\"", "\"1\", \"2\"", ""] {
        let refused = edits("Overwritten", Some(never_given)).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{never_given}: {refused:?}");
    }
    assert_eq!(gets(&world, &path, &admin).await.member("name"), "One of six");
    assert_eq!(edits("Current", Some(now.header("etag"))).await.status, StatusCode::OK);
    assert_eq!(edits("Any", Some("*")).await.status, StatusCode::OK);
    let last = edits("Whatever it is", None).await;
    assert_eq!((last.status, last.member("name")), (StatusCode::OK, "Whatever it is"));
    // A version of what is not there is no version.
    let nowhere = format!("{PROJECTS}/prj_01h455vb4pex5vsknk084sn02q");
    let body = json!({ "name": "x" });
    let request = request(&world, Method::PATCH, &nowhere, &admin).json(&body);
    assert_eq!(sent(request.header("if-match", "\"1\"")).await.status, StatusCode::NOT_FOUND);
}

/// A call from a person's browser.
async fn from_browser(
    person: &Person,
    world: &World,
    method: Method,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = person.browser.request(method.clone(), world.server.url(PROJECTS));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method == Method::POST {
        request = request.json(&json!({ "name": "From a browser" }));
    }
    sent(request).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_browser_works_as_well(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = &world.owner;
    let nobody = from_browser(owner, &world, Method::GET, &[]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{nobody:?}");
    owner.logs_in().await;
    let made = from_browser(owner, &world, Method::POST, &[]).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let own = [("sec-fetch-site", "same-origin"), ("origin", world.server.issuer.as_str())];
    let made = from_browser(owner, &world, Method::POST, &own).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    for elsewhere in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        let refused = from_browser(owner, &world, Method::POST, elsewhere).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{elsewhere:?}: {refused:?}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
    }
    // A credential that is no good is not made good by the cookie beside it.
    let refused =
        from_browser(owner, &world, Method::GET, &[("authorization", "Bearer nonsense")]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");

    let viewer = world.member("vic@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    assert_eq!(from_browser(&viewer, &world, Method::GET, &[]).await.status, StatusCode::OK);
    let refused = from_browser(&viewer, &world, Method::POST, &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.header("www-authenticate").contains("scope=\"write:projects\""), "{refused:?}");
    let stranger = world.stranger("sam@example.com").await;
    stranger.logs_in().await;
    let refused = from_browser(&stranger, &world, Method::GET, &[]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");
    let ours = world.organization.to_string();
    let named = [("portcullis-organization", ours.as_str())];
    let refused = from_browser(&stranger, &world, Method::GET, &named).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");

    owner.posts("/logout", &[]).await;
    let gone = from_browser(owner, &world, Method::GET, &[]).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn somebody_in_several_organizations_names_the_one_that_is_meant(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let elsewhere = world.second_organization("Elsewhere", Role::Viewer).await.to_string();
    let owner = &world.owner;
    owner.logs_in().await;
    let unnamed = from_browser(owner, &world, Method::GET, &[]).await;
    assert_eq!(unnamed.status, StatusCode::BAD_REQUEST, "{unnamed:?}");
    let ours = world.organization.to_string();
    let here = [("portcullis-organization", ours.as_str())];
    let there = [("portcullis-organization", elsewhere.as_str())];
    let made = from_browser(owner, &world, Method::POST, &here).await;
    assert_eq!((made.status, made.member("organization")), (StatusCode::CREATED, ours.as_str()));
    let seen = from_browser(owner, &world, Method::GET, &there).await;
    assert_eq!(seen.json["items"], json!([]), "{seen:?}");
    let refused = from_browser(owner, &world, Method::POST, &there).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "a viewer there: {refused:?}");
    for unknown in ["org_01h455vb4pex5vsknk084sn02q", "nonsense", ""] {
        let headers = [("portcullis-organization", unknown)];
        let refused = from_browser(owner, &world, Method::GET, &headers).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{unknown}: {refused:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_confined_to_a_project_sees_that_project_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["admin"]).await;
    let (billing, shipping) = (project(&world, "Billing").await, project(&world, "Shipping").await);
    let make = |project: &str, scopes: &[&str]| json!({ "name": "x", "scopes": scopes, "project": project });
    let made = posts(&world, KEYS, &admin.secret, &make(&billing, &["admin"])).await;
    assert_eq!((made.status, made.member("project")), (StatusCode::CREATED, billing.as_str()));
    let confined = made.member("secret");
    let told = introspect(&world.server, &world.credential, confined).await;
    assert_eq!(told.json["project"], billing.as_str());
    let other = posts(&world, KEYS, &admin.secret, &make(&shipping, &["read:tenants"])).await;

    let seen = gets(&world, KEYS, confined).await;
    let ids: Vec<&str> = seen.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [made.member("id")]);
    let elsewhere = gets(&world, &format!("{KEYS}?project={shipping}"), confined).await;
    assert_eq!(elsewhere.json["items"], json!([]));
    for hidden in [other.member("id"), &admin.id] {
        let path = format!("{KEYS}/{hidden}");
        assert_eq!(gets(&world, &path, confined).await.status, StatusCode::NOT_FOUND);
        let revoked = sent(request(&world, Method::DELETE, &path, confined)).await;
        assert_eq!(revoked.status, StatusCode::NOT_FOUND);
    }
    let projects = gets(&world, PROJECTS, confined).await;
    assert_eq!(projects.json["items"].as_array().unwrap().len(), 1, "{projects:?}");
    let path = format!("{PROJECTS}/{shipping}");
    assert_eq!(gets(&world, &path, confined).await.status, StatusCode::NOT_FOUND);
    let refused = posts(&world, PROJECTS, confined, &json!({ "name": "x" })).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    // What it makes is confined as it is itself, whatever it asks for.
    for asked in [json!({ "name": "y", "scopes": ["read:tenants"] }), make(&shipping, &["read"])] {
        let made = posts(&world, KEYS, confined, &asked).await;
        assert_eq!(made.member("project"), billing, "{made:?}");
    }

    let foreign =
        posts(&world, KEYS, &admin.secret, &make("prj_01h455vb4pex5vsknk084sn02q", &["read"]))
            .await;
    assert_eq!(foreign.status, StatusCode::UNPROCESSABLE_ENTITY, "{foreign:?}");
    assert_eq!(foreign.json["errors"][0]["field"], "project");

    // The project's end is theirs.
    let path = format!("{PROJECTS}/{billing}");
    let gone = sent(request(&world, Method::DELETE, &path, &admin.secret)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{gone:?}");
    let told = introspect(&world.server, &world.credential, confined).await;
    assert_eq!(told.json["active"], false);
    assert_eq!(gets(&world, KEYS, confined).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(gets(&world, &path, &admin.secret).await.status, StatusCode::NOT_FOUND);
    let alive = introspect(&world.server, &world.credential, other.member("secret")).await;
    assert_eq!(alive.json["active"], true, "a sibling lives on");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_handed_over_with_one_call(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = world.api_key(&["admin"]).await;
    let bob = world.member("bob@example.com", Role::Admin).await;
    let vic = world.member("vic@example.com", Role::Viewer).await;
    let sam = world.stranger("sam@example.com").await;
    let id = |person: Person| {
        let server = &world.server;
        async move { person.id(server).await.to_string() }
    };
    let key = world.api_key_of(&bob, Role::Admin, &["write:tenants"], None).await;
    let (bob_id, vic_id, sam_id) =
        (bob.id(&world.server).await.to_string(), id(vic).await, id(sam).await);
    let path = format!("{KEYS}/{}/hand-over", key.id);
    let hands = async |credential: &str, to: &str| {
        posts(&world, &path, credential, &json!({ "owner": to })).await
    };
    let worth = async || {
        introspect(&world.server, &world.credential, &key.secret).await.json["scope"].clone()
    };
    assert_eq!(worth().await, "write:tenants");

    let given = hands(&admin.secret, &vic_id).await;
    assert_eq!((given.status, given.member("owner")), (StatusCode::OK, vic_id.as_str()));
    assert_eq!(given.member("created_by"), bob_id);
    assert_eq!(worth().await, "read:tenants", "a viewer's role bounds it now");
    let ours = world.organization.to_string();
    assert_eq!(hands(&admin.secret, &ours).await.member("owner"), ours);
    assert_eq!(worth().await, "write:tenants");
    // The first maker's end is no longer the key's.
    world.puts(&bob, None).await;
    assert_eq!(worth().await, "write:tenants");

    for nobody in [&bob_id, &sam_id, "usr_01h455vb4pex5vsknk084sn02q", "nonsense", ""] {
        let refused = hands(&admin.secret, nobody).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{nobody}: {refused:?}");
        assert_eq!(refused.json["errors"][0]["field"], "owner");
    }
    let writer = world.api_key(&["write:api-keys"]).await;
    assert_eq!(hands(&writer.secret, &vic_id).await.status, StatusCode::FORBIDDEN);
    // Who may do less than the key was made for can't make it worth that again.
    let narrow = world.api_key(&["admin:api-keys"]).await;
    assert_eq!(hands(&narrow.secret, &ours).await.status, StatusCode::FORBIDDEN);
    let path = format!("{KEYS}/{}", key.id);
    sent(request(&world, Method::DELETE, &path, &admin.secret)).await;
    assert_eq!(hands(&admin.secret, &vic_id).await.status, StatusCode::CONFLICT);
}

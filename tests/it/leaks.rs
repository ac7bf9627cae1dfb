//! Leaked credentials: ended by whoever holds them, reported by GitHub, and nothing is said to anyone but the owners.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entity::{ApiKeyId, OrganizationId, alert, audit_event, credential_report, organization};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::{Value, json};

use crate::alerts::{events, raised, telling, world_with};
use crate::harness::actors::{claims, http, introspect};
use crate::harness::caller::wrong_fields;
use crate::harness::world::Key;
use crate::harness::{Answer, Caller, Database, Hook, Mailbox, Server, World, eventually};
use crate::invitations::trail;

const REVOKE: &str = "/v1/credentials:revoke";
const GITHUB: &str = "/v1/secret-scanning/github";

async fn reports(server: &Server, credentials: &[&str]) -> Answer {
    let body = json!({ "credentials": credentials });
    Answer::of(http().post(server.url(REVOKE)).json(&body).send().await.unwrap()).await
}

async fn is_active(world: &World, credential: &str) -> bool {
    let asked = introspect(&world.server, &world.credential, credential).await;
    asked.json["active"].as_bool().unwrap()
}

/// Until every report was worked on.
async fn all_is_done(world: &World) {
    let db = world.server.app.db.reader();
    eventually(async || credential_report::Entity::find().count(db).await.unwrap() == 0).await;
    world.server.app.revocations.catch_up().await;
}

// By possession

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_credential_ends_it_and_its_owner_is_told(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let key = world.api_key(&["read:tenants"]).await;
    let bystander = world.api_key(&["read:tenants"]).await;
    let app = world.confidential_app().await;
    let code = world.owner.approves(&app, "read:tenants").await;
    let by_token = app.redeems(&code).await;
    let code = world.owner.approves_again(&app, "read:tenants").await;
    let by_grant = app.redeems(&code).await;
    let leaked = [
        key.secret.as_str(),
        by_token.member("access_token"),
        by_grant.member("refresh_token"),
        "nonsense",
    ];
    let answer = reports(&world.server, &leaked).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::ACCEPTED, ""), "{answer:?}");
    all_is_done(&world).await;

    assert!(!is_active(&world, &key.secret).await);
    assert!(!is_active(&world, by_token.member("access_token")).await);
    assert!(!is_active(&world, by_grant.member("access_token")).await, "its grant is ended");
    let refused = app.refreshes(by_grant.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
    // What was not reported lives: another key, and the grant whose access token alone leaked.
    assert!(is_active(&world, &bystander.secret).await);
    assert_eq!(app.refreshes(by_token.member("refresh_token")).await.status, StatusCode::OK);

    assert_eq!(events(&world, &key.id).await, ["api_key.leaked", "api_key.revoked"]);
    let token = claims(by_token.member("access_token"));
    let token = token["jti"].as_str().unwrap();
    assert_eq!(events(&world, token).await, ["access_token.leaked", "access_token.revoked"]);
    let grant = claims(by_grant.member("access_token"));
    let grant = grant["grant"].as_str().unwrap();
    assert_eq!(events(&world, grant).await, ["grant.ended", "grant.leaked"]);
    let by_nobody =
        |(action, actor): &(String, String)| action != "api_key.created" && actor == "anonymous";
    assert_eq!(trail(&world, &key.id).await.iter().filter(|it| by_nobody(it)).count(), 2);
    let mut subjects = Vec::new();
    for _ in 0..3 {
        let mail = mailbox.next().await;
        assert_eq!(mail.to, ["ada@example.com"]);
        assert!(leaked.iter().all(|secret| !mail.text.contains(secret)), "{}", mail.text);
        subjects.push(mail.header("subject").to_owned());
    }
    subjects.sort();
    let expected =
        ["A refresh token has leaked", "API key script has leaked", "An access token has leaked"];
    assert_eq!(subjects, expected);
    let reason = entity::api_key::Entity::find_by_id(key.id.parse::<ApiKeyId>().unwrap());
    let row = reason.one(world.server.app.db.reader()).await.unwrap().unwrap();
    assert_eq!(row.revoked_reason.as_deref(), Some("leaked, reported by possession"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_applications_and_credentials_of_apis_end_too(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world_with(database, Some(&Mailbox::open().await), None).await else {
        return;
    };
    let app = world.confidential_app().await;
    let bystander = world.confidential_app().await;
    let (api, credential) =
        world.second_api("https://second.example.com", portcullis::signing::Algorithm::Es256).await;
    let key = world.api_key(&["read:tenants"]).await;
    assert_eq!(app.acts_for_itself("read:tenants").await.status, StatusCode::OK);
    let asks = async || introspect(&world.server, &credential, &key.secret).await;
    assert_eq!(asks().await.json["active"], true);
    reports(&world.server, &[app.secret.as_deref().unwrap(), &credential]).await;
    all_is_done(&world).await;
    let refused = app.acts_for_itself("read:tenants").await;
    assert_eq!(refused.refusal(), "401 invalid_client");
    assert_eq!(asks().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bystander.acts_for_itself("read:tenants").await.status, StatusCode::OK);
    assert!(is_active(&world, &key.secret).await, "the other API asks on");
    assert_eq!(
        events(&world, &app.id).await,
        ["client.registered", "client.secret_leaked", "client.secret_removed"]
    );
    assert_eq!(
        events(&world, &api.id.to_string()).await,
        ["resource_server.credential_leaked", "resource_server.credential_removed"]
    );
    assert_eq!(raised(&world, "client.secret_leaked").await, 1);
    // The application lives on with a new secret.
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let added = admin.posts(&format!("/v1/clients/{}/secrets", app.id), &json!({})).await;
    assert_eq!(added.status, StatusCode::CREATED, "{added:?}");
    let renewed = crate::harness::Application::new(
        &world.server,
        app.id.clone(),
        Some(added.member("client_secret").to_owned()),
        app.redirect_uri.clone(),
    );
    assert_eq!(renewed.acts_for_itself("read:tenants").await.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_in_its_grace_ends_the_key_and_one_that_is_over_does_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let key = world.api_key(&["read:tenants"]).await;
    let path = format!("/v1/api-keys/{}/rotate", key.id);
    let second = admin.posts(&path, &json!({ "grace_seconds": 0 })).await;
    let second = second.member("secret").to_owned();
    let third = admin.posts(&path, &json!({ "grace_seconds": 60 })).await;
    let third = third.member("secret").to_owned();
    reports(&world.server, &[&key.secret]).await;
    all_is_done(&world).await;
    assert!(is_active(&world, &second).await && is_active(&world, &third).await);
    reports(&world.server, &[&second]).await;
    all_is_done(&world).await;
    assert!(!is_active(&world, &second).await && !is_active(&world, &third).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_says_nothing_about_what_was_real(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let key = world.api_key(&["read:tenants"]).await;
    let mut unreal = key.secret.clone();
    unreal.replace_range(12..13, if &unreal[12..13] == "a" { "b" } else { "a" });
    let sound = {
        use secrecy::ExposeSecret as _;
        let prefix = "pc_live".parse().unwrap();
        portcullis_verifier::key::generate(&prefix).unwrap().expose_secret().to_owned()
    };
    let long = "x".repeat(4096);
    let headers = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (answer.status, headers, answer.text.clone())
    };
    let first = reports(&world.server, &[&key.secret]).await;
    for texts in [
        &[unreal.as_str()][..],
        &[&sound],
        &["a.b.c", "pc_rt_abc", " ", "\u{0}", "🔑"],
        &[&long],
        // Once more: it has ended, and is told of no more.
        &[&key.secret, &format!(" {}\n", key.secret)],
    ] {
        let answer = reports(&world.server, texts).await;
        assert_eq!(headers(&answer), headers(&first), "{texts:?}");
    }
    all_is_done(&world).await;
    assert_eq!(events(&world, &key.id).await, ["api_key.leaked", "api_key.revoked"]);
    assert_eq!(raised(&world, "api_key.leaked").await, 1);
    // A credential that is sent along is not looked at.
    for authorization in ["Bearer nonsense".to_owned(), format!("Bearer {sound}")] {
        let request = http().post(world.server.url(REVOKE)).header("authorization", authorization);
        let answer =
            Answer::of(request.json(&json!({ "credentials": ["x"] })).send().await.unwrap());
        assert_eq!(headers(&answer.await), headers(&first));
    }
    // Nothing of what was reported is kept but its digest.
    world.server.app.reports.wake();
    let rows = audit_event::Entity::find().all(world.server.app.db.reader()).await.unwrap();
    assert!(rows.iter().all(|row| !format!("{row:?}").contains(&key.secret)));
    let rows = alert::Entity::find().all(world.server.app.db.reader()).await.unwrap();
    assert!(rows.iter().all(|row| !format!("{row:?}").contains(&key.secret)));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_credentials_fit_and_what_is_more_is_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let mut keys = Vec::new();
    for _ in 0..120 {
        keys.push(world.api_key(&["read:tenants"]).await.secret);
    }
    let filler = "x".repeat(900);
    let mut texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    texts.resize(1000, &filler);
    assert_eq!(reports(&world.server, &texts).await.status, StatusCode::ACCEPTED);
    all_is_done(&world).await;
    for key in &keys {
        assert!(!is_active(&world, key).await);
    }
    texts.push("x");
    assert_eq!(wrong_fields(&reports(&world.server, &texts).await), ["credentials"]);
    assert_eq!(wrong_fields(&reports(&world.server, &[]).await), ["credentials"]);
    let long = "x".repeat(4097);
    assert_eq!(wrong_fields(&reports(&world.server, &["x", &long]).await), ["credentials[1]"]);
    assert_eq!(wrong_fields(&reports(&world.server, &[""]).await), ["credentials[0]"]);
    let sends = async |kind: &str, body: String| {
        let request = http().post(world.server.url(REVOKE)).header("content-type", kind);
        Answer::of(request.body(body).send().await.unwrap()).await
    };
    let json = "application/json";
    for (body, status) in [
        ("{}", 422),
        ("[]", 422),
        (r#"{"credentials":"x"}"#, 422),
        (r#"{"credentials":[1]}"#, 422),
        (r#"{"credentials":["x"],"more":1}"#, 422),
        ("", 400),
        ("{", 400),
    ] {
        let answer = sends(json, body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
        assert!(answer.header("content-type").starts_with("application/problem+json"));
    }
    assert_eq!(sends("text/plain", "{}".to_owned()).await.status.as_u16(), 415);
    let huge = json!({ "credentials": vec!["x".repeat(4000); 300] }).to_string();
    let answer = sends(json, huge).await;
    assert_eq!(answer.status.as_u16(), 413, "{answer:?}");
    assert!(answer.member("detail").contains("1024 KiB"), "{answer:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn reports_are_limited_by_address(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    for _ in 0..60 {
        assert_eq!(reports(&world.server, &["x"]).await.status, StatusCode::ACCEPTED);
    }
    let refused = reports(&world.server, &["x"]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert!(refused.header("content-type").starts_with("application/problem+json"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_took_and_did_not_do_is_done(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["read:tenants"]).await;
    let app = &world.server.app;
    // As a process leaves it that ends between its answer and the work: nobody is woken.
    let reported = portcullis::leaks::recognized(
        [key.secret.as_str()].into_iter(),
        &app.refresh_tokens,
        &[],
        |_| None,
    );
    let source = portcullis::audit::Source::default();
    portcullis::leaks::accept(&app.db, app.clock.now(), &source, &reported).await.unwrap();
    eventually(async || !is_active(&world, &key.secret).await).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_one_ends_and_tells(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let other = world.server.beside_with(telling(Some(&mailbox), None)).await;
    let keys = futures::future::join_all((0..10).map(|_| world.api_key(&["read:tenants"]))).await;
    let secrets: Vec<&str> = keys.iter().map(|key| key.secret.as_str()).collect();
    let calls =
        (0..8).map(|at| reports(if at % 2 == 0 { &world.server } else { &other }, &secrets));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    all_is_done(&world).await;
    for key in &keys {
        assert_eq!(events(&world, &key.id).await, ["api_key.leaked", "api_key.revoked"]);
    }
    assert_eq!(raised(&world, "api_key.leaked").await, 10);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_decoy_that_is_reported_rings_and_goes_on_watching(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let wanted = json!({ "name": "backup", "scopes": ["read"], "is_decoy": true });
    let made = admin.posts("/v1/api-keys", &wanted).await;
    reports(&world.server, &[made.member("secret")]).await;
    all_is_done(&world).await;
    assert_eq!(events(&world, made.member("id")).await, ["api_key.decoy_used"]);
    let read = admin.gets(&format!("/v1/api-keys/{}", made.member("id"))).await;
    assert_eq!(read.json["status"], "active");
}

// GitHub

/// GitHub, with a key pair of its own and its list of public keys.
struct Github {
    pair: EcdsaKeyPair,
    keys: Hook,
}

const KEY: &str = "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d";

impl Github {
    async fn open() -> Self {
        let this = Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            keys: Hook::open().await,
        };
        this.publishes(KEY);
        this
    }

    /// Lists its key under that name.
    fn publishes(&self, identifier: &str) {
        let mut der = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
        der.extend_from_slice(self.pair.public_key().as_ref());
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        let list = json!({ "public_keys": [
            { "key_identifier": identifier, "key": pem, "is_current": true },
        ]});
        self.keys.answers(200, &[("etag", "\"1\"")], &list.to_string());
    }

    fn settings<'a>(
        &'a self,
        mailbox: Option<&'a Mailbox>,
    ) -> impl FnOnce(&mut portcullis::config::Settings) {
        let (url, others) = (self.keys.url(), telling(mailbox, None));
        move |settings| {
            settings.secret_scanning.github = true;
            settings.secret_scanning.github_keys_url = url;
            others(settings);
        }
    }

    async fn world(&self, database: Database, mailbox: Option<&Mailbox>) -> Option<World> {
        let server = Server::start_with(database, self.settings(mailbox)).await?;
        Some(World::around(server).await)
    }

    fn signature(&self, body: &str) -> String {
        STANDARD.encode(self.pair.sign(&SystemRandom::new(), body.as_bytes()).unwrap())
    }

    /// Reports what it found.
    async fn reports(&self, server: &Server, found: &Value) -> Answer {
        let body = found.to_string();
        let signature = self.signature(&body);
        sends(server, Some(KEY), Some(&signature), body).await
    }
}

async fn sends(
    server: &Server,
    identifier: Option<&str>,
    signature: Option<&str>,
    body: String,
) -> Answer {
    let mut request = http().post(server.url(GITHUB)).header("content-type", "application/json");
    if let Some(identifier) = identifier {
        request = request.header("Github-Public-Key-Identifier", identifier);
    }
    if let Some(signature) = signature {
        request = request.header("Github-Public-Key-Signature", signature);
    }
    Answer::of(request.body(body).send().await.unwrap()).await
}

fn found(key: &Key, url: &str) -> Value {
    json!({ "token": key.secret, "type": "portcullis_api_key", "url": url, "source": "Content" })
}

async fn sets_policy(world: &World, organization: OrganizationId, policy: &str) {
    organization::Entity::update_many()
        .col_expr(organization::Column::LeakPolicy, Expr::value(policy))
        .filter(organization::Column::Id.eq(organization))
        .exec(world.server.app.db.writer())
        .await
        .unwrap();
}

fn sha256(text: &str) -> String {
    let digest = portcullis_verifier::key::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn scope_of(world: &World, key: &Key) -> Value {
    introspect(&world.server, &world.credential, &key.secret).await.json["scope"].clone()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn github_is_told_which_are_ours_and_by_default_the_owner_is_told_and_nothing_ends(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let github = Github::open().await;
    let mut mailbox = Mailbox::open().await;
    let Some(world) = github.world(database, Some(&mailbox)).await else { return };
    let key = world.api_key(&["write:tenants"]).await;
    let url = "https://github.com/eve/repo/blob/123/config.py";
    let others = [
        json!({ "token": "some_token", "type": "some_type", "url": "", "source": "" }),
        json!({ "token": "pc_live_x", "type": "some_type" }),
        json!({ "token": "", "type": "", "url": "x", "source": "Never_heard_of", "new": { "a": 1 } }),
    ];
    let mut report = vec![found(&key, url)];
    report.extend(others);
    let answer = github.reports(&world.server, &json!(report)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let labels = |label: &str, token: &str, kind: &str| json!({ "token_hash": sha256(token), "token_type": kind, "label": label });
    let expected = json!([
        labels("true_positive", &key.secret, "portcullis_api_key"),
        labels("false_positive", "some_token", "some_type"),
        labels("false_positive", "pc_live_x", "some_type"),
        labels("false_positive", "", ""),
    ]);
    assert_eq!(answer.json, expected);
    assert!(is_active(&world, &key.secret).await);
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert!(mail.text.contains("GitHub") && mail.text.contains("It still works"), "{}", mail.text);
    assert!(
        mail.text.contains("github com eve repo") && !mail.text.contains("github.com"),
        "{}",
        mail.text
    );
    assert!(!mail.text.contains(&key.secret));

    // The same again is no news; another place is.
    for (url, told) in [(url, 1), ("https://github.com/eve/other", 2), (url, 2)] {
        let again =
            github.reports(&world.server, &json!([found(&key, url), found(&key, url)])).await;
        assert_eq!(again.json.as_array().unwrap().len(), 2);
        assert_eq!(again.json[0], expected[0]);
        assert_eq!(events(&world, &key.id).await, vec!["api_key.leaked"; told], "{url}");
    }
    let event = audit_event::Entity::find()
        .filter(audit_event::Column::Action.eq("api_key.leaked"))
        .one(world.server.app.db.reader());
    let event = event.await.unwrap().unwrap();
    let detail: Value = serde_json::from_str(event.detail.as_deref().unwrap()).unwrap();
    let expected =
        json!({ "reported_by": "github", "url": url, "source": "content", "done": "nothing" });
    assert_eq!((detail, event.actor.as_str()), (expected, "anonymous"));
    assert_eq!(github.reports(&world.server, &json!([])).await.json, json!([]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_organization_has_its_own_policy(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let github = Github::open().await;
    let Some(world) = github.world(database, Some(&Mailbox::open().await)).await else { return };
    let owner = &world.owner;
    let narrowing = world.second_organization("Narrowing", Role::Owner).await;
    let revoking = world.second_organization("Revoking", Role::Owner).await;
    sets_policy(&world, narrowing, "narrow").await;
    sets_policy(&world, revoking, "revoke").await;
    let told = world.api_key(&["write:tenants"]).await;
    let makes = async |organization, scopes: &[&str]| {
        world.api_key_in(organization, owner, Role::Owner, scopes, None).await
    };
    let narrowed = makes(narrowing, &["write:tenants/eu/*", "read:users"]).await;
    let admin = makes(narrowing, &["admin"]).await;
    let reader = makes(narrowing, &["read:tenants"]).await;
    let revoked = makes(revoking, &["read:tenants"]).await;
    let keys = [&told, &narrowed, &admin, &reader, &revoked];
    assert_eq!(scope_of(&world, &narrowed).await, "read:users write:tenants/eu/*");
    let report: Vec<Value> = keys.map(|key| found(key, "https://github.com/x")).to_vec();
    for _ in 0..2 {
        let answer = github.reports(&world.server, &json!(report)).await;
        assert!(answer.json.as_array().unwrap().iter().all(|it| it["label"] == "true_positive"));
        // In force when it is answered.
        assert_eq!(scope_of(&world, &told).await, "write:tenants");
        assert_eq!(scope_of(&world, &narrowed).await, "read:tenants/eu/* read:users");
        assert_eq!(scope_of(&world, &reader).await, "read:tenants");
        assert!(!is_active(&world, &revoked.secret).await);
        let lists = Caller::with(&world.server, &admin.secret);
        assert_eq!(lists.gets("/v1/api-keys").await.status, StatusCode::OK);
        let refused = lists.posts("/v1/projects", &json!({ "name": "x" })).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    }
    assert_eq!(events(&world, &told.id).await, ["api_key.leaked"]);
    assert_eq!(events(&world, &narrowed.id).await, ["api_key.leaked", "api_key.narrowed"]);
    assert_eq!(events(&world, &reader.id).await, ["api_key.leaked"]);
    assert_eq!(events(&world, &revoked.id).await, ["api_key.leaked", "api_key.revoked"]);
    assert_eq!(raised(&world, "api_key.leaked").await, 5);
    // Another place is told of while the key lives.
    let elsewhere =
        [found(&narrowed, "https://github.com/y"), found(&revoked, "https://github.com/y")];
    github.reports(&world.server, &json!(elsewhere)).await;
    assert_eq!(raised(&world, "api_key.leaked").await, 6);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_read_nothing_is_revoked_where_it_should_be_narrowed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let github = Github::open().await;
    let Some(world) = github.world(database, None).await else { return };
    sets_policy(&world, world.organization, "narrow").await;
    let key = world.api_key(&["read:tenants"]).await;
    // A verb beside the ladder, which the catalog of the tests does not offer.
    let id: ApiKeyId = key.id.parse().unwrap();
    entity::api_key::Entity::update_many()
        .col_expr(entity::api_key::Column::Scopes, Expr::value("ingest:events"))
        .filter(entity::api_key::Column::Id.eq(id))
        .exec(world.server.app.db.writer())
        .await
        .unwrap();
    github.reports(&world.server, &json!([found(&key, "")])).await;
    assert_eq!(events(&world, &key.id).await, ["api_key.leaked", "api_key.revoked"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_github_did_not_sign_does_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let github = Github::open().await;
    let Some(world) = github.world(database, None).await else { return };
    sets_policy(&world, world.organization, "revoke").await;
    let key = world.api_key(&["read:tenants"]).await;
    let body = json!([found(&key, "https://github.com/x")]).to_string();
    let good = github.signature(&body);
    let other = Github::open().await.signature(&body);
    let spaced = format!("{body}\n");
    for (identifier, signature, body, status) in [
        (None, Some(good.as_str()), &body, 400),
        (Some(KEY), None, &body, 400),
        (Some(KEY), Some("%%%"), &body, 400),
        (Some(KEY), Some(&*"A".repeat(300)), &body, 400),
        (Some(&*"a".repeat(200)), Some(&good), &body, 400),
        (Some(KEY), Some(""), &body, 401),
        (Some(KEY), Some("MAYCAQACAQA="), &body, 401),
        (Some(KEY), Some(&other), &body, 401),
        (Some(KEY), Some(&good), &spaced, 401),
        (Some(KEY), Some(&good), &body.replace("Content", "content"), 401),
        (Some("0000"), Some(&good), &body, 401),
    ] {
        let answer = sends(&world.server, identifier, signature, body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{identifier:?} {signature:?}: {answer:?}");
        assert!(answer.header("content-type").starts_with("application/problem+json"));
        assert!(!answer.text.contains("positive"), "{answer:?}");
    }
    // Signed, and not what was agreed on.
    for (body, status) in [("", 400), ("[", 400), ("{}", 422), ("[1]", 422), ("[{}]", 422)] {
        let signature = github.signature(body);
        let answer = sends(&world.server, Some(KEY), Some(&signature), body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
    }
    let huge = "x".repeat(1024 * 1024 + 1);
    let answer = sends(&world.server, Some(KEY), Some(&github.signature(&huge)), huge).await;
    assert_eq!(answer.status.as_u16(), 413, "{answer:?}");
    assert!(is_active(&world, &key.secret).await);
    assert!(events(&world, &key.id).await.is_empty());
    let answer = sends(&world.server, Some(KEY), Some(&good), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(!is_active(&world, &key.secret).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn githubs_keys_are_asked_for_once_a_minute_at_most(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut github = Github::open().await;
    let Some(world) = github.world(database, None).await else { return };
    let minute = Duration::from_secs(60);
    let tries = async |github: &Github, identifier: &str| {
        let signature = github.signature("[]");
        let answer = sends(&world.server, Some(identifier), Some(&signature), "[]".into()).await;
        answer.status.as_u16()
    };
    // At first they can't be had.
    github.keys.answers(500, &[], "");
    for _ in 0..3 {
        assert_eq!(tries(&github, KEY).await, 503);
    }
    assert_eq!(github.keys.waiting(), 1);
    github.publishes(KEY);
    world.server.passes(minute);
    let all = futures::future::join_all((0..8).map(|_| tries(&github, KEY))).await;
    assert_eq!(all, [200; 8]);
    assert_eq!(github.keys.waiting(), 2);
    // Strangers name what nobody knows.
    for _ in 0..5 {
        assert_eq!(tries(&github, "0000").await, 401);
    }
    assert_eq!(github.keys.waiting(), 2);
    world.server.passes(minute);
    github.keys.answers(304, &[], "");
    for _ in 0..5 {
        assert_eq!(tries(&github, "0000").await, 401);
        assert_eq!(tries(&github, KEY).await, 200);
    }
    assert_eq!(github.keys.waiting(), 3);
    for _ in 0..2 {
        assert_eq!(github.keys.next().await.header("if-none-match"), "");
    }
    assert_eq!(github.keys.next().await.header("if-none-match"), "\"1\"");
    // GitHub has a new key, and has withdrawn the one before.
    world.server.passes(minute);
    github.publishes("new");
    assert_eq!(tries(&github, "new").await, 200);
    assert_eq!(tries(&github, KEY).await, 401);
    // A key that is known goes on working while the list can't be read.
    world.server.passes(Duration::from_secs(25 * 60 * 60));
    for bad in ["nonsense".to_owned(), "x".repeat(300 * 1024)] {
        github.keys.answers(200, &[], &bad);
        world.server.passes(minute);
        assert_eq!(tries(&github, "new").await, 200);
        assert_eq!(tries(&github, "0000").await, 503);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn where_github_is_no_partner_there_is_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let github = Github::open().await;
    let Some(world) = World::on(database).await else { return };
    let key = world.api_key(&["read:tenants"]).await;
    let answer = github.reports(&world.server, &json!([found(&key, "")])).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    assert!(events(&world, &key.id).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_large_report_is_answered_in_time(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let github = Github::open().await;
    let Some(world) = github.world(database, None).await else { return };
    sets_policy(&world, world.organization, "revoke").await;
    let mut report = Vec::new();
    for _ in 0..200 {
        report.push(found(&world.api_key(&["read:tenants"]).await, "https://github.com/x"));
    }
    let noise = json!({ "token": "x".repeat(40), "type": "t", "url": "https://github.com/x", "source": "commit" });
    report.resize(4000, noise);
    let began = std::time::Instant::now();
    let answer = github.reports(&world.server, &json!(report)).await;
    let took = began.elapsed();
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.status);
    assert_eq!(answer.text.matches("true_positive").count(), 200);
    // GitHub waits 30 seconds for whoever gives feedback.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

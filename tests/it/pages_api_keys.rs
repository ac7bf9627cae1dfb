//! The console's pages about API keys.

use std::time::Duration;

use entity::{ApiKeyId, SecretId, Timestamp};
use portcullis::api_keys::{Order, Overview, Status, overview};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, Set};
use serde_json::json;

use crate::harness::actors::introspect;
use crate::harness::browser::Browser;
use crate::harness::world::{Key, PASSWORD};
use crate::harness::{Answer, Caller, Database, Redirected, World};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOSTILE: &str = "<script>alert(1)</script> \u{202e}gnimmargorp 🚀🚀";

fn list(world: &World) -> String {
    format!("/o/{}/api-keys", world.organization)
}

/// The secret on the page that shows one.
fn secret_on(page: &Answer) -> String {
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let rest = page.text.split("id=\"secret\" data-secret>").nth(1);
    rest.unwrap_or_else(|| panic!("{page:?}")).split('<').next().unwrap().to_owned()
}

async fn is_active(world: &World, secret: &str) -> bool {
    introspect(&world.server, &world.credential, secret).await.json["active"] == true
}

/// A key's row as a test wants it, with its secret, straight into the tables.
async fn inserts(world: &World, keys: &[(u128, &str)], change: impl Fn(usize, &mut Row)) {
    let db = world.server.app.db.begin().await.unwrap();
    let (owner, now) = (world.owner.id(&world.server).await, world.server.app.clock.now());
    for (chunk, some) in keys.chunks(500).enumerate() {
        let mut rows = Vec::new();
        let mut secrets = Vec::new();
        for (at, (number, name)) in some.iter().enumerate() {
            let id: ApiKeyId = id(*number);
            let mut row = Row {
                id: Set(id),
                organization_id: Set(world.organization),
                name: Set((*name).to_owned()),
                search_name: Set(name.to_lowercase()),
                description: Set(String::new()),
                labels: Set("{}".to_owned()),
                scopes: Set("read:tenants".to_owned()),
                environment: Set("live".to_owned()),
                created_by: Set(owner),
                owner_id: Set(Some(owner)),
                version: Set(1),
                created_at: Set(now),
                project_id: Set(None),
                allowed_ips: Set(None),
                expires_at: Set(None),
                revoked_at: Set(None),
                revoked_reason: Set(None),
                brand: Set(None),
                requests_per_minute: Set(None),
                is_decoy: Set(false),
                last_used_at: Set(None),
                last_used_from: Set(None),
                told_days_left: Set(None),
                told_unused_at: Set(None),
            };
            change(chunk * 500 + at, &mut row);
            rows.push(row);
            secrets.push(entity::api_key_secret::ActiveModel {
                id: Set(format!("sec_{}", text_of(*number)).parse::<SecretId>().unwrap()),
                api_key_id: Set(id),
                digest: Set(number.to_be_bytes().repeat(2)),
                start: Set("pc_live_abcd".to_owned()),
                end: Set("wxyz".to_owned()),
                created_at: Set(now),
                expires_at: Set(None),
                ..Default::default()
            });
        }
        entity::api_key::Entity::insert_many(rows).exec_without_returning(&db).await.unwrap();
        entity::api_key_secret::Entity::insert_many(secrets)
            .exec_without_returning(&db)
            .await
            .unwrap();
    }
    db.commit().await.unwrap();
}

type Row = entity::api_key::ActiveModel;

/// A UUIDv7 of a day long ago, with a number at its end, as ids spell it.
fn text_of(number: u128) -> String {
    let bits = (0x018b_cfe5_0000_u128 << 80) | (7 << 76) | (2 << 62) | number;
    let alphabet = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digits = (0..26).rev().map(|at| alphabet[((bits >> (5 * at)) & 31) as usize] as char);
    digits.collect()
}

fn id(number: u128) -> ApiKeyId {
    format!("key_{}", text_of(number)).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_and_its_secret_is_shown_once() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let list = list(&world);
    let empty = world.owner.gets(&list).await;
    assert!(empty.text.contains("No API keys yet"), "{empty:?}");

    let new = format!("{list}/new");
    let page = world.owner.gets(&new).await.text;
    assert!(page.contains("See your tenants") && page.contains("value=\"read:tenants\""), "{page}");
    // What administers stands apart.
    let (ordinary, powerful) = page.split_once("<div class=\"powerful\">").unwrap();
    assert!(ordinary.contains("value=\"write:tenants\""), "{page}");
    assert!(powerful.contains("value=\"admin\"") && powerful.contains("value=\"write:members\""));
    assert!(!page.contains("name=\"brand\""), "there is one brand: {page}");

    let wrong = [
        ("name", " "),
        ("expiry", "date"),
        ("expires_on", "soon"),
        ("scopes", "read:tenants"),
        ("more_scopes", "kept:scope"),
        ("labels", "kept"),
        ("allowed_ips", "0.0.0.0/0"),
        ("requests_per_minute", "many"),
    ];
    let refused = world.owner.sends_form(&page, &new, &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    for said in [
        "Expires on</a> must be a date",
        "Labels</a> must have a name, = and a value",
        "Requests per minute</a> must be a whole number",
        "Any address</a> must be ticked if it is meant: 0.0.0.0/0 allows every address",
        "kept:scope</textarea>",
        "value=\"soon\"",
        "value=\"many\"",
        "value=\"read:tenants\" checked",
    ] {
        assert!(refused.text.contains(said), "{said}: {refused:?}");
    }
    // The rest is the verb's to say.
    let wrong =
        [("name", " "), ("expiry", "7"), ("scopes", "read:users"), ("more_scopes", "x! y:z")];
    let refused = world.owner.sends_form(&page, &new, &wrong).await;
    for said in [
        "Name</a> must have 1 to 100 characters.",
        "More scopes (1)</a> is not a scope",
        "More scopes (2)</a> no resource server offers the scope `y:z`.",
    ] {
        let text = refused.text.replace("&#96;", "`");
        assert!(text.contains(said), "{said}: {refused:?}");
    }

    let fields = [
        ("name", "nightly export"),
        ("description", "one\r\ntwo"),
        ("expiry", "30"),
        ("scopes", "read:tenants"),
        ("more_scopes", "write:users/acme"),
        ("own_address", "1"),
        ("labels", "team=payments"),
        ("requests_per_minute", "500"),
        ("environment", "test"),
    ];
    let shown = world.owner.sends_form(&page, &new, &fields).await;
    let secret = secret_on(&shown);
    assert!(secret.starts_with("pc_test_"), "{secret}");
    assert!(shown.header("cache-control").contains("no-store"));
    assert!(!shown.text.contains("<nav"), "there is nowhere to go: {shown:?}");
    let curl = format!(
        "curl -H &#39;Authorization: Bearer {secret}&#39; &#39;https://api.example.com/&#39;"
    );
    assert!(shown.text.contains(&curl), "{shown:?}");
    assert!(shown.text.contains("<input type=\"checkbox\" id=\"stored\" required>"), "{shown:?}");

    // Sent again, it makes nothing and shows nothing.
    let again = world.owner.sends_form(&page, &new, &fields).await;
    let one = Redirected::of(&again).location;
    let one = one.strip_suffix("?done=made").unwrap().to_owned();
    let told = world.owner.follows(&again).await;
    assert!(told.text.contains("was made before"), "{told:?}");
    let shown = world.owner.gets(&format!("{one}?done=stored")).await;
    for page in [&told, &shown, &world.owner.gets(&list).await] {
        assert!(!page.text.contains(&secret), "{page:?}");
        assert_eq!(page.text.matches("<bdi>nightly export</bdi>").count(), 1, "{page:?}");
    }
    for said in [
        "See your users (only acme)",
        "<code>127.0.0.1/32</code>",
        "500",
        "payments",
        "by <bdi>Ada</bdi>",
        "Never more than <bdi>Ada</bdi> may do",
        "The secret is stored.",
    ] {
        let text = shown.text.replace("Create and change your users", "See your users");
        assert!(text.contains(said), "{said}: {shown:?}");
    }
    let key = Caller::in_browser(&world.server, &world.owner, world.organization);
    let key = key.gets(&format!("/v1/api-keys/{}", one.rsplit('/').next().unwrap())).await;
    assert_eq!(key.json["scopes"], json!(["read:tenants", "write:users/acme"]));
    assert_eq!(key.json["allowed_ips"], json!(["127.0.0.1/32"]));
    assert_eq!(key.json["labels"], json!({ "team": "payments" }));
    assert_eq!(key.json["description"], "one\ntwo");
    let end = world.server.app.clock.now() + 30 * DAY;
    assert_eq!(key.json["expires_at"], end.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_secret_is_made_the_password_is_asked_for() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let key = world.api_key(&["read:tenants"]).await;
    let new = format!("{}/new", list(&world));
    let rotate = format!("{}/{}/rotate", list(&world), key.id);
    let create = [("name", "ci"), ("expiry", "never"), ("scopes", "read:tenants")];
    for (path, fields) in [(new, &create[..]), (rotate, &[("grace_seconds", "0")])] {
        world.server.passes(Duration::from_secs(16 * 60));
        let page = world.owner.gets(&path).await.text;
        assert!(page.contains("name=\"password\""), "{page}");
        let with = |password| [fields, &[("password", password)]].concat();
        for password in ["", "guess"] {
            let refused = world.owner.sends_form(&page, &path, &with(password)).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
            assert!(refused.text.contains("Password</a>"), "{refused:?}");
            assert!(!refused.text.contains("guess"), "a password is not sent back: {refused:?}");
        }
        assert!(is_active(&world, &key.secret).await);
        secret_on(&world.owner.sends_form(&page, &path, &with(PASSWORD)).await);
        // For a while it is enough.
        assert!(!world.owner.gets(&path).await.text.contains("name=\"password\""));
    }
    // The right password is not asked for again because something else was wrong.
    world.server.passes(Duration::from_secs(16 * 60));
    let new = format!("{}/new", list(&world));
    let refused = world.owner.fills_in(&new, &new, &[("name", ""), ("expiry", "7")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(!refused.text.contains("name=\"password\""), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_key_more_than_they_may_do() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let bob = world.member("bob@example.com", Role::Member).await;
    bob.logs_in().await;
    let new = format!("{}/new", list(&world));
    let page = bob.gets(&new).await.text;
    assert!(page.contains("value=\"write:tenants\""), "{page}");
    for hidden in ["value=\"admin\"", "value=\"write:members\"", "value=\"admin:api-keys\""] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
    for (field, scope, why) in [
        ("scopes", "admin", "more than you may do yourself"),
        ("more_scopes", "*:tenants", "more than you may do yourself"),
        ("more_scopes", "write:members", "needs an admin"),
    ] {
        let fields = [("name", "ci"), ("expiry", "7"), (field, scope)];
        let refused = bob.sends_form(&page, &new, &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{scope}: {refused:?}");
        assert!(refused.text.contains(why), "{scope}: {refused:?}");
    }
    // A key that was made for more than they may do gets no new secret from them, and no more time.
    let key = world.api_key(&["admin"]).await;
    let one = format!("{}/{}", list(&world), key.id);
    let rotate = format!("{one}/rotate");
    let refused = bob.fills_in(&rotate, &rotate, &[("grace_seconds", "0")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert!(is_active(&world, &key.secret).await);
    // But they may give it another name, and leave it what it has.
    let edit = format!("{one}/edit");
    let page = bob.gets(&edit).await.text;
    assert!(page.contains("value=\"admin\" checked"), "{page}");
    let fields = [("name", "renamed"), ("expiry", "keep"), ("scopes", "admin")];
    let changed = bob.sends_form(&page, &edit, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    assert_eq!(bob.gets(&format!("{one}/hand-over")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_changes_nothing() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let viewer = world.member("vera@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    let list = list(&world);
    let empty = viewer.gets(&list).await;
    assert!(empty.text.contains("No API keys yet") && !empty.text.contains("/new"), "{empty:?}");
    let key = world.api_key(&["read:tenants"]).await;
    let one = format!("{list}/{}", key.id);
    let shown = viewer.gets(&list).await;
    assert!(shown.text.contains(&one), "{shown:?}");
    for forbidden in ["/new", "type=\"checkbox\"", "Revoke selected"] {
        assert!(!shown.text.contains(forbidden), "{forbidden}: {shown:?}");
    }
    let shown = viewer.gets(&one).await;
    assert_eq!(shown.status, StatusCode::OK, "{shown:?}");
    for verb in ["edit", "rotate", "revoke", "hand-over"] {
        assert!(!shown.text.contains(&format!("{one}/{verb}")), "{verb}: {shown:?}");
    }
    let paths = ["/new".to_owned(), "/revoke".to_owned()].into_iter();
    let of_key = ["edit", "rotate", "revoke", "hand-over"];
    for path in paths.chain(of_key.map(|verb| format!("/{}/{verb}", key.id))) {
        let path = format!("{list}{path}");
        for answer in [viewer.gets(&path).await, viewer.posts(&path, &[("name", "script")]).await] {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
        }
    }
    assert!(is_active(&world, &key.secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_projects_of_other_organizations_are_not_there() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let second = world.second_organization("Second", Role::Owner).await;
    let key = world.api_key(&["read:tenants"]).await;
    let elsewhere = format!("/o/{second}/api-keys");
    assert!(world.owner.gets(&elsewhere).await.text.contains("No API keys yet"));
    for path in ["", "/edit", "/rotate", "/revoke", "/hand-over"] {
        let path = format!("{elsewhere}/{}{path}", key.id);
        assert_eq!(world.owner.gets(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        let posted = world.owner.posts(&path, &[("name", "script"), ("form", "x")]).await;
        let expected = if path.ends_with(&key.id) { 405 } else { 404 };
        assert_eq!(posted.status.as_u16(), expected, "{path}: {posted:?}");
    }
    let many = format!("{elsewhere}/revoke");
    let answer = world.owner.posts(&many, &[("key", &key.id), ("sure", "yes")]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    assert!(is_active(&world, &key.secret).await);

    let project = format!("/o/{}/projects/new", world.organization);
    world.owner.fills_in(&project, &project, &[("name", "Payments")]).await;
    let page = world.owner.gets(&format!("{}/new", list(&world))).await.text;
    let project = page.split("<option value=\"prj_").nth(1).unwrap().split('"').next().unwrap();
    let project = format!("prj_{project}");
    let fields =
        [("name", "ci"), ("expiry", "7"), ("scopes", "read:tenants"), ("project", &project)];
    let new = format!("{elsewhere}/new");
    let refused = world.owner.fills_in(&new, &new, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("is no project of the organization"), "{refused:?}");
    let new = format!("{}/new", list(&world));
    secret_on(&world.owner.fills_in(&new, &new, &fields).await);
    let confined = world.owner.gets(&format!("{}?project={project}", list(&world))).await.text;
    assert!(confined.contains("1–1 of 1") && confined.contains("<bdi>ci</bdi>"), "{confined}");
    // Whoever is in none of them finds nothing.
    let stranger = world.stranger("eve@example.com").await;
    stranger.logs_in().await;
    assert_eq!(stranger.gets(&list(&world)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_tells_its_consequence_before_it_is_done() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let key = world.api_key(&["read:tenants", "write:users/acme"]).await;
    let one = format!("{}/{}", list(&world), key.id);
    let edit = format!("{one}/edit");
    let page = world.owner.gets(&edit).await.text;
    assert!(page.contains("value=\"read:tenants\" checked"), "{page}");
    assert!(page.contains("write:users/acme</textarea>"), "{page}");

    // What takes nothing away that was used is done at once.
    let fields = [
        ("name", "renamed"),
        ("expiry", "keep"),
        ("scopes", "read:tenants"),
        ("more_scopes", "write:users/acme"),
    ];
    let changed = world.owner.sends_form(&page, &edit, &fields).await;
    assert_eq!(Redirected::of(&changed).location, format!("{one}?done=changed"));
    let stale = world.owner.sends_form(&page, &edit, &fields).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");

    let used = entity::api_key_scope_use::ActiveModel {
        api_key_id: Set(key.id.parse().unwrap()),
        scope: Set("read:users/acme".to_owned()),
        last_used_at: Set(world.server.app.clock.now()),
    };
    used.insert(world.server.app.db.writer()).await.unwrap();
    let fields = [
        ("name", "narrowed"),
        ("expiry", "keep"),
        ("scopes", "read:tenants"),
        ("allowed_ips", "::/0"),
    ];
    let asked = world.owner.fills_in(&edit, &edit, &fields).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{asked:?}");
    for said in [
        "Calls that need <code>read:users/acme</code> are refused.",
        "::/0 allows every address of its kind.",
        "value=\"narrowed\"",
    ] {
        assert!(asked.text.contains(said), "{said}: {asked:?}");
    }
    assert!(world.owner.gets(&one).await.text.contains("<bdi>renamed</bdi>"), "nothing is done");
    // What was accepted is what was shown: another edit is asked about anew.
    let other = [("name", "narrowed"), ("expiry", "keep"), ("scopes", "read:tenants")];
    let again = world.owner.sends_form(&asked.text, &edit, &other).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "{again:?}");
    let done = world.owner.sends_form(&asked.text, &edit, &fields).await;
    assert_eq!(Redirected::of(&done).location, format!("{one}?done=changed"));
    let caller = Caller::in_browser(&world.server, &world.owner, world.organization);
    let read = caller.gets(&format!("/v1/api-keys/{}", key.id)).await;
    assert_eq!(read.json["scopes"], json!(["read:tenants"]), "{read:?}");
    assert_eq!(read.json["allowed_ips"], json!(["::/0"]), "{read:?}");

    // Bad input comes back as it was typed.
    let bad = [("name", "kept"), ("expiry", "keep"), ("allowed_ips", "10.0.0.1/8\r\nnonsense")];
    let refused = world.owner.fills_in(&edit, &edit, &bad).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    for said in [
        "must hold 1 to 100 scopes",
        "Allowed ips (2)</a>",
        "nonsense</textarea>",
        "value=\"kept\"",
    ] {
        assert!(refused.text.contains(said), "{said}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_and_the_old_secret_has_its_time() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let key = world.api_key(&["read:tenants"]).await;
    let one = format!("{}/{}", list(&world), key.id);
    let rotate = format!("{one}/rotate");
    let page = world.owner.gets(&rotate).await.text;
    for grace in ["", "soon", "2592001"] {
        let refused = world.owner.sends_form(&page, &rotate, &[("grace_seconds", grace)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{grace}: {refused:?}");
    }
    let shown = world.owner.sends_form(&page, &rotate, &[("grace_seconds", "3600")]).await;
    let secret = secret_on(&shown);
    assert!(shown.text.contains("The old secret works until"), "{shown:?}");
    let again = world.owner.sends_form(&page, &rotate, &[("grace_seconds", "3600")]).await;
    assert_eq!(Redirected::of(&again).location, format!("{one}?done=rotated"));
    assert!(!world.owner.follows(&again).await.text.contains(&secret));
    assert!(is_active(&world, &key.secret).await && is_active(&world, &secret).await);
    for page in [world.owner.gets(&one).await, world.owner.gets(&list(&world)).await] {
        assert!(page.text.contains("Rotating, 1 h left"), "{page:?}");
    }
    world.server.passes(Duration::from_secs(3601));
    assert!(!is_active(&world, &key.secret).await && is_active(&world, &secret).await);
    assert!(!world.owner.gets(&list(&world)).await.text.contains("Rotating"));
    // And at once.
    let shown = world.owner.fills_in(&rotate, &rotate, &[("grace_seconds", "0")]).await;
    assert!(shown.text.contains("The old secret does not work any more."), "{shown:?}");
    assert!(!is_active(&world, &secret).await && is_active(&world, &secret_on(&shown)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_revoked_one_by_one_and_several_at_once() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let list = list(&world);
    let mut keys: Vec<Key> = Vec::new();
    while keys.len() < 4 {
        keys.push(world.api_key(&["read:tenants"]).await);
    }
    let one = format!("{list}/{}", keys[0].id);
    let revoke = format!("{one}/revoke");
    let wrong = [("name", "other"), ("reason", "kept words")];
    let refused = world.owner.fills_in(&revoke, &revoke, &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("value=\"kept words\""), "{refused:?}");
    let long = "x".repeat(501);
    let refused =
        world.owner.fills_in(&revoke, &revoke, &[("name", "script"), ("reason", &long)]).await;
    assert!(refused.text.contains("Reason</a> must have at most 500"), "{refused:?}");
    assert!(is_active(&world, &keys[0].secret).await);
    let fields = [("name", "script"), ("reason", HOSTILE)];
    let done = world.owner.fills_in(&revoke, &revoke, &fields).await;
    assert_eq!(Redirected::of(&done).location, format!("{one}?done=revoked"));
    assert!(!is_active(&world, &keys[0].secret).await);
    let shown = world.owner.follows(&done).await.text;
    assert!(
        shown.contains("&#60;script&#62;alert(1)") && !shown.contains("<script>alert"),
        "{shown}"
    );
    assert!(!shown.contains(&revoke), "{shown}");
    // What has ended is not changed any more.
    for verb in ["edit", "rotate", "hand-over", "revoke"] {
        let answer = world.owner.gets(&format!("{one}/{verb}")).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{verb}: {answer:?}");
    }
    let shown = world.owner.gets(&list).await.text;
    assert!(shown.contains("1–3 of 3") && !shown.contains(&one), "{shown}");
    let shown = world.owner.gets(&format!("{list}?status=revoked")).await.text;
    assert!(shown.contains("1–1 of 1") && shown.contains(&one), "{shown}");

    let many = format!("{list}/revoke");
    assert!(world.owner.gets(&many).await.text.contains("No key is selected"));
    let page = world.owner.gets(&format!("{many}?key={}&key={}", keys[1].id, keys[2].id)).await;
    assert!(page.text.contains("Revoke these 2 keys?"), "{page:?}");
    let refused = world.owner.sends_form(&page.text, &many, &[("reason", "kept words")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("value=\"kept words\""), "{refused:?}");
    let fields = [("reason", "unused"), ("sure", "yes")];
    let done = world.owner.sends_form(&page.text, &many, &fields).await;
    assert_eq!(Redirected::of(&done).location, format!("{list}?done=revoked"));
    for (key, lives) in keys.iter().zip([false, false, false, true]) {
        assert_eq!(is_active(&world, &key.secret).await, lives, "{}", key.id);
    }
    let caller = Caller::in_browser(&world.server, &world.owner, world.organization);
    let key = caller.gets(&format!("/v1/api-keys/{}", keys[2].id)).await;
    assert_eq!(key.json["revoked_reason"], "unused", "{key:?}");
    let events = caller.gets(&format!("/v1/audit-events?target={}", keys[2].id)).await;
    assert!(events.text.contains("api_key.revoked"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_handed_over() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    world.member("bob@example.com", Role::Member).await;
    world.stranger("eve@example.com").await;
    let key = world.api_key(&["write:tenants"]).await;
    let one = format!("{}/{}", list(&world), key.id);
    let there = format!("{one}/hand-over");
    for (to, email, why) in [
        ("", "bob@example.com", "To</a> must be chosen"),
        ("member", "", "Email</a> is no member"),
        ("member", "eve@example.com", "Email</a> is no member"),
        ("member", "bob@example", "Email</a> is no member"),
    ] {
        let refused = world.owner.fills_in(&there, &there, &[("to", to), ("email", email)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
        assert!(refused.text.contains(why), "{why}: {refused:?}");
    }
    let fields = [("to", "member"), ("email", " Bob@Example.com")];
    let done = world.owner.fills_in(&there, &there, &fields).await;
    assert_eq!(Redirected::of(&done).location, format!("{one}?done=handed-over"));
    assert!(world.owner.gets(&one).await.text.contains("<bdi>Somebody</bdi> may do at the moment"));
    let done = world.owner.fills_in(&there, &there, &[("to", "organization")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{done:?}");
    assert!(world.owner.gets(&one).await.text.contains("It belongs to the organization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn decoys_are_shown_to_those_alone_who_may_know_of_them() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let bob = world.member("bob@example.com", Role::Member).await;
    bob.logs_in().await;
    let admin = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
    let wanted = json!({ "name": "backup", "scopes": ["admin"], "is_decoy": true });
    let decoy = admin.posts("/v1/api-keys", &wanted).await;
    let one = format!("{}/{}", list(&world), decoy.member("id"));
    let shown = world.owner.gets(&list(&world)).await.text;
    assert!(shown.contains("1–2 of 2") && shown.contains("Decoy"), "{shown}");
    assert!(world.owner.gets(&one).await.text.contains("Decoy"));
    for query in ["", "?name=backup", "?status=all", "?sort=name"] {
        let shown = bob.gets(&format!("{}{query}", list(&world))).await.text;
        assert!(!shown.contains(&one) && !shown.contains("of 2"), "{query}: {shown}");
    }
    for verb in ["", "/edit", "/rotate", "/revoke"] {
        assert_eq!(bob.gets(&format!("{one}{verb}")).await.status, StatusCode::NOT_FOUND, "{verb}");
    }
    let many = format!("{}/revoke?key={}", list(&world), decoy.member("id"));
    assert_eq!(bob.gets(&many).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_could_be_markup_is_text() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (list, new) = (list(&world), format!("{}/new", list(&world)));
    let label = format!("x={HOSTILE}");
    let fields = [
        ("name", HOSTILE),
        ("description", HOSTILE),
        ("labels", &label),
        ("expiry", "7"),
        ("scopes", "read:tenants"),
    ];
    let mut refused = fields.to_vec();
    refused.push(("more_scopes", HOSTILE));
    let refused = world.owner.fills_in(&new, &new, &refused).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    let made = world.owner.fills_in(&new, &new, &fields).await;
    secret_on(&made);
    let next = made.text.split("<form method=\"get\" action=\"").nth(1).unwrap();
    let one = next.split('"').next().unwrap().to_owned();
    let search: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    let mut pages = vec![refused, made, world.owner.gets(&format!("{list}?name={search}")).await];
    for path in ["", "/edit", "/rotate", "/revoke", "/hand-over"] {
        pages.push(world.owner.gets(&format!("{one}{path}")).await);
    }
    let id = one.rsplit('/').next().unwrap();
    pages.push(world.owner.gets(&format!("{list}/revoke?key={id}")).await);
    for page in pages {
        assert!(page.text.contains("&#60;script&#62;alert(1)"), "{page:?}");
        assert!(!page.text.contains("<script>alert"), "{page:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_overview_filters_sorts_counts_and_pages(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let now = world.server.app.clock.now();
    let names =
        [(1, "beta 100%"), (2, "Alpha"), (3, "gamma_x"), (4, "ALPHA two"), (5, "old"), (6, "gone")];
    inserts(&world, &names, |at, row| match at {
        0 => row.expires_at = Set(Some(now + 2 * DAY)),
        1 => row.last_used_at = Set(Some(now)),
        2 => {
            row.last_used_at = Set(Some(now - DAY));
            row.expires_at = Set(Some(now + DAY));
        }
        3 => row.is_decoy = Set(true),
        4 => row.expires_at = Set(Some(now)),
        _ => row.revoked_at = Set(Some(now)),
    })
    .await;
    let usual = Overview {
        organization: world.organization,
        project: None,
        status: Some(Status::Active),
        name: None,
        include_decoys: true,
        order: Order::Newest,
        skip: 0,
        limit: 50,
    };
    let numbers = async |which: Overview<'_>| {
        let page = overview(world.server.app.db.reader(), now, which).await.unwrap();
        let place = |key: &portcullis::api_keys::ApiKey| {
            (1..=6_u128).find(|number| id(*number) == key.id).unwrap()
        };
        (page.keys.iter().map(place).collect::<Vec<_>>(), page.total)
    };
    assert_eq!(numbers(usual).await, (vec![4, 3, 2, 1], 4));
    for (order, expected) in [
        (Order::Oldest, vec![1, 2, 3, 4]),
        (Order::Name, vec![2, 4, 1, 3]),
        (Order::LastUsed, vec![2, 3, 4, 1]),
        (Order::Expiry, vec![3, 1, 4, 2]),
    ] {
        assert_eq!(numbers(Overview { order, ..usual }).await.0, expected, "{order:?}");
    }
    assert_eq!(numbers(Overview { include_decoys: false, ..usual }).await, (vec![3, 2, 1], 3));
    assert_eq!(numbers(Overview { status: None, ..usual }).await, (vec![6, 5, 4, 3, 2, 1], 6));
    let status = |status| Overview { status: Some(status), ..usual };
    assert_eq!(numbers(status(Status::Expired)).await, (vec![5], 1));
    assert_eq!(numbers(status(Status::Revoked)).await, (vec![6], 1));
    for (name, expected) in [
        ("alpha", vec![4, 2]),
        (" PHA ", vec![4, 2]),
        ("0%", vec![1]),
        ("%", vec![1]),
        ("a_x", vec![3]),
        ("_", vec![3]),
        ("", vec![4, 3, 2, 1]),
        ("nothing", vec![]),
    ] {
        let (found, total) = numbers(Overview { name: Some(name), ..usual }).await;
        assert_eq!((found.len() as u64, found), (total, expected), "{name:?}");
    }
    let paged = Overview { skip: 1, limit: 2, order: Order::Oldest, ..usual };
    assert_eq!(numbers(paged).await, (vec![2, 3], 4));
    assert_eq!(numbers(Overview { skip: 4, ..usual }).await, (vec![], 0));
    let nobody = entity::OrganizationId::new(now);
    assert_eq!(numbers(Overview { organization: nobody, ..usual }).await, (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_are_looked_through_page_by_page() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let names: Vec<(u128, String)> = (1..=10_000).map(|at| (at, format!("Key {at}"))).collect();
    let names: Vec<(u128, &str)> = names.iter().map(|(at, name)| (*at, name.as_str())).collect();
    let now = world.server.app.clock.now();
    inserts(&world, &names, |at, row| {
        let used = Timestamp(now.0 - (at as i64 * 7919 % 10_000) * 60_000);
        row.last_used_at = Set((at % 3 == 0).then_some(used));
        row.expires_at = Set((at % 5 == 0).then_some(now + DAY * (1 + at as u32 % 90)));
    })
    .await;
    let list = list(&world);
    let mut beside = 0;
    for name in ["portcullis.css", "console.js"] {
        beside += world.owner.gets(portcullis::http::asset(name)).await.text.len();
    }
    assert!(beside > 10_000, "the style sheet was not found");
    for query in [
        "",
        "?sort=oldest",
        "?sort=name",
        "?sort=used",
        "?sort=expiry",
        "?page=250",
        "?name=99",
        "?status=all",
    ] {
        let page = world.owner.gets(&format!("{list}{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}: {page:?}");
        let rows = page.text.matches("<th scope=\"row\">").count();
        assert_eq!(rows, 40, "{query}");
        let bytes = page.text.len() + beside;
        assert!(bytes < 60_000, "{query}: {bytes} bytes");
    }
    let first = world.owner.gets(&list).await.text;
    assert!(first.contains("1–40 of 10,000") && first.contains("<bdi>Key 10000</bdi>"), "{first}");
    assert!(first.contains(&format!("{list}?page=2\" rel=\"next\"")), "{first}");
    let last = world.owner.gets(&format!("{list}?sort=name&page=250")).await.text;
    assert!(last.contains("9,961–10,000 of 10,000") && !last.contains("rel=\"next\""), "{last}");
    assert!(last.contains(&format!("{list}?sort=name&#38;page=249\" rel=\"prev\"")), "{last}");
    let beyond = world.owner.gets(&format!("{list}?sort=name&page=4000000000")).await;
    assert_eq!(Redirected::of(&beyond).location, format!("{list}?sort=name"));
    let few = world.owner.gets(&format!("{list}?name=KEY+9999")).await.text;
    assert!(few.contains("1–1 of 1"), "{few}");
    assert!(world.owner.gets(&format!("{list}?name=nothing")).await.text.contains("No key fits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_api_keys_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let list = world.server.url(&list(&world));
    Browser::does(async |browser| {
        browser.goes_to(&list).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.photographs("api-keys-empty").await;
        browser.goes_to(&format!("{list}/new")).await;
        browser.photographs("api-key-new").await;
        // The visitor's own address is put into the list at once.
        browser
            .client
            .execute("document.querySelector('button[data-add]').click()", vec![])
            .await
            .unwrap();
        let ips =
            browser.client.execute("return document.getElementById('allowed_ips').value", vec![]);
        assert_eq!(ips.await.unwrap(), "127.0.0.1");
        browser.fills("name", "  ").await;
        browser.fills("more_scopes", "write:deployments/prod/*").await;
        browser.presses("Create the key").await;
        browser.photographs("api-key-new-refused").await;
        let name = format!("{HOSTILE}{}", "🚀".repeat(40));
        let fill = "
            document.getElementById('name').value = arguments[0];
            document.getElementById('more_scopes').value = '';
            document.querySelector('input[value=\"read:tenants\"]').checked = true;
        ";
        browser.client.execute(fill, vec![name.as_str().into()]).await.unwrap();
        browser.presses("Create the key").await;
        let secret = browser.reads("#secret").await;
        assert!(secret.starts_with("pc_live_"), "{secret}");
        browser.photographs("api-key-secret").await;
        let source = async || browser.client.source().await.unwrap();
        // One goes on only with the tick.
        browser
            .client
            .execute("document.querySelector('button[type=submit]').click()", vec![])
            .await
            .unwrap();
        assert_eq!(browser.reads("#secret").await, secret);
        browser
            .client
            .execute("document.querySelector('#stored').checked = true", vec![])
            .await
            .unwrap();
        browser.presses("Go on").await;
        assert!(source().await.contains("The secret is stored."));
        browser.photographs("api-key").await;
        // Neither going back nor loading again shows it.
        browser.client.back().await.unwrap();
        assert!(!source().await.contains(&secret));
        browser.client.refresh().await.unwrap();
        assert!(!source().await.contains(&secret));
        browser.goes_to(&list).await;
        assert_eq!(browser.reads("tbody th a").await, name);
        let one =
            browser.client.execute("return document.querySelector('tbody th a').href", vec![]);
        let one = one.await.unwrap().as_str().unwrap().to_owned();
        browser.goes_to(&format!("{one}/rotate")).await;
        browser.photographs("api-key-rotate").await;
        browser.presses("Rotate the key").await;
        let secret = browser.reads("#secret").await;
        browser.photographs("api-key-rotated").await;
        browser.client.refresh().await.unwrap();
        assert!(!source().await.contains(&secret));
        browser.goes_to(&one).await;
        browser.photographs("api-key-rotating").await;
        world.api_key(&["read:tenants", "write:users", "read", "write"]).await;
        browser.goes_to(&list).await;
        browser.photographs("api-keys").await;
        for (verb, picture) in [
            ("edit", "api-key-edit"),
            ("revoke", "api-key-revoke"),
            ("hand-over", "api-key-hand-over"),
        ] {
            browser.goes_to(&format!("{one}/{verb}")).await;
            browser.photographs(picture).await;
        }
        browser.goes_to(&list).await;
        browser
            .client
            .execute(
                "document.querySelectorAll('input[name=key]').forEach(it => it.checked = true)",
                vec![],
            )
            .await
            .unwrap();
        browser.presses("Revoke selected…").await;
        browser.photographs("api-keys-revoke").await;
        let complaints = browser.complaints().await;
        let ours: Vec<_> = complaints.iter().filter(|it| !it.contains("422")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    })
    .await;
}

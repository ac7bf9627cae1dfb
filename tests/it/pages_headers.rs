//! What every page says of itself, and that looking at pages changes nothing.

use entity::audit_event;
use reqwest::StatusCode;
use sea_orm::{EntityTrait as _, PaginatorTrait as _};

use crate::harness::actors::http;
use crate::harness::{Answer, Application, Database, Server, World};
use crate::routes::{ROUTES, Wants};

/// What each page must say, whoever sees it.
const EVERYWHERE: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("content-type", "text/html; charset=utf-8"),
];

fn assert_is_guarded(path: &str, answer: &Answer) {
    for (name, value) in EVERYWHERE {
        assert_eq!(answer.header(name), value, "{path}: {name}");
    }
    let powers = answer.header("permissions-policy");
    for power in ["camera=()", "geolocation=()", "microphone=()", "payment=()", "usb=()"] {
        assert!(powers.contains(power), "{path}: {powers}");
    }
    let policy = answer.header("content-security-policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive), "{path}: {policy}");
    }
    assert!(policy.contains("script-src 'self'") && policy.contains("style-src 'self'"));
    assert!(policy.contains("form-action 'self'") || policy.contains("form-action 'none'"));
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
    let page = answer.text.to_lowercase();
    for inline in ["<style", " style=", " onclick=", " onload=", " onsubmit=", "javascript:"] {
        assert!(!page.contains(inline), "{path} has {inline}");
    }
    for script in page.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').unwrap();
        assert!(tag.contains(" src=\"/") && rest.starts_with("</script>"), "{path}: {tag}");
    }
}

/// An address that the route answers, with things of the world in it where it names some.
fn filled_in(path: &str, world: &World, things: &[(&str, String)]) -> String {
    let nobodys = "key_01j9zq4k2mfd8v6w3x5y7b1c0e";
    let named = things.iter().find(|(section, _)| path.contains(section));
    let id = named.map_or(nobodys, |(_, id)| id.as_str());
    path.replace("{organization}", &world.organization.to_string())
        .replace("{id}", id)
        .replace("{client}", "app_01j9zq4k2mfd8v6w3x5y7b1c0e")
        .replace("{file}", "nothing.css")
}

async fn things(world: &World, app: &Application) -> Vec<(&'static str, String)> {
    let key = world.api_key(&["read:tenants"]).await;
    let new = format!("/o/{}/projects/new", world.organization);
    let made = world.owner.fills_in(&new, &new, &[("name", "Payments")]).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{made:?}");
    let db = world.server.app.db.reader();
    let session = entity::session::Entity::find().one(db).await.unwrap().unwrap();
    let project = entity::project::Entity::find().one(db).await.unwrap().unwrap();
    let signing_key = entity::signing_key::Entity::find().one(db).await.unwrap().unwrap();
    vec![
        ("/api-keys/", key.id),
        ("/projects/", project.id.to_string()),
        ("/sessions/", session.id.to_string()),
        ("/applications/", app.id.clone()),
        ("/clients/", app.id.clone()),
        ("/resource-servers/", world.api.id.to_string()),
        ("/members/", world.owner.id(&world.server).await.to_string()),
        ("/users/", world.owner.id(&world.server).await.to_string()),
        ("/signing-keys/", signing_key.id.to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_guarded_and_looking_changes_nothing() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let things = things(&world, &app).await;
    let db = world.server.app.db.reader();
    let before = audit_event::Entity::find().count(db).await.unwrap();
    let mut pages = 0;
    for (_, path, wants) in ROUTES.iter().filter(|(method, ..)| *method == "GET") {
        // These answer without end.
        if *path == "/oauth/revocations" {
            continue;
        }
        let answer = world.owner.gets(&filled_in(path, &world, &things)).await;
        if !answer.header("content-type").starts_with("text/html") {
            continue;
        }
        pages += 1;
        assert_is_guarded(path, &answer);
        // Login and consent may stand in a window that an application opened, and must be able to go back there; the
        // console shares its group of windows with nobody.
        let is_console = *wants == Wants::Session && answer.status == StatusCode::OK;
        let expected = if is_console { "same-origin" } else { "" };
        assert_eq!(answer.header("cross-origin-opener-policy"), expected, "{path}");
    }
    assert!(pages >= 10, "{pages} pages were seen");
    let consent = world.owner.visits(&app.request("read:tenants read:users")).await;
    assert_eq!(consent.status, StatusCode::OK, "{consent:?}");
    assert_is_guarded("consent", &consent);
    assert_eq!(consent.header("cross-origin-opener-policy"), "");
    assert_is_guarded("nowhere", &world.owner.gets("/nowhere").await);
    assert_is_guarded("refused", &world.owner.posts("/nowhere", &[]).await);
    // Whatever changes something leaves a line in the audit trail.
    assert_eq!(audit_event::Entity::find().count(db).await.unwrap(), before);
    assert!(world.owner.gets("/account").await.status == StatusCode::OK, "she is still logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_page_that_is_not_guarded_either() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    for path in ["/login", "/setup", "/invitation", "/docs", "/nowhere", "/oauth/authorize"] {
        let answer = http().get(world.server.url(path)).send().await.unwrap();
        assert_is_guarded(path, &Answer::of(answer).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_browsers_are_told_to_stay_there() {
    let https = |settings: &mut portcullis::config::Settings| {
        settings.issuer = "https://auth.example.com".to_owned();
    };
    let Some(server) = Server::start_with(Database::Sqlite, https).await else { return };
    for path in ["/login", "/docs", "/nowhere", "/oauth/jwks"] {
        let answer = Answer::of(http().get(server.url(path)).send().await.unwrap()).await;
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
    }
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let answer = world.owner.gets("/login").await;
    assert_eq!(answer.header("strict-transport-security"), "", "it is not true on loopback");
}

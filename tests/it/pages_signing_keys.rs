//! The console's pages about signing keys, for the organization that runs the installation.

use std::time::Duration;

use portcullis::janitor;
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::{http, jose_header};
use crate::harness::browser::Browser;
use crate::harness::{Answer, Database, Redirected, World};

fn list(world: &World) -> String {
    format!("/o/{}/signing-keys", world.organization)
}

async fn published(world: &World) -> Vec<String> {
    let jwks = Answer::of(http().get(world.server.url("/oauth/jwks")).send().await.unwrap()).await;
    let keys = jwks.json["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_once_however_often_the_form_is_sent(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let signer = async || {
        let token = app.acts_for_itself("read:tenants").await.member("access_token").to_owned();
        jose_header(&token)["kid"].as_str().unwrap().to_owned()
    };
    world.owner.logs_in().await;
    let (list, first) = (list(&world), signer().await);
    let page = world.owner.gets(&list).await;
    for word in ["Upcoming", "Active", &first, "It has no key yet"] {
        assert!(page.text.contains(word), "{word}: {page:?}");
    }
    let rotate = format!("{list}/rotate");
    let form = world.owner.gets(&format!("{rotate}?algorithm=ES256")).await.text;
    assert!(form.contains(&first), "{form}");
    let done = world.owner.sends_form(&form, &rotate, &[]).await;
    assert_eq!(Redirected::of(&done).location, format!("{list}?done=rotated"));
    let second = signer().await;
    assert_ne!(second, first);
    // A double click, and the browser's way back.
    let again = world.owner.sends_form(&form, &rotate, &[]).await;
    assert_eq!(Redirected::of(&again).location, format!("{list}?done=rotated"));
    assert_eq!(signer().await, second);
    assert_eq!(published(&world).await.len(), 3);
    assert!(world.owner.gets(&list).await.text.contains("Retiring"));
    // Two rotations later it is another matter.
    let form_path = format!("{rotate}?algorithm=ES256");
    Redirected::of(&world.owner.fills_in(&form_path, &rotate, &[]).await);
    let stale = world.owner.sends_form(&form, &rotate, &[]).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{stale:?}");

    // The password is asked for, and nothing changes without it.
    world.server.passes(Duration::from_secs(16 * 60));
    let third = signer().await;
    let refused = world.owner.fills_in(&form_path, &rotate, &[("password", "wrong")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert_eq!(signer().await, third);

    // An algorithm's first key, once as well.
    let form = world.owner.gets(&format!("{rotate}?algorithm=EdDSA")).await.text;
    assert!(form.contains("A first key for EdDSA?"), "{form}");
    for _ in 0..2 {
        let begun = world.owner.sends_form(&form, &rotate, &[]).await;
        assert_eq!(Redirected::of(&begun).location, format!("{list}?done=begun"));
        assert_eq!(published(&world).await.len(), 6);
    }

    // What has retired is told apart.
    assert!(!world.owner.gets(&list).await.text.contains("Retired keys"));
    world.server.passes(Duration::from_secs(25 * 60 * 60));
    janitor::sweep(&world.server.app).await;
    world.owner.logs_in().await;
    let page = world.owner.gets(&list).await.text;
    let retired = page.split("Retired keys").nth(1).unwrap();
    assert!(retired.contains(&first) && retired.contains(&second), "{page}");
    assert!(!retired.contains(&third), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_keys_are_for_the_operator_alone() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let other = world.second_organization("Other", Role::Owner).await;
    world.owner.logs_in().await;
    let theirs = format!("/o/{other}/signing-keys");
    for path in [theirs.clone(), format!("{theirs}/rotate")] {
        let answer = world.owner.gets(&path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    }
    let posted = world.owner.posts(&format!("{theirs}/rotate"), &[("algorithm", "ES256")]).await;
    assert_eq!(posted.status, StatusCode::FORBIDDEN, "{posted:?}");
    let home = world.owner.gets(&format!("/o/{other}/projects")).await.text;
    assert!(!home.contains("signing-keys"), "{home}");

    let viewer = world.member("vera@example.com", Role::Viewer).await;
    viewer.logs_in().await;
    let rotate = format!("{}/rotate", list(&world));
    assert_eq!(viewer.gets(&rotate).await.status, StatusCode::FORBIDDEN);
    let posted = viewer.posts(&rotate, &[("algorithm", "ES256")]).await;
    assert_eq!(posted.status, StatusCode::FORBIDDEN, "{posted:?}");
    // Whoever had to log in between is led back to the list; what is no algorithm is refused.
    let answer = world.owner.gets(&rotate).await;
    assert_eq!(Redirected::of(&answer).location, list(&world));
    let answer = world.owner.posts(&rotate, &[("algorithm", "none")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_signing_keys_look_right() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let list = world.server.url(&list(&world));
    Browser::does(async |browser| {
        world.server.passes(Duration::from_secs(3 * 24 * 60 * 60));
        browser.goes_to(&list).await;
        browser.logs_in("ada@example.com").await;
        browser.goes_to(&format!("{list}/rotate?algorithm=ES256")).await;
        browser.photographs("signing-keys-rotate").await;
        browser.presses("Rotate the key").await;
        browser.photographs("signing-keys").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

//! An issuer with a path: everything is under it, and every link says so.

use portcullis_verifier::Verifier;
use reqwest::StatusCode;
use rstest::rstest;

use crate::harness::actors::http;
use crate::harness::world::{AUDIENCE, PASSWORD};
use crate::harness::{Answer, Database, Person, Redirected, Server, World};

/// A server under `/auth`, and its origin.
async fn under_a_path(database: Database) -> Option<(World, String)> {
    let server = Server::start_with(database, |settings| {
        settings.issuer = format!("http://{}/auth", settings.listen);
    });
    let server = server.await?;
    let origin = server.issuer.strip_suffix("/auth").unwrap().to_owned();
    Some((World::around(server).await, origin))
}

async fn gets(url: &str) -> Answer {
    Answer::of(http().get(url).send().await.unwrap()).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_is_at_both_places_and_names_endpoints_under_the_path(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, origin)) = under_a_path(database).await else { return };
    let issuer = world.server.issuer.as_str();
    // RFC 8414 §3.1 inserts the well-known part between host and path; some clients append it instead.
    let inserted = gets(&format!("{origin}/.well-known/oauth-authorization-server/auth")).await;
    let appended = gets(&format!("{issuer}/.well-known/oauth-authorization-server")).await;
    assert_eq!(inserted.json, appended.json);
    assert_eq!(inserted.header("etag"), appended.header("etag"));
    assert_eq!(inserted.member("issuer"), issuer);
    for (name, value) in inserted.json.as_object().unwrap() {
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let url = value.as_str().unwrap();
            assert!(url.starts_with(&format!("{issuer}/")), "{name}: {url}");
            assert_ne!(gets(url).await.status, StatusCode::NOT_FOUND, "{name}: {url}");
        }
    }
    let page = http()
        .get(format!("{origin}/.well-known/oauth-authorization-server/auth"))
        .header("origin", "https://anybody.example");
    let page = Answer::of(page.send().await.unwrap()).await;
    assert_eq!(page.header("access-control-allow-origin"), "*", "any page may read it");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gets(&format!("{origin}{path}")).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/", "/login", "/oauth/jwks", "/.well-known/oauth-authorization-server"] {
        let answer = gets(&format!("{origin}{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_stays_under_the_path(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, origin)) = under_a_path(database).await else { return };
    let app = world.confidential_app().await;
    let owner = Person::new(&world.server, "ada@example.com", PASSWORD);

    let front = Redirected::of(&owner.gets("").await).location;
    assert!(front.starts_with("/auth/login?next="), "{front}");
    let query = app.request("read:tenants");
    let login = Redirected::of(&owner.visits(&query).await).location;
    assert!(login.starts_with("/auth/login?next=%2Fauth%2Foauth%2Fauthorize"), "{login}");
    let page = gets(&format!("{origin}{login}")).await;
    links_are_under_the_path(&origin, &page).await;

    let form = [("email", "ada@example.com"), ("password", PASSWORD)];
    let home = Redirected::of(&owner.posts("/login", &form).await).location;
    let home = Answer::of(owner.browser.get(format!("{origin}{home}")).send().await.unwrap()).await;
    assert!(Redirected::of(&home).location.starts_with("/auth/o/org_"), "{home:?}");
    links_are_under_the_path(&origin, &owner.gets("/account").await).await;
    links_are_under_the_path(&origin, &owner.visits(&query).await).await;
    links_are_under_the_path(&origin, &gets(&format!("{origin}/auth/nothing")).await).await;
    links_are_under_the_path(&origin, &gets(&format!("{origin}/nothing")).await).await;

    let back = owner.decides(&query, "allow").await;
    assert_eq!(back.get("iss"), world.server.issuer);
    let tokens = app.redeems(back.get("code")).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let out = Redirected::of(&owner.posts("/logout", &[]).await).location;
    assert_eq!(out, "/auth/login?done=logged_out");

    let api = Verifier::discover(&world.server.issuer)
        .audience(AUDIENCE)
        .credential(world.credential.as_str())
        .build()
        .await
        .unwrap();
    let header = format!("Bearer {}", tokens.member("access_token"));
    crate::harness::eventually(async || {
        api.verify(Some(&header), &portcullis_verifier::RequestContext::default()).await.is_ok()
    })
    .await;
}

/// Every link, form and style sheet of the page is under the path, and what can be fetched is there.
async fn links_are_under_the_path(origin: &str, page: &Answer) {
    let mut seen = 0;
    for attribute in ["href=\"", "action=\"", "src=\""] {
        for rest in page.text.split(attribute).skip(1) {
            let link = rest.split('"').next().unwrap();
            if link.starts_with('#') {
                // Within the page.
                continue;
            }
            assert!(link.starts_with("/auth/"), "{link} in {page:?}");
            if link.contains("/assets/") {
                let asset = gets(&format!("{origin}{link}")).await;
                assert_eq!(asset.status, StatusCode::OK, "{link}");
            }
            seen += 1;
        }
    }
    assert!(seen > 0, "there are no links in {page:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_api_under_the_path_are_problem_documents(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some((world, _)) = under_a_path(database).await else { return };
    for path in ["/v1/api-keys", "/v1/nothing"] {
        let answer = gets(&world.server.url(path)).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    }
}

//! What the consent page offers, and when it is not shown: places, first-party applications, whose application it is.

use std::time::Duration;

use portcullis::audit::By;
use portcullis::organizations::delete_project;
use portcullis::tenancy::{self, NewProject, Role};
use rstest::rstest;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use crate::harness::actors::{claims, introspect};
use crate::harness::{Answer, Application, Database, Person, Redirected, World};
use crate::resource_servers::assert_status;

async fn project(
    world: &World,
    organization: entity::OrganizationId,
    name: &str,
) -> entity::ProjectId {
    let app = &world.server.app;
    let tx = app.db.begin().await.unwrap();
    let new = NewProject { organization, name, description: "" };
    let now = app.clock.now();
    let made = tenancy::create_project(&tx, now, &By::operator(), new).await.unwrap();
    tx.commit().await.unwrap();
    made.id
}

async fn deletes(world: &World, project: entity::ProjectId) {
    let app = &world.server.app;
    let tx = app.db.begin().await.unwrap();
    let (now, by) = (app.clock.now(), By::operator());
    delete_project(&tx, now, &by, world.organization, project).await.unwrap();
    tx.commit().await.unwrap();
    app.revocations.catch_up().await;
}

/// Posts what the page would if this was chosen on it.
async fn chooses(person: &Person, query: &[(&str, &str)], place: &str) -> Answer {
    let request = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let form = [("request", &*request), ("organization", place), ("decision", "allow")];
    person.posts("/oauth/authorize/consent", &form).await
}

fn with<'a>(
    query: &[(&'a str, &'a str)],
    name: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let mut changed: Vec<_> = query.iter().copied().filter(|(key, _)| *key != name).collect();
    changed.push((name, value));
    changed
}

/// What was last written down about consent: `consent.given` or `consent.skipped`, and its details.
async fn last_event(world: &World) -> (String, serde_json::Value) {
    let event = entity::audit_event::Entity::find()
        .filter(entity::audit_event::Column::Action.starts_with("consent."))
        .order_by_desc(entity::audit_event::Column::Id)
        .one(world.server.app.db.reader())
        .await
        .unwrap()
        .unwrap();
    (event.action, serde_json::from_str(&event.detail.unwrap()).unwrap())
}

async fn consents(world: &World) -> usize {
    let found = entity::consent::Entity::find().all(world.server.app.db.reader()).await;
    found.unwrap().len()
}

async fn token(app: &Application, redirected: &Redirected) -> serde_json::Value {
    let tokens = app.redeems(redirected.get("code")).await;
    assert_status(&tokens, 200);
    claims(tokens.member("access_token"))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_allows_everything_or_one_project(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let request = app.request("read:tenants");
    let organization = world.organization.to_string();
    let page = ada.visits(&request).await;
    assert!(!page.text.contains("<select"), "there is nothing to choose: {page:?}");
    let shop = project(&world, world.organization, "Shop & <Sons>").await;
    let place = format!("{organization} {shop}");
    let page = ada.visits(&request).await;
    for option in [&organization, &place] {
        assert!(page.text.contains(&format!("<option value=\"{option}\">")), "{page:?}");
    }
    assert!(page.text.contains("Shop &#38; &#60;Sons&#62;"), "{page:?}");

    let redirected = Redirected::of(&chooses(ada, &request, &place).await);
    let tokens = app.redeems(redirected.get("code")).await;
    let access = tokens.member("access_token");
    assert_eq!(claims(access)["project"], shop.to_string());
    assert_eq!(claims(access)["org"], organization);
    let told = introspect(&world.server, &world.credential, access).await;
    assert_eq!(told.json["project"], shop.to_string());
    let told = app.introspects(tokens.member("refresh_token")).await;
    assert_eq!(told.json["project"], shop.to_string());
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(claims(refreshed.member("access_token"))["project"], shop.to_string());
    let (action, detail) = last_event(&world).await;
    assert_eq!((&*action, &detail["project"]), ("consent.given", &serde_json::json!(shop)));

    // Agreed before, for that place alone.
    let again = Redirected::of(&ada.visits(&request).await);
    assert_eq!(token(&app, &again).await["project"], shop.to_string());
    let asked = with(&request, "prompt", "consent");
    let everywhere = Redirected::of(&chooses(ada, &asked, &organization).await);
    assert!(token(&app, &everywhere).await["project"].is_null());
    let again = Redirected::of(&ada.visits(&request).await);
    assert!(token(&app, &again).await["project"].is_null(), "the latest counts");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_gone_is_not_taken_for_everything(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let request = app.request("read:tenants");
    let shop = project(&world, world.organization, "Shop").await;
    let elsewhere = world.second_organization("Elsewhere", Role::Owner).await;
    let foreign = project(&world, elsewhere, "Foreign").await;
    let place = format!("{} {shop}", world.organization);
    let redirected = Redirected::of(&chooses(ada, &request, &place).await);
    let tokens = app.redeems(redirected.get("code")).await;
    let late = Redirected::of(&chooses(ada, &request, &place).await);
    deletes(&world, shop).await;
    assert_eq!(app.redeems(late.get("code")).await.refusal(), "400 invalid_grant");
    assert_eq!(app.refreshes(tokens.member("refresh_token")).await.refusal(), "400 invalid_grant");
    let access = tokens.member("access_token");
    let told = introspect(&world.server, &world.credential, access).await;
    assert_eq!(told.json["active"], false);
    let page = ada.visits(&request).await;
    assert_status(&page, 200);
    assert!(!page.text.contains(&shop.to_string()), "{page:?}");
    for place in [
        place.clone(),
        format!("{} {foreign}", world.organization),
        format!("{} x", world.organization),
        format!("{} ", world.organization),
        format!("{} {elsewhere}", world.organization),
        format!("{place} {place}"),
    ] {
        let answer = chooses(ada, &request, &place).await;
        assert_status(&answer, 400);
        assert!(answer.text.contains("role=\"alert\"") && answer.header("location").is_empty());
    }
    // A stranger to the organization learns nothing of its projects.
    let ben = world.member("ben@example.com", Role::Member).await;
    ben.logs_in().await;
    let answer = chooses(&ben, &request, &format!("{elsewhere} {foreign}")).await;
    assert_status(&answer, 400);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_organization_says_what_its_role_leaves(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    let second = world.second_organization("Second & Sons", Role::Viewer).await;
    let shop = project(&world, second, "Shop").await;
    ada.logs_in().await;
    let page = ada.visits(&app.request("write:tenants")).await;
    assert!(page.text.contains("Create and change your tenants"), "{page:?}");
    let note = page.text.split("your role allows only").nth(1).unwrap();
    assert!(note.contains("See your tenants") && !note.contains("Create and change"), "{page:?}");
    assert_eq!(page.text.matches("your role allows only").count(), 1, "{page:?}");
    let place = format!("{second} {shop}");
    assert!(page.text.contains(&format!("<option value=\"{place}\">")), "{page:?}");
    let redirected = Redirected::of(&chooses(ada, &app.request("write:tenants"), &place).await);
    let token = token(&app, &redirected).await;
    assert_eq!(
        (&token["scope"], &token["project"]),
        (&"read:tenants".into(), &shop.to_string().into())
    );
    // Where all leave the same there is nothing to say.
    let page = ada.visits(&with(&app.request("read:users"), "prompt", "consent")).await;
    assert!(!page.text.contains("your role allows only"), "{page:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_whose_application_it_is(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (plain, ada) = (world.confidential_app().await, &world.owner);
    let app = world
        .registers(|new| {
            new.logo_uri = Some("https://cdn.example.com:8443/logo.svg?a=1&b=\"2\"".to_owned());
            new.policy_uri = Some("https://app.example.com/policy".to_owned());
            new.tos_uri = Some("https://app.example.com/terms".to_owned());
        })
        .await;
    ada.logs_in().await;
    let page = ada.visits(&app.request("read:tenants")).await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("; img-src 'self' https://cdn.example.com:8443;"), "{policy}");
    assert!(policy.ends_with("form-action 'self' https://app.example.com"), "{policy}");
    let logo = "src=\"https://cdn.example.com:8443/logo.svg?a=1&#38;b=&#34;2&#34;\"";
    assert!(page.text.contains(logo), "{page:?}");
    for link in ["policy", "terms"] {
        let link = format!("href=\"https://app.example.com/{link}\" rel=\"noreferrer noopener\"");
        assert!(page.text.contains(&link), "{page:?}");
    }
    let page = ada.visits(&plain.request("read:tenants")).await;
    assert!(page.header("content-security-policy").contains("; img-src 'self';"), "{page:?}");
    assert!(!page.text.contains("<img") && !page.text.contains("noreferrer"), "{page:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn about_the_companys_own_application_nobody_is_asked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.registers(|new| new.is_first_party = true).await;
    let ada = &world.owner;
    ada.logs_in().await;
    let request = app.request("read:tenants");
    for query in [request.clone(), with(&request, "prompt", "none")] {
        let redirected = Redirected::of(&ada.visits(&query).await);
        assert_eq!(token(&app, &redirected).await["scope"], "read:tenants");
    }
    let (action, detail) = last_event(&world).await;
    assert_eq!((&*action, &detail["scopes"]), ("consent.skipped", &"read:tenants".into()));
    assert_eq!(consents(&world).await, 0, "nobody has consented");
    // Whoever wants to be asked is.
    let page = ada.visits(&with(&request, "prompt", "consent")).await;
    assert_status(&page, 200);
    assert!(page.text.contains("to act for you?"), "{page:?}");
    // With several organizations they choose, and no more.
    let second = world.second_organization("Second", Role::Viewer).await;
    let silent = Redirected::of(&ada.visits(&with(&request, "prompt", "none")).await);
    assert_eq!(silent.get("error"), "consent_required");
    let page = ada.visits(&request).await;
    assert!(page.text.contains("Where do you want to use"), "{page:?}");
    assert!(!page.text.contains("See your tenants"), "{page:?}");
    world.server.passes(Duration::from_millis(1));
    let redirected = Redirected::of(&chooses(ada, &request, &second.to_string()).await);
    assert_eq!(token(&app, &redirected).await["org"], second.to_string());
    assert_eq!((&*last_event(&world).await.0, consents(&world).await), ("consent.skipped", 0));
    assert_status(&ada.visits(&request).await, 200);

    // Nobody gets more than their role allows.
    let vic = world.member("vic@example.com", Role::Viewer).await;
    vic.logs_in().await;
    let redirected = Redirected::of(&vic.visits(&app.request("write:tenants")).await);
    assert_eq!(token(&app, &redirected).await["scope"], "read:tenants");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_public_application_of_the_companys_own_is_known_by_its_site_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let mut app = world
        .registers(|new| {
            new.is_first_party = true;
            new.is_confidential = false;
            new.grant_types.pop();
            new.redirect_uris = [
                "https://app.example.com/callback",
                "http://127.0.0.1/callback",
                "com.example.app:/callback",
            ]
            .map(str::to_owned)
            .to_vec();
        })
        .await;
    world.owner.logs_in().await;
    for (uri, is_asked) in [
        ("https://app.example.com/callback", false),
        ("http://127.0.0.1:51004/callback", true),
        ("com.example.app:/callback", true),
    ] {
        app.redirect_uri = uri.to_owned();
        world.server.passes(Duration::from_millis(1));
        let answer = world.owner.visits(&app.request("read:tenants")).await;
        assert_eq!(answer.status == 200, is_asked, "{uri}: {answer:?}");
        if is_asked {
            let place = world.organization.to_string();
            chooses(&world.owner, &app.request("read:tenants"), &place).await;
            assert_eq!(last_event(&world).await.0, "consent.given");
        }
    }
}

/// Posts what the page would with these scopes left ticked.
async fn ticks(
    person: &Person,
    query: &[(&str, &str)],
    organization: entity::OrganizationId,
    scopes: &[&str],
) -> Answer {
    let request = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let organization = organization.to_string();
    let mut form = vec![
        ("request", &*request),
        ("organization", &*organization),
        ("ticks", "shown"),
        ("decision", "allow"),
    ];
    form.extend(scopes.iter().map(|scope| ("scope", *scope)));
    person.posts("/oauth/authorize/consent", &form).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_unticked_is_neither_granted_nor_remembered(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let request = app.request("write:tenants read:users");
    let page = ada.visits(&request).await;
    for scope in ["write:tenants", "read:users"] {
        let ticked = format!("name=\"scope\" value=\"{scope}\" checked>");
        assert!(page.text.contains(&ticked), "{page:?}");
    }
    assert!(page.text.contains("name=\"ticks\""), "{page:?}");

    let narrowed = Redirected::of(&ticks(ada, &request, world.organization, &["read:users"]).await);
    let tokens = app.redeems(narrowed.get("code")).await;
    // RFC 6749 §3.3: who gets less than was asked for is told so.
    assert_eq!(tokens.member("scope"), "read:users");
    assert_eq!(claims(tokens.member("access_token"))["scope"], "read:users");
    let told = introspect(&world.server, &world.credential, tokens.member("access_token")).await;
    assert_eq!(told.json["scope"], "read:users");
    let refreshed = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refreshed.member("scope"), "read:users");
    let (action, detail) = last_event(&world).await;
    assert_eq!((&*action, &detail["scopes"]), ("consent.given", &"read:users".into()));
    assert_eq!(consents(&world).await, 1);

    // The same again is known, more is asked about.
    let known = Redirected::of(&ada.visits(&app.request("read:users")).await);
    assert_eq!(token(&app, &known).await["scope"], "read:users");
    assert_status(&ada.visits(&request).await, 200);
    let silent = Redirected::of(&ada.visits(&with(&request, "prompt", "none")).await);
    assert_eq!(silent.get("error"), "consent_required");

    // Once all of it was allowed, unticking takes it back: the next request asks.
    world.server.passes(Duration::from_millis(1));
    let both = ["write:tenants", "read:users"];
    let all = Redirected::of(&ticks(ada, &request, world.organization, &both).await);
    assert_eq!(token(&app, &all).await["scope"], "read:users write:tenants");
    assert_eq!(ada.visits(&request).await.status, 303, "it is known now");
    world.server.passes(Duration::from_millis(1));
    ticks(ada, &with(&request, "prompt", "consent"), world.organization, &["read:users"]).await;
    assert_status(&ada.visits(&request).await, 200);
    assert_status(&ada.visits(&app.request("read:tenants")).await, 200);
    assert_eq!(ada.visits(&app.request("read:users")).await.status, 303);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_tick_grants_nothing_and_none_is_asked_again(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let request = app.request("read:tenants read:users");
    for forged in
        [&["admin"][..], &["write:users", "*"], &["write:tenants"], &["\"><x"], &[""], &[]]
    {
        let page = ticks(ada, &request, world.organization, forged).await;
        assert_status(&page, 422);
        assert!(page.text.contains("role=\"alert\">Tick at least one thing"), "{page:?}");
        assert!(!page.text.contains("checked") && page.text.contains("value=\"allow\""));
        assert!(!page.text.contains("value=\"admin\""), "{page:?}");
    }
    assert_eq!(consents(&world).await, 0);
    let forged = ["read:users", "admin", "write:tenants", "write:users"];
    let answer = ticks(ada, &request, world.organization, &forged).await;
    assert_eq!(token(&app, &Redirected::of(&answer)).await["scope"], "read:users");

    // Within the role that counts: hers in the second organization leaves nothing of what is ticked here.
    let second = world.second_organization("Second", Role::Viewer).await;
    let app = world.registers(|new| {
        new.audiences[0].allowed = "read:tenants write:users admin".parse().unwrap();
    });
    let app = app.await;
    let request = app.request("read:tenants write:users");
    let answer = ticks(ada, &request, second, &["write:users"]).await;
    assert_eq!(token(&app, &Redirected::of(&answer)).await["scope"], "read:users");
    // No ticks were shown: it is all or nothing, as ever.
    let place = world.organization.to_string();
    let answer = chooses(ada, &request, &place).await;
    assert_eq!(token(&app, &Redirected::of(&answer)).await["scope"], "read:tenants write:users");
}

#[tokio::test(flavor = "multi_thread")]
async fn powerful_scopes_are_set_apart() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = world.registers(|new| {
        new.audiences[0].allowed = "admin".parse().unwrap();
    });
    let (app, ada) = (app.await, &world.owner);
    ada.logs_in().await;
    let page = ada.visits(&app.request("read:tenants *:users")).await;
    let (usual, powerful) = page.text.split_once("class=\"powerful\"").unwrap();
    assert!(usual.contains("See your tenants") && !usual.contains("with users"), "{page:?}");
    assert!(powerful.contains("Do everything with users"), "{page:?}");
    // One alone can't be unticked: that is what "deny" is for.
    let page = ada.visits(&app.request("admin")).await;
    assert!(page.text.contains("class=\"powerful\"") && !page.text.contains("checkbox"));
    let page = ada.visits(&app.request("read:tenants")).await;
    assert!(!page.text.contains("class=\"powerful\"") && !page.text.contains("checkbox"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_this_computer_is_shown_as_what_it_is() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let ada = &world.owner;
    ada.logs_in().await;
    for (uri, is_confidential, warns) in [
        ("http://127.0.0.1/callback", false, true),
        ("http://[::1]/callback", false, true),
        ("http://127.0.0.1/callback", true, false),
        ("https://app.example.com/callback", false, false),
        ("com.example.app:/callback", false, false),
    ] {
        let app = world.registers(|new| {
            new.redirect_uris = vec![uri.to_owned()];
            new.is_confidential = is_confidential;
            if !is_confidential {
                new.grant_types
                    .retain(|it| *it != portcullis::clients::GrantType::ClientCredentials);
            }
        });
        let app = app.await;
        let page = ada.visits(&app.request("read:tenants")).await;
        assert_status(&page, 200);
        assert_eq!(page.text.contains("<h1>Allow this command line?</h1>"), warns, "{page:?}");
        assert_eq!(page.text.contains("Only go on if you have just started it yourself"), warns);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_the_one_logged_in_can_change_that() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let (app, ada) = (world.confidential_app().await, &world.owner);
    ada.logs_in().await;
    let request = app.request("read:tenants");
    let page = ada.visits(&request).await;
    let link = page.text.split("<a href=\"/login?next=").nth(1).unwrap().split('"').next().unwrap();
    let login = ada.gets(&format!("/login?next={link}")).await;
    assert!(login.text.contains("You are logged in as"), "{login:?}");
    assert!(login.text.contains("name=\"password\""), "{login:?}");
    let policy = login.header("content-security-policy");
    assert!(policy.ends_with("form-action 'self' https://app.example.com"), "{policy}");
    // An application that wants a fresh login gets one.
    let answer = ada.visits(&with(&request, "prompt", "login")).await;
    let login = ada.follows(&answer).await;
    assert!(!login.text.contains("You are logged in as"), "{login:?}");
    assert!(login.text.contains("name=\"password\""), "{login:?}");
}

//! `/v1/organizations`, what each role may do in one, and the end of one.

use std::time::Duration;

use entity::OrganizationId;
use portcullis::audit::By;
use portcullis::revocation;
use portcullis::tenancy::{self, Role, RoleRef};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::{ids, wrong_fields};
use crate::harness::{Caller, Database, World};

const ORGANIZATIONS: &str = "/v1/organizations";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn path(organization: OrganizationId) -> String {
    format!("{ORGANIZATIONS}/{organization}")
}

/// Somebody of the organization that runs the installation.
async fn operator(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// The owner's key of another organization.
async fn key_in(world: &World, organization: OrganizationId) -> String {
    world.api_key_in(organization, &world.owner, Role::Owner, &["admin"], None).await.secret
}

// What each role may do

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_what_it_may_by_key_and_in_the_browser(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let other = world.second_organization("Other", Role::Owner).await;
    let first = Caller::with(&world.server, &key_in(&world, other).await);
    let scopes = json!({ "name": "Clerk", "scopes": ["admin:members", "read:roles"] });
    let clerk: RoleRef = first.posts("/v1/roles", &scopes).await.member("id").parse().unwrap();
    let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
    let victim = world.stranger("victim@example.com").await.id(&world.server).await;
    tenancy::insert_membership(db, now, other, victim, Role::Viewer).await.unwrap();
    let spare = json!({ "name": "Spare", "scopes": ["read:roles"] });
    let spare = first.posts("/v1/roles", &spare).await.member("id").to_owned();

    // Owner, admin, member, viewer, and a role of the organization's own.
    let allowed = |own: &str| {
        let (members, roles) = (format!("/v1/members/{victim}"), format!("/v1/roles/{spare}"));
        let (own, foreign) = (format!("{ORGANIZATIONS}/{own}"), path(world.organization));
        vec![
            (Method::GET, ORGANIZATIONS.to_owned(), Value::Null, [200, 200, 200, 200, 403]),
            (Method::GET, own.clone(), Value::Null, [200, 200, 200, 200, 403]),
            (Method::GET, foreign.clone(), Value::Null, [404, 404, 404, 404, 403]),
            (Method::PATCH, own.clone(), json!({ "name": "Other" }), [200, 200, 403, 403, 403]),
            (Method::PATCH, foreign.clone(), json!({ "name": "x" }), [404, 404, 403, 403, 403]),
            (Method::DELETE, own, Value::Null, [403; 5]),
            (Method::DELETE, foreign, Value::Null, [403; 5]),
            (Method::POST, ORGANIZATIONS.to_owned(), json!({ "name": "x" }), [403; 5]),
            (Method::GET, "/v1/roles".to_owned(), Value::Null, [200; 5]),
            (Method::PATCH, roles, json!({ "name": "Spare" }), [200, 200, 403, 403, 403]),
            (Method::GET, "/v1/members".to_owned(), Value::Null, [200; 5]),
            (Method::GET, members.clone(), Value::Null, [200; 5]),
            (
                Method::PATCH,
                members.clone(),
                json!({ "role": "viewer" }),
                [200, 200, 403, 403, 403],
            ),
            (Method::PATCH, members.clone(), json!({ "role": spare }), [200, 200, 403, 403, 200]),
            (Method::PATCH, members.clone(), json!({ "role": "owner" }), [200, 403, 403, 403, 403]),
            (Method::GET, "/v1/projects".to_owned(), Value::Null, [200, 200, 200, 200, 403]),
            (Method::GET, "/v1/users".to_owned(), Value::Null, [403; 5]),
            (Method::GET, format!("/v1/users/{victim}"), Value::Null, [403; 5]),
            (Method::DELETE, format!("/v1/users/{victim}"), Value::Null, [403; 5]),
        ]
    };
    let roles = [Role::Owner, Role::Admin, Role::Member, Role::Viewer].map(RoleRef::from);
    for (at, role) in roles.into_iter().chain([clerk]).enumerate() {
        let person = world.stranger(&format!("person{at}@example.com")).await;
        let id = person.id(&world.server).await;
        tenancy::insert_membership(db, now, other, id, role).await.unwrap();
        person.logs_in().await;
        let key = world.api_key_in(other, &person, Role::Owner, &["admin"], None).await.secret;
        let callers =
            [Caller::with(&world.server, &key), Caller::in_browser(&world.server, &person, other)];
        for (way, caller) in callers.iter().enumerate() {
            for (method, path, body, expected) in allowed(&other.to_string()) {
                // What the one before has left is put right.
                world_puts(&world, other, victim, "viewer").await;
                if body["role"] == *spare && at == 4 {
                    world_puts(&world, other, victim, &spare).await;
                }
                let answer = caller.calls(method.clone(), &path, &body).await;
                assert_eq!(
                    answer.status, expected[at],
                    "{role:?}, way {way}: {method} {path} {body}: {answer:?}"
                );
            }
        }
    }
}

async fn world_puts(world: &World, organization: OrganizationId, user: entity::UserId, role: &str) {
    use sea_orm::{ActiveModelTrait as _, Set};
    let row = entity::membership::ActiveModel {
        organization_id: Set(organization),
        user_id: Set(user),
        role: Set(role.to_owned()),
        ..Default::default()
    };
    row.update(world.server.app.db.writer()).await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_and_the_operator_all(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    world.server.passes(Duration::from_millis(5));
    let other = world.second_organization("Other", Role::Viewer).await;
    world.server.passes(Duration::from_millis(5));
    let third = world.second_organization("Öther", Role::Viewer).await;
    let (first, other, third) = (world.organization, other, third);
    let sees = async |caller: &Caller, query: &str| {
        let page = caller.gets(&format!("{ORGANIZATIONS}{query}")).await;
        ids(&page, "id").iter().map(|id| id.parse().unwrap()).collect::<Vec<OrganizationId>>()
    };
    let operator = operator(&world).await;
    assert_eq!(sees(&operator, "").await, [third, other, first]);
    assert_eq!(sees(&operator, "?limit=1").await, [third]);
    assert_eq!(sees(&operator, &format!("?limit=1&cursor={third}")).await, [other]);
    assert_eq!(sees(&operator, "?name=oT").await, [other]);
    assert_eq!(sees(&operator, "?name=%C3%96t").await, [third]);
    assert_eq!(operator.gets(&path(other)).await.member("name"), "Other");

    // A credential is one organization's; a person's browser shows all that the person belongs to.
    let key = Caller::with(&world.server, &key_in(&world, other).await);
    assert_eq!(sees(&key, "").await, [other]);
    assert_eq!(sees(&key, "?name=x").await, []);
    assert_eq!(key.gets(&path(third)).await.status, StatusCode::NOT_FOUND);
    let bob = world.stranger("bob@example.com").await;
    let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
    for organization in [other, third] {
        let id = bob.id(&world.server).await;
        tenancy::insert_membership(db, now, organization, id, Role::Viewer).await.unwrap();
    }
    bob.logs_in().await;
    let browser = Caller::in_browser(&world.server, &bob, other);
    assert_eq!(sees(&browser, "").await, [third, other]);
    assert_eq!(browser.gets(&path(third)).await.status, StatusCode::OK);
    let nowhere = browser.gets(&format!("{ORGANIZATIONS}/org_01h455vb4pex5vsknk084sn02q")).await;
    let foreign = browser.gets(&path(first)).await;
    assert_eq!((foreign.status, &foreign.text), (StatusCode::NOT_FOUND, &nowhere.text));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_founded_and_renamed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    let made = operator.posts_once("one", ORGANIZATIONS, &json!({ "name": " New " })).await;
    assert_eq!((made.status, made.header("etag")), (StatusCode::CREATED, "\"1\""), "{made:?}");
    let expected = json!({
        "id": made.member("id"), "name": "New", "created_at": made.member("created_at"),
        "closed_at": null, "api_key_requests_per_minute": null, "leak_policy": "notify", "version": 1,
    });
    assert_eq!(made.json, expected);
    let again = operator.posts_once("one", ORGANIZATIONS, &json!({ "name": " New " })).await;
    assert_eq!(again.json, expected);
    assert_eq!(ids(&operator.gets(ORGANIZATIONS).await, "id").len(), 2);
    // Whoever founds it owns it, unless they say who does.
    let id: OrganizationId = made.member("id").parse().unwrap();
    let reader = world.server.app.db.reader();
    let owner = tenancy::first_member(reader, id, Role::Owner).await.unwrap();
    assert_eq!(owner, Some(world.owner.id(&world.server).await));
    let bob = world.stranger("bob@example.com").await.id(&world.server).await;
    let bobs = operator.posts(ORGANIZATIONS, &json!({ "name": "Bob's", "owner": bob })).await;
    let id = bobs.member("id").parse().unwrap();
    assert_eq!(tenancy::first_member(reader, id, Role::Owner).await.unwrap(), Some(bob));
    for (body, field) in [
        (json!({}), "name"),
        (json!({ "name": " " }), "name"),
        (json!({ "name": "x".repeat(101) }), "name"),
        // As the document says, which knows nothing of what is cut off at the ends.
        (json!({ "name": format!("{}\u{a0}", "x".repeat(100)) }), "name"),
        (json!({ "name": "x", "owner": "usr_01h455vb4pex5vsknk084sn02q" }), "owner"),
        (json!({ "name": "x", "owner": "bob" }), "owner"),
        (json!({ "name": "x", "join": true }), "join"),
    ] {
        assert_eq!(wrong_fields(&operator.posts(ORGANIZATIONS, &body).await), [field], "{body}");
    }

    let there = path(id);
    let read = operator.gets(&there).await;
    let renamed = operator.patches_as_read(&read, &there, &json!({ "name": "Robert's" })).await;
    assert_eq!((renamed.member("name"), renamed.header("etag")), ("Robert's", "\"2\""));
    let late = operator.patches_as_read(&read, &there, &json!({ "name": "Late" })).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{late:?}");
    assert_eq!(ids(&operator.gets("/v1/organizations?name=rob").await, "id"), [id.to_string()]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_says_what_its_keys_may_and_what_becomes_of_one_that_leaked(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
    let Some(world) = World::on(database).await else { return };
    let owner = operator(&world).await;
    let there = path(world.organization);
    let usual = owner.gets(&there).await;
    assert_eq!(usual.json["api_key_requests_per_minute"], Value::Null);
    assert_eq!(usual.json["leak_policy"], "notify");
    let told = async || {
        entity::revocation::Entity::find()
            .filter(entity::revocation::Column::Subject.eq(world.organization.to_string()))
            .filter(entity::revocation::Column::Kind.eq("changed"))
            .count(world.server.app.db.reader())
            .await
            .unwrap()
    };
    let wanted = json!({ "api_key_requests_per_minute": 600, "leak_policy": "revoke" });
    let edited = owner.patches_as_read(&usual, &there, &wanted).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    assert_eq!(edited.json["name"], usual.json["name"], "what is left out stays");
    assert_eq!(edited.json["api_key_requests_per_minute"], 600);
    assert_eq!(edited.json["leak_policy"], "revoke");
    assert_eq!(owner.gets(&there).await.json, edited.json);
    assert_eq!(told().await, 1, "whoever remembers the limit is told");
    let late = owner.patches_as_read(&usual, &there, &json!({ "leak_policy": "narrow" })).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{late:?}");
    let narrow = owner.patches(&there, &json!({ "leak_policy": "narrow" })).await;
    assert_eq!(narrow.json["leak_policy"], "narrow", "{narrow:?}");
    assert_eq!((narrow.json["api_key_requests_per_minute"].as_u64(), told().await), (Some(600), 1));
    let none = owner.patches(&there, &json!({ "api_key_requests_per_minute": null })).await;
    assert_eq!(none.json["api_key_requests_per_minute"], Value::Null, "{none:?}");
    assert_eq!(told().await, 2);
    let events = owner.gets("/v1/audit-events?action=organization.changed").await;
    let details: Vec<&Value> =
        events.json["items"].as_array().unwrap().iter().map(|it| &it["detail"]).collect();
    assert_eq!(details.len(), 3, "{events:?}");
    assert!(details.contains(&&wanted), "{details:?}");

    for (wrong, field) in [
        (json!({ "api_key_requests_per_minute": 0 }), "api_key_requests_per_minute"),
        (json!({ "api_key_requests_per_minute": 1_000_001 }), "api_key_requests_per_minute"),
        (json!({ "api_key_requests_per_minute": -1 }), "api_key_requests_per_minute"),
        (json!({ "leak_policy": "ignore" }), "leak_policy"),
        (json!({ "name": "" }), "name"),
        (json!({ "requests_per_minute": 5 }), "requests_per_minute"),
    ] {
        assert_eq!(wrong_fields(&owner.patches(&there, &wrong).await), [field], "{wrong}");
    }
    // Whoever administers another organization has no part in it.
    let other = world.second_organization("Other", Role::Owner).await;
    let stranger = Caller::with(&world.server, &key_in(&world, other).await);
    let refused = stranger.patches(&there, &json!({ "leak_policy": "notify" })).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");
    assert_eq!(owner.gets(&there).await.json["leak_policy"], "narrow");
}

// The end of one

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_closed_organization_works_any_more(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    let other = world.second_organization("Other", Role::Owner).await;
    let bob = world.stranger("bob@example.com").await;
    let bob_id = bob.id(&world.server).await;
    let (app, now) = (&world.server.app, world.server.app.clock.now());
    tenancy::insert_membership(app.db.writer(), now, other, bob_id, Role::Admin).await.unwrap();
    let key = world.api_key_in(other, &bob, Role::Owner, &["admin"], None).await;
    let its_own = world.api_key_in(other, &bob, Role::Owner, &["admin"], None).await;
    let script = Caller::with(&world.server, &key.secret);
    let hand_over = format!("/v1/api-keys/{}/hand-over", its_own.id);
    let handed = script.posts(&hand_over, &json!({ "owner": other.to_string() })).await;
    assert_eq!(handed.status, StatusCode::OK, "{handed:?}");
    let client = world.registers(|new| new.organization = other).await;
    let machine = client.acts_for_itself("read:tenants").await;
    let everybodys = world.confidential_app().await;
    let tokens = everybodys.redeems(&bob.approves(&everybodys, "read:tenants").await).await;
    // One of its applications, used in another organization.
    let elsewhere = client.redeems(&world.owner.approves(&client, "read:tenants").await).await;
    let browser = Caller::in_browser(&world.server, &bob, other);
    assert_eq!(browser.gets("/v1/members").await.status, StatusCode::OK);
    let invitation = invitation(&world, other).await;

    let closed = operator.deletes(&path(other)).await;
    let expected = json!({
        "members": 2, "api_keys": 2, "clients": 1, "grants": 3, "resource_servers": 0,
    });
    assert_eq!((closed.status, &closed.json), (StatusCode::OK, &expected), "{closed:?}");
    let again = operator.deletes(&path(other)).await;
    assert_eq!((again.status, &again.json["api_keys"]), (StatusCode::OK, &json!(0)));

    let is_dead = async || {
        for credential in [&key.secret, &its_own.secret] {
            let told = introspect(&world.server, &world.credential, credential).await;
            assert_eq!(told.json, json!({ "active": false }));
            let script = Caller::with(&world.server, credential);
            assert_eq!(script.gets(ORGANIZATIONS).await.status, StatusCode::UNAUTHORIZED);
        }
        for tokens in [&machine, &tokens, &elsewhere] {
            let token = tokens.member("access_token");
            let told = introspect(&world.server, &world.credential, token).await;
            assert_eq!(told.json, json!({ "active": false }));
        }
        assert_eq!(client.acts_for_itself("read:tenants").await.refusal(), "401 invalid_client");
        let refused = client.refreshes(elsewhere.member("refresh_token")).await;
        assert_eq!(refused.refusal(), "401 invalid_client");
        let refused = everybodys.refreshes(tokens.member("refresh_token")).await;
        assert_eq!(refused.refusal(), "400 invalid_grant");
        assert_eq!(operator.patches(&path(other), &json!({ "name": "x" })).await.status, 404);
        let shown = operator.gets(&path(other)).await;
        assert!(shown.json["closed_at"].is_string(), "{shown:?}");
        let found = tenancy::find_organization_by_name(app.db.reader(), Some("Other")).await;
        assert_eq!(found.unwrap(), None);
    };
    is_dead().await;
    assert_eq!(browser.gets("/v1/members").await.status, StatusCode::NOT_FOUND);
    assert!(is_revoked(&world, invitation).await);

    // Nor when the log remembers nothing of it, and whatever was made beside the closing.
    let client_of_late = world.registers(|new| new.organization = other).await;
    let key_of_late = world.api_key_in(other, &bob, Role::Owner, &["admin"], None).await;
    tenancy::insert_membership(app.db.writer(), now, other, bob_id, Role::Owner).await.unwrap();
    owned_by_the_organization(&world, &key_of_late.id).await;
    world.server.passes(3 * DAY);
    let tx = app.db.begin().await.unwrap();
    assert!(revocation::trim(&tx, app.clock.now()).await.unwrap() > 0);
    tx.commit().await.unwrap();
    is_dead().await;
    let second = world.server.beside().await;
    let moved = client.moved_to(&second);
    assert_eq!(moved.acts_for_itself("read:tenants").await.refusal(), "401 invalid_client");
    let refused = client_of_late.acts_for_itself("read:tenants").await;
    assert_eq!(refused.refusal(), "401 invalid_client");
    let told = introspect(&world.server, &world.credential, &key_of_late.secret).await;
    assert_eq!(told.json, json!({ "active": false }));
    bob.logs_in().await;
    assert_eq!(browser.gets("/v1/members").await.status, StatusCode::NOT_FOUND);
    let late = everybodys.request("read:tenants");
    assert_eq!(bob.decides(&late, "allow").await.get("error"), "access_denied");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_runs_the_installation_stays(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    let refused = operator.deletes(&path(world.organization)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_eq!(operator.gets(&path(world.organization)).await.json["closed_at"], Value::Null);
    let nowhere = format!("{ORGANIZATIONS}/org_01h455vb4pex5vsknk084sn02q");
    assert_eq!(operator.deletes(&nowhere).await.status, StatusCode::NOT_FOUND);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_apis_of_a_closed_organization_are_gone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    use portcullis::resource_servers::{self, NewResourceServer};
    use portcullis::signing::Algorithm;
    let Some(world) = World::on(database).await else { return };
    let other = world.second_organization("Other", Role::Owner).await;
    let app = &world.server.app;
    let new = NewResourceServer {
        organization: other,
        audience: "https://other.example.com",
        name: "Theirs",
        algorithm: Algorithm::Es256,
        catalog: world.api.catalog.clone(),
        access_token_seconds: None,
        is_shared: true,
        status_list: false,
    };
    let tx = app.db.begin().await.unwrap();
    let made = resource_servers::create(&tx, app.clock.now(), &By::operator(), "pc", new).await;
    let Ok((api, credential)) = made else { panic!("the API can't be registered") };
    tx.commit().await.unwrap();
    let client = world.app_for(&api).await;
    let credential = secrecy::ExposeSecret::expose_secret(&credential).to_owned();
    let key = world.api_key(&["read:tenants"]).await.secret;
    assert_eq!(introspect(&world.server, &credential, &key).await.json["active"], true);
    assert_eq!(client.acts_for_itself("read:tenants").await.status, StatusCode::OK);

    let closed = operator(&world).await.deletes(&path(other)).await;
    assert_eq!(closed.json["resource_servers"], 1, "{closed:?}");
    let refused = introspect(&world.server, &credential, &key).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    let refused = client.acts_for_itself("read:tenants").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
}

async fn invitation(world: &World, organization: OrganizationId) -> entity::InvitationId {
    use sea_orm::{ActiveModelTrait as _, Set};
    let now = world.server.app.clock.now();
    let id = entity::InvitationId::new(now);
    let row = entity::invitation::ActiveModel {
        id: Set(id),
        organization_id: Set(organization),
        email: Set("eve@example.com".to_owned()),
        role: Set("viewer".to_owned()),
        digest: Set(vec![7; 32]),
        invited_by: Set(None),
        created_at: Set(now),
        expires_at: Set(now + DAY),
        accepted_at: Set(None),
        revoked_at: Set(None),
    };
    row.insert(world.server.app.db.writer()).await.unwrap();
    id
}

async fn is_revoked(world: &World, id: entity::InvitationId) -> bool {
    use sea_orm::EntityTrait as _;
    let found = entity::invitation::Entity::find_by_id(id).one(world.server.app.db.reader()).await;
    found.unwrap().unwrap().revoked_at.is_some()
}

async fn owned_by_the_organization(world: &World, key: &str) {
    use sea_orm::{ActiveModelTrait as _, Set};
    let row = entity::api_key::ActiveModel {
        id: Set(key.parse().unwrap()),
        owner_id: Set(None),
        ..Default::default()
    };
    row.update(world.server.app.db.writer()).await.unwrap();
}

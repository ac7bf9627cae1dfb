//! `/v1/members`: who gives which role to whom, and how people go.

use std::time::Duration;

use entity::{OrganizationId, UserId};
use portcullis::revocation::Subject;
use portcullis::tenancy::{self, Role, RoleRef};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::{ids, wrong_fields};
use crate::harness::{Answer, Caller, Database, Person, World};

fn path(user: UserId) -> String {
    format!("/v1/members/{user}")
}

/// Somebody with an API key that reaches as far as they do.
struct Actor {
    id: UserId,
    person: Person,
    key: Caller,
}

impl Actor {
    async fn new(world: &World, email: &str, role: impl Into<RoleRef>) -> Self {
        let person = world.stranger(email).await;
        let id = person.id(&world.server).await;
        let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
        tenancy::insert_membership(db, now, world.organization, id, role).await.unwrap();
        let key = world.api_key_of(&person, Role::Owner, &["admin"], None).await;
        Self { id, person, key: Caller::with(&world.server, &key.secret) }
    }

    async fn gives(&self, role: &str, to: UserId) -> Answer {
        self.key.patches(&path(to), &json!({ "role": role })).await
    }
}

async fn owner(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

async fn own_role(world: &World, name: &str, scopes: &[&str]) -> RoleRef {
    let wanted = json!({ "name": name, "scopes": scopes });
    owner(world).await.posts("/v1/roles", &wanted).await.member("id").parse().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_and_found(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    world.server.passes(Duration::from_millis(5));
    let bob = world.member("bob@example.com", Role::Viewer).await.id(&world.server).await;
    world.server.passes(Duration::from_millis(5));
    let bea = world.member("bea@example.com", Role::Member).await.id(&world.server).await;
    world.stranger("bert@example.com").await;
    let ada = world.owner.id(&world.server).await;

    let all = owner.gets("/v1/members").await;
    assert_eq!(ids(&all, "user"), [bea, bob, ada].map(|id| id.to_string()));
    assert_eq!(all.json["next_cursor"], Value::Null);
    let first = owner.gets("/v1/members?limit=2").await;
    let cursor = first.member("next_cursor");
    let second = owner.gets(&format!("/v1/members?limit=2&cursor={cursor}")).await;
    assert_eq!(ids(&second, "user"), [ada.to_string()]);
    for (query, expected) in [
        ("role=viewer", vec![bob]),
        ("email=B", vec![bea, bob]),
        ("email=be&role=member", vec![bea]),
        ("email=be&role=viewer", vec![]),
        ("role=rol_01h455vb4pex5vsknk084sn02q", vec![]),
    ] {
        let found = owner.gets(&format!("/v1/members?{query}")).await;
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(ids(&found, "user"), expected, "{query}");
    }
    for query in ["role=king", "limit=0", "cursor=x", "name=x", "email=a&email=b"] {
        let refused = owner.gets(&format!("/v1/members?{query}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {refused:?}");
    }

    let read = owner.gets(&path(bob)).await;
    assert_eq!(read.header("etag"), "\"1\"");
    let expected = json!({
        "user": bob.to_string(), "email": "bob@example.com", "name": "Somebody", "role": "viewer",
        "role_name": "viewer", "joined_at": read.member("joined_at"), "suspended_at": null,
        "version": 1,
    });
    assert_eq!(read.json, expected);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_or_takes_more_than_they_have(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let guide = own_role(&world, "Guide", &["read:tenants"]).await;
    let manager = own_role(&world, "Manager", &["admin:members", "read:tenants"]).await;
    let ada = world.owner.id(&world.server).await;
    let admin = Actor::new(&world, "admin@example.com", Role::Admin).await;
    let manager = Actor::new(&world, "manager@example.com", manager).await;
    let member = Actor::new(&world, "member@example.com", Role::Member).await;
    let guided = Actor::new(&world, "guided@example.com", guide).await;
    let guide = guide.to_string();

    for (actor, role, to) in [
        (&admin, "owner", admin.id),
        (&admin, "owner", member.id),
        (&admin, "viewer", ada),
        (&manager, "viewer", guided.id),
        (&manager, "member", guided.id),
        (&manager, "admin", manager.id),
        (&manager, &guide, member.id),
        (&manager, &guide, admin.id),
        (&manager, &guide, ada),
        (&member, "viewer", guided.id),
        (&member, "admin", member.id),
        (&guided, "admin", guided.id),
    ] {
        let refused = actor.gives(role, to).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{role} to {to}: {refused:?}");
    }
    for (actor, whom) in [
        (&admin, ada),
        (&manager, ada),
        (&manager, admin.id),
        (&manager, member.id),
        (&member, guided.id),
        (&guided, member.id),
    ] {
        let refused = actor.key.deletes(&path(whom)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{whom}: {refused:?}");
    }
    // A credential has no more to say than it was given, whoever is behind it.
    let narrow = world.api_key(&["write:members"]).await.secret;
    let narrow = Caller::with(&world.server, &narrow);
    let everything_but = world.api_key(&["*:members", "write"]).await.secret;
    let everything_but = Caller::with(&world.server, &everything_but);
    for (key, role) in [(&narrow, "viewer"), (&everything_but, "admin"), (&everything_but, "owner")]
    {
        let refused = key.patches(&path(guided.id), &json!({ "role": role })).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{role}: {refused:?}");
    }

    let manager_role = own_role(&world, "Another manager", &["admin:members"]).await.to_string();
    for (actor, role, to) in [
        (&manager, manager_role.as_str(), guided.id),
        (&manager, &guide, guided.id),
        (&admin, "admin", member.id),
        (&member, "viewer", admin.id),
    ] {
        let given = actor.gives(role, to).await;
        assert_eq!((given.status, given.member("role")), (StatusCode::OK, role), "{given:?}");
    }
    // An owner may, by key and in the browser.
    world.owner.logs_in().await;
    let browser = Caller::in_browser(&world.server, &world.owner, world.organization);
    for caller in [&owner(&world).await, &browser] {
        for role in ["owner", "viewer"] {
            let given = caller.patches(&path(admin.id), &json!({ "role": role })).await;
            assert_eq!(given.status, StatusCode::OK, "{given:?}");
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_keeps_an_owner(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (owner, ada) = (owner(&world).await, path(world.owner.id(&world.server).await));
    assert_eq!(owner.patches(&ada, &json!({ "role": "admin" })).await.status, 409);
    assert_eq!(owner.deletes(&ada).await.status, 409);
    assert_eq!(owner.patches(&ada, &json!({ "role": "owner" })).await.status, 200);
    Actor::new(&world, "bob@example.com", Role::Owner).await;
    assert_eq!(owner.deletes(&ada).await.status, StatusCode::NO_CONTENT);
    assert_eq!(owner.gets(&ada).await.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_demote_one_another_one_succeeds(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (ada, key) = (world.owner.id(&world.server).await, owner(&world).await);
    for round in 0..8 {
        let bob = Actor::new(&world, &format!("bob{round}@example.com"), Role::Owner).await;
        // With a third owner nobody would be the last; whoever was demoted has nothing more to say.
        let third = Actor::new(&world, &format!("third{round}@example.com"), Role::Owner).await;
        let to_member = json!({ "role": "member" });
        if round % 2 == 0 {
            third.key.patches(&path(third.id), &to_member).await;
        }
        let bobs = path(bob.id);
        let (by_ada, by_bob) =
            tokio::join!(key.patches(&bobs, &to_member), bob.gives("member", ada));
        let won = [&by_ada, &by_bob].into_iter().filter(|it| it.status == 200).count();
        assert_eq!(won, 1, "{by_ada:?} {by_bob:?}");
        for loser in [by_ada, by_bob].iter().filter(|it| it.status != 200) {
            assert!(matches!(loser.status.as_u16(), 403 | 409), "{loser:?}");
        }
        world.puts(&bob.person, Some(Role::Member)).await;
        world.puts(&third.person, Some(Role::Member)).await;
        world.puts(&world.owner, Some(Role::Owner)).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_second_editor_is_told_that_the_first_was_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let bob = world.member("bob@example.com", Role::Viewer).await.id(&world.server).await;
    let read = owner.gets(&path(bob)).await;
    let first = owner.patches_as_read(&read, &path(bob), &json!({ "role": "member" })).await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (200, "\"2\""));
    let second = owner.patches_as_read(&read, &path(bob), &json!({ "role": "admin" })).await;
    assert_eq!(second.status, StatusCode::PRECONDITION_FAILED, "{second:?}");
    assert_eq!(owner.gets(&path(bob)).await.member("role"), "member");
    let third = owner.patches_as_read(&first, &path(bob), &json!({ "role": "admin" })).await;
    assert_eq!(third.status, StatusCode::OK);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_elsewhere_is_like_what_is_nowhere(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let bob = world.member("bob@example.com", Role::Viewer).await.id(&world.server).await;
    let stranger = world.stranger("eve@example.com").await;
    let eve = stranger.id(&world.server).await;
    let other = world.second_organization("Other", Role::Owner).await;
    let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
    tenancy::insert_membership(db, now, other, eve, Role::Admin).await.unwrap();
    let foreign_role = role_of(&world, other).await;

    let nobody = "usr_01h455vb4pex5vsknk084sn02q";
    let to_viewer = json!({ "role": "viewer" });
    for there in [eve.to_string().as_str(), nobody, "usr_x", "key_01h455vb4pex5vsknk084sn02q"] {
        let there = format!("/v1/members/{there}");
        for answer in [
            owner.gets(&there).await,
            owner.patches(&there, &to_viewer).await,
            owner.deletes(&there).await,
        ] {
            let nowhere = owner.gets("/v1/members/x").await;
            assert_eq!((answer.status, &answer.text), (StatusCode::NOT_FOUND, &nowhere.text));
        }
    }
    let unknown =
        owner.patches(&path(bob), &json!({ "role": "rol_01h455vb4pex5vsknk084sn02q" })).await;
    let foreign = owner.patches(&path(bob), &json!({ "role": foreign_role.to_string() })).await;
    assert_eq!(wrong_fields(&unknown), ["role"]);
    assert_eq!(unknown.text, foreign.text);
    for body in
        [json!({}), json!({ "role": "king" }), json!({ "role": 5 }), json!({ "role": null })]
    {
        assert_eq!(wrong_fields(&owner.patches(&path(bob), &body).await), ["role"], "{body}");
    }
}

/// A role that another organization has made for itself.
async fn role_of(world: &World, organization: OrganizationId) -> RoleRef {
    let key = world.api_key_in(organization, &world.owner, Role::Owner, &["admin"], None).await;
    let key = Caller::with(&world.server, &key.secret);
    let made = key.posts("/v1/roles", &json!({ "name": "Theirs", "scopes": ["read"] })).await;
    made.member("id").parse().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_is_felt_by_the_next_check(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let key = world.api_key_of(&bob, Role::Member, &["write:tenants"], None).await.secret;
    let app = world.confidential_app().await;
    let code = bob.approves(&app, "write:tenants read:users").await;
    let tokens = app.redeems(&code).await;
    let tells = async |credential: &str| {
        introspect(&world.server, &world.credential, credential).await.json
    };
    assert_eq!(tells(&key).await["scope"], "write:tenants");
    assert_eq!(tells(tokens.member("access_token")).await["active"], true);

    let there = path(bob.id(&world.server).await);
    assert_eq!(owner.patches(&there, &json!({ "role": "viewer" })).await.status, 200);
    assert_eq!(tells(&key).await["scope"], "read:tenants");
    assert_eq!(tells(tokens.member("access_token")).await, json!({ "active": false }));
    world.server.passes(Duration::from_secs(3));
    let fresh = app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(fresh.member("scope"), "read:tenants read:users");
    assert_eq!(tells(fresh.member("access_token")).await["scope"], "read:tenants read:users");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_removed_takes_along_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let owner = owner(&world).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let key = world.api_key_of(&bob, Role::Member, &["write:tenants"], None).await.secret;
    let app = world.confidential_app().await;
    let code = bob.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let unused = bob.approves_again(&app, "read:tenants").await;
    let browser = Caller::in_browser(&world.server, &bob, world.organization);
    assert_eq!(browser.gets("/v1/members").await.status, StatusCode::OK);

    let there = path(bob.id(&world.server).await);
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NO_CONTENT);
    assert_eq!(owner.deletes(&there).await.status, StatusCode::NOT_FOUND);
    for credential in [key.as_str(), tokens.member("access_token")] {
        let told = introspect(&world.server, &world.credential, credential).await;
        assert_eq!(told.json, json!({ "active": false }));
    }
    assert_eq!(app.redeems(&unused).await.refusal(), "400 invalid_grant");
    let refresh = tokens.member("refresh_token");
    assert_eq!(app.refreshes(refresh).await.refusal(), "400 invalid_grant");
    assert_eq!(browser.gets("/v1/members").await.status, StatusCode::NOT_FOUND);

    // Who comes back has to allow everything anew; the key is theirs as before.
    world.server.passes(Duration::from_secs(3));
    let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
    let id = bob.id(&world.server).await;
    tenancy::insert_membership(db, now, world.organization, id, Role::Viewer).await.unwrap();
    world.forgets_copies_of(Subject::User(id)).await;
    assert_eq!(app.refreshes(refresh).await.refusal(), "400 invalid_grant");
    assert_eq!(bob.visits(&app.request("read:tenants")).await.status, StatusCode::OK, "asked");
    let told = introspect(&world.server, &world.credential, &key).await;
    assert_eq!(told.json["scope"], "read:tenants");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_leave(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let Some(world) = World::on(database).await else { return };
    let viewer = world.member("viewer@example.com", Role::Viewer).await;
    let other = world.member("other@example.com", Role::Viewer).await;
    let (viewer_id, other_id) = (viewer.id(&world.server).await, other.id(&world.server).await);
    viewer.logs_in().await;
    let browser = Caller::in_browser(&world.server, &viewer, world.organization);
    let refused = browser.deletes(&path(other_id)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert!(refused.header("www-authenticate").contains("scope=\"write:members\""));
    assert_eq!(browser.deletes(&path(viewer_id)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(browser.gets("/v1/members").await.status, StatusCode::NOT_FOUND);

    // By a key as well, unless it is confined to a project.
    let key = world.api_key_of(&other, Role::Viewer, &["read:tenants"], None).await;
    let project = owner(&world).await.posts("/v1/projects", &json!({ "name": "Shop" })).await;
    use sea_orm::{ActiveModelTrait as _, Set};
    let row = entity::api_key::ActiveModel {
        id: Set(key.id.parse().unwrap()),
        project_id: Set(Some(project.member("id").parse().unwrap())),
        ..Default::default()
    };
    let db = world.server.app.db.writer();
    row.clone().update(db).await.unwrap();
    let id = Subject::ApiKey(key.id.parse().unwrap());
    let key = Caller::with(&world.server, &key.secret);
    assert_eq!(key.deletes(&path(other_id)).await.status, StatusCode::FORBIDDEN);
    entity::api_key::ActiveModel { project_id: Set(None), ..row }.update(db).await.unwrap();
    world.forgets_copies_of(id).await;
    assert_eq!(key.deletes(&path(other_id)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(key.deletes(&path(other_id)).await.status, StatusCode::UNAUTHORIZED);
}

//! Invitations: made by who may, opened by who holds the link, good once.

use std::collections::BTreeSet;
use std::time::Duration;

use entity::{OrganizationId, audit_event, invitation, membership, organization, role, user};
use futures::future::join_all;
use portcullis::audit::By;
use portcullis::tenancy::{self, NewRole, Role};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};
use serde_json::{Value, json};

use crate::harness::actors::http;
use crate::harness::browser::Browser;
use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Database, Installation, Mailbox, Person, Server, World};

const INVITATIONS: &str = "/v1/invitations";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A script that calls the management API with a credential.
pub struct Script<'a> {
    server: &'a Server,
    credential: String,
}

impl<'a> Script<'a> {
    pub fn with(world: &'a World, credential: impl Into<String>) -> Self {
        Self { server: &world.server, credential: credential.into() }
    }

    /// One with an API key of the owner's.
    pub async fn of_owner(world: &'a World, scopes: &[&str]) -> Self {
        Self::with(world, world.api_key(scopes).await.secret)
    }

    async fn calls(&self, method: Method, path: &str) -> Answer {
        let request = http().request(method, self.server.url(path)).bearer_auth(&self.credential);
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn gets(&self, path: &str) -> Answer {
        self.calls(Method::GET, path).await
    }

    pub async fn deletes(&self, path: &str) -> Answer {
        self.calls(Method::DELETE, path).await
    }

    pub async fn posts(&self, path: &str, body: &Value) -> Answer {
        let request = http().post(self.server.url(path)).bearer_auth(&self.credential).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn invites(&self, email: &str, role: &str) -> Answer {
        self.posts(INVITATIONS, &json!({ "email": email, "role": role })).await
    }

    /// Invites somebody; the path of the link.
    async fn link(&self, email: &str, role: &str) -> String {
        let made = self.invites(email, role).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        path_of(self.server, &made)
    }
}

fn path_of(server: &Server, made: &Answer) -> String {
    made.member("link").strip_prefix(&server.issuer).unwrap().to_owned()
}

fn token_of(link: &str) -> &str {
    link.rsplit('=').next().unwrap()
}

/// The fields that a problem document names.
pub fn fields(problem: &Answer) -> Vec<&str> {
    assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:?}");
    let errors = problem.json["errors"].as_array();
    errors.into_iter().flatten().map(|error| error["field"].as_str().unwrap()).collect()
}

pub fn ids(list: &Answer) -> Vec<&str> {
    let items = list.json["items"].as_array().unwrap_or_else(|| panic!("{list:?}"));
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// What the audit trail tells of a thing, oldest first.
pub async fn trail(world: &World, target: &str) -> Vec<(String, String)> {
    use sea_orm::QueryOrder as _;
    let events = audit_event::Entity::find()
        .filter(audit_event::Column::Target.eq(target))
        .order_by_asc(audit_event::Column::Id)
        .all(world.server.app.db.reader());
    events.await.unwrap().into_iter().map(|event| (event.action, event.actor)).collect()
}

async fn role_of(world: &World, organization: OrganizationId, email: &str) -> Option<String> {
    let db = world.server.app.db.reader();
    let user = user::Entity::find().filter(user::Column::Email.eq(email)).one(db).await.unwrap()?;
    let row = membership::Entity::find_by_id((organization, user.id)).one(db).await.unwrap()?;
    Some(row.role)
}

async fn joins(person: &Person, link: &str, name: &str, password: &str) -> Answer {
    let form =
        [("token", token_of(link)), ("decision", "join"), ("name", name), ("password", password)];
    person.posts("/invitation", &form).await
}

fn person(world: &World, email: &str) -> Person {
    Person::new(&world.server, email, PASSWORD)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_link_is_told_once(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let body = json!({ "email": " Grace@Example.COM ", "role": "member" });
    let request = |body: &Value| {
        let request = http().post(world.server.url(INVITATIONS)).bearer_auth(&admin.credential);
        request.header("idempotency-key", "once").json(body)
    };
    let made = Answer::of(request(&body).send().await.unwrap()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let link = made.member("link");
    let start = format!("{}/invitation?token=", world.server.issuer);
    assert!(link.starts_with(&start) && link.len() == start.len() + 43, "{link}");
    let mut expected = json!({
        "id": made.member("id"), "organization": world.organization.to_string(),
        "email": "grace@example.com", "role": "member", "status": "open",
        "invited_by": world.owner.id(&world.server).await.to_string(),
        "created_at": made.member("created_at"), "expires_at": made.member("expires_at"),
        "accepted_at": null, "revoked_at": null,
    });
    let mut answer = made.json.clone();
    assert_eq!(answer.as_object_mut().unwrap().remove("link"), Some(json!(link)));
    assert_eq!(answer.as_object_mut().unwrap().remove("mailed"), Some(json!(false)));
    assert_eq!(answer, expected);

    let path = format!("{INVITATIONS}/{}", made.member("id"));
    let (read, listed) = (admin.gets(&path).await, admin.gets(INVITATIONS).await);
    assert_eq!((read.status, &read.json), (StatusCode::OK, &expected));
    assert_eq!(listed.json["items"], json!([expected]));
    let again = Answer::of(request(&body).send().await.unwrap()).await;
    assert_eq!((again.status, again.member("id")), (made.status, made.member("id")));
    let row = invitation::Entity::find().one(world.server.app.db.reader()).await.unwrap().unwrap();
    for told in [&read.text, &listed.text, &again.text, &format!("{row:?}")] {
        assert!(!told.contains(token_of(link)) && !told.contains("link"), "{told}");
    }
    assert_eq!(row.digest, portcullis_verifier::key::digest(token_of(link)));

    world.server.passes(Duration::from_millis(1));
    assert_eq!(admin.deletes(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(admin.deletes(&path).await.status, StatusCode::NO_CONTENT, "once more");
    let read = admin.gets(&path).await;
    expected["status"] = json!("revoked");
    expected["revoked_at"] = read.json["revoked_at"].clone();
    assert!(read.json["revoked_at"].is_string());
    assert_eq!(read.json, expected);
    let trail = trail(&world, made.member("id")).await;
    let actions: Vec<&str> = trail.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["invitation.created", "invitation.revoked"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_makes_an_account_and_is_a_member(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let made = admin.invites("grace@example.com", "viewer").await;
    let link = path_of(&world.server, &made);
    let grace = person(&world, "grace@example.com");
    let page = grace.gets(&link).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    assert_eq!(page.header("cache-control"), "no-store");
    for words in ["Example", "viewer", "Ada", "grace@example.com", "Your name", "Password"] {
        assert!(page.text.contains(words), "{words} is not in {}", page.text);
    }
    assert!(!page.text.contains("<script") && !page.text.contains("style="));

    for (name, password, problem) in [
        ("Grace", "too short", "name=\"password\""),
        ("", PASSWORD, "id=\"name-problem\""),
        ("a\u{7}b", PASSWORD, "id=\"name-problem\""),
        ("Grace", &"x".repeat(257), "id=\"password-problem\""),
    ] {
        let refused = joins(&grace, &link, name, password).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{name} {refused:?}");
        assert_eq!(refused.header("referrer-policy"), "same-origin");
        assert!(refused.text.contains(problem), "{problem}: {}", refused.text);
        assert!(refused.text.contains(token_of(&link)), "the form can be sent again");
    }
    assert_eq!(role_of(&world, world.organization, "grace@example.com").await, None);

    // What else the form says of the address counts for nothing.
    let form = [
        ("token", token_of(&link)),
        ("decision", "join"),
        ("name", " Grace Hopper "),
        ("email", "eve@example.com"),
        ("password", PASSWORD),
    ];
    let joined = grace.posts("/invitation", &form).await;
    assert_eq!((joined.status, joined.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert!(joined.header("set-cookie").contains("HttpOnly"), "{joined:?}");
    let home = grace.gets("/").await;
    assert_eq!(home.header("location"), format!("/o/{}", world.organization));
    assert!(grace.gets("/account").await.text.contains("grace@example.com"));
    let role = role_of(&world, world.organization, "grace@example.com").await;
    assert_eq!(role.as_deref(), Some("viewer"));

    let read = admin.gets(&format!("{INVITATIONS}/{}", made.member("id"))).await;
    assert_eq!(read.member("status"), "accepted");
    assert!(read.json["accepted_at"].is_string());
    let revoked = admin.deletes(&format!("{INVITATIONS}/{}", made.member("id"))).await;
    assert_eq!(revoked.status, StatusCode::CONFLICT, "{revoked:?}");
    let id = grace.id(&world.server).await.to_string();
    let told = trail(&world, &id).await;
    for event in [("user.created", "anonymous"), ("member.added", &id)] {
        assert!(told.contains(&(event.0.to_owned(), event.1.to_owned())), "{event:?}: {told:?}");
    }
    let told = trail(&world, made.member("id")).await;
    assert!(told.contains(&("invitation.accepted".to_owned(), id)), "{told:?}");
    person(&world, "grace@example.com").logs_in().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn somebody_with_an_account_logs_in_and_joins(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let bob = world.stranger("bob@example.com").await;
    let link = admin.link("bob@example.com", "admin").await;
    let sent = bob.gets(&link).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{sent:?}");
    assert_eq!(sent.header("referrer-policy"), "same-origin");
    assert!(sent.header("location").starts_with("/login?next="), "{sent:?}");
    // Whoever can't log in as the invited person changes nothing of their account.
    let refused = joins(&bob, &link, "Eve", "another good password").await;
    assert!(refused.header("location").starts_with("/login?next="), "{refused:?}");
    let form = [("email", &*bob.email), ("password", PASSWORD), ("next", &link)];
    let back = bob.posts("/login", &form).await;
    assert_eq!(back.header("location"), link);
    let page = bob.follows(&back).await;
    assert!(page.text.contains("Join") && !page.text.contains("Password"), "{}", page.text);
    let joined = joins(&bob, &link, "", "").await;
    assert_eq!((joined.status, joined.header("location")), (StatusCode::SEE_OTHER, "/"));
    let role = role_of(&world, world.organization, "bob@example.com").await;
    assert_eq!(role.as_deref(), Some("admin"));
    let home = bob.gets("/").await;
    assert_eq!(home.header("location"), format!("/o/{}", world.organization));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_is_told_so_and_can_log_out(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let eve = world.stranger("eve@example.com").await;
    eve.logs_in().await;
    let link = admin.link("grace@example.com", "owner").await;
    for page in [eve.gets(&link).await, joins(&eve, &link, "Eve", PASSWORD).await] {
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        for words in ["eve@example.com", "grace@example.com", "Log out"] {
            assert!(page.text.contains(words), "{words} is not in {}", page.text);
        }
    }
    assert_eq!(role_of(&world, world.organization, "eve@example.com").await, None);
    assert_eq!(role_of(&world, world.organization, "grace@example.com").await, None);
    let out =
        eve.posts("/invitation", &[("token", token_of(&link)), ("decision", "log_out")]).await;
    assert_eq!(out.header("location"), link);
    assert!(eve.follows(&out).await.text.contains("Make your account"));
    assert_eq!(eve.gets("/account").await.status, StatusCode::SEE_OTHER, "logged out");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_not_good_has_one_answer(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, db) = (&world.server.app, world.server.app.db.writer());
    let admin = Script::of_owner(&world, &["admin"]).await;
    let expired = admin.link("old@example.com", "member").await;
    world.server.passes(WEEK - Duration::from_millis(1));
    assert_eq!(person(&world, "old@example.com").gets(&expired).await.status, StatusCode::OK);
    world.server.passes(Duration::from_millis(1));

    let used = admin.link("used@example.com", "member").await;
    let joined = joins(&person(&world, "used@example.com"), &used, "Used", PASSWORD).await;
    assert_eq!(joined.status, StatusCode::SEE_OTHER, "{joined:?}");
    let revoked = admin.invites("revoked@example.com", "member").await;
    admin.deletes(&format!("{INVITATIONS}/{}", revoked.member("id"))).await;
    let replaced = admin.link("twice@example.com", "member").await;
    let newer = admin.link("Twice@example.com", "viewer").await;
    assert_eq!(person(&world, "twice@example.com").gets(&newer).await.status, StatusCode::OK);

    let tx = app.db.begin().await.unwrap();
    let new = NewRole {
        organization: world.organization,
        name: "Support",
        scopes: &["read:tenants".to_owned()],
        reach: Role::Owner.scopes(),
    };
    let Ok(own) = tenancy::create_role(&tx, app.clock.now(), &By::operator(), new).await else {
        panic!("the role was refused");
    };
    tx.commit().await.unwrap();
    let of_role = admin.link("role@example.com", &own.id.to_string()).await;
    let page = person(&world, "role@example.com").gets(&of_role).await;
    assert!(page.text.contains("Support"), "{}", page.text);
    role::Entity::delete_by_id(own.id).exec(db).await.unwrap();

    let closed = world.second_organization("Closed", Role::Owner).await;
    let key = world.api_key_in(closed, &world.owner, Role::Owner, &["admin"], None).await;
    let of_closed = Script::with(&world, key.secret).link("closed@example.com", "member").await;
    let now = app.clock.now();
    let row = organization::ActiveModel {
        id: Set(closed),
        closed_at: Set(Some(now)),
        ..Default::default()
    };
    row.update(db).await.unwrap();

    let mut words = BTreeSet::new();
    let unknown = format!("/invitation?token={}", "A".repeat(43));
    for link in [
        &unknown,
        "/invitation",
        "/invitation?token=%00",
        &expired,
        &used,
        &path_of(&world.server, &revoked),
        &replaced,
        &of_role,
        &of_closed,
    ] {
        let anybody = person(&world, "x@example.com");
        for answer in [anybody.gets(link).await, joins(&anybody, link, "X", PASSWORD).await] {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{link}: {answer:?}");
            words.insert(answer.text);
        }
    }
    assert_eq!(words.len(), 1, "{words:?}");
    for name in ["old", "revoked", "role", "closed"] {
        let email = format!("{name}@example.com");
        let found = user::Entity::find().filter(user::Column::Email.eq(email)).one(db).await;
        assert_eq!(found.unwrap(), None, "{name}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_accept_at_once_one_joins(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let bob = world.stranger("bob@example.com").await;
    bob.logs_in().await;
    let link = admin.link("bob@example.com", "member").await;
    let answers = join_all((0..20).map(|_| joins(&bob, &link, "", ""))).await;
    let won = answers.iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count();
    let lost = answers.iter().filter(|answer| answer.status == StatusCode::FORBIDDEN).count();
    assert_eq!((won, lost), (1, 19), "{answers:?}");
    let added = trail(&world, &bob.id(&world.server).await.to_string()).await;
    assert_eq!(added.iter().filter(|(action, _)| action == "member.added").count(), 1);

    let link = admin.link("grace@example.com", "member").await;
    let browsers: Vec<Person> = (0..6).map(|_| person(&world, "grace@example.com")).collect();
    let answers =
        join_all(browsers.iter().map(|browser| joins(browser, &link, "Grace", PASSWORD))).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.header("location") == "/").collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for lost in answers.iter().filter(|answer| answer.header("location") != "/") {
        let is_sent_to_login = lost.header("location").starts_with("/login");
        assert!(is_sent_to_login || [403, 503].contains(&lost.status.as_u16()), "{lost:?}");
        assert_eq!(lost.header("set-cookie"), "", "nobody else is logged in");
    }
    let role = role_of(&world, world.organization, "grace@example.com").await;
    assert_eq!(role.as_deref(), Some("member"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_invitations_of_one_address_one_stays_open(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let links = join_all((0..8).map(|_| admin.link("grace@example.com", "member"))).await;
    let grace = person(&world, "grace@example.com");
    let pages = join_all(links.iter().map(|link| grace.gets(link))).await;
    let open = pages.iter().filter(|page| page.status == StatusCode::OK).count();
    assert_eq!(open, 1, "{pages:?}");
    let listed = admin.gets(&format!("{INVITATIONS}?status=open")).await;
    assert_eq!(ids(&listed).len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_away_more_than_they_have(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = &world.server.app;
    let makes_role = async |organization, scope: &str, name| {
        let tx = app.db.begin().await.unwrap();
        let scopes = [scope.to_owned()];
        let reach = Role::Owner.scopes();
        let new = NewRole { organization, name, scopes: &scopes, reach };
        let made = tenancy::create_role(&tx, app.clock.now(), &By::operator(), new).await;
        tx.commit().await.unwrap();
        made.unwrap_or_else(|refused| panic!("{refused:?}")).id.to_string()
    };
    let other = world.second_organization("Other", Role::Owner).await;
    let reader = makes_role(world.organization, "read:members", "Reader").await;
    let writer = makes_role(world.organization, "write:tenants", "Writer").await;
    let foreign = makes_role(other, "read:members", "Foreign").await;
    let unknown = entity::RoleId::new(app.clock.now()).to_string();

    let some = Script::of_owner(&world, &["write:members", "read:members"]).await;
    for role in ["owner", "admin", "member", "viewer", &writer] {
        assert_eq!(fields(&some.invites("x@example.com", role).await), ["role"], "{role}");
    }
    assert_eq!(some.invites("x@example.com", &reader).await.status, StatusCode::CREATED);
    let refused = [&foreign, &unknown];
    let refused = join_all(refused.map(|role| some.invites("x@example.com", role))).await;
    assert_eq!(fields(&refused[0]), ["role"]);
    assert_eq!(refused[0].text, refused[1].text);

    let admin = world.member("adam@example.com", Role::Admin).await;
    admin.logs_in().await;
    let posts = async |person: &Person, role: &str| {
        let body = json!({ "email": "y@example.com", "role": role });
        let request = person.browser.post(world.server.url(INVITATIONS)).json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(fields(&posts(&admin, "owner").await), ["role"]);
    assert_eq!(posts(&admin, "admin").await.status, StatusCode::CREATED);
    for role in [Role::Member, Role::Viewer] {
        let person = world.member(&format!("{role}@example.com"), role).await;
        person.logs_in().await;
        assert_eq!(posts(&person, "viewer").await.status, StatusCode::FORBIDDEN, "{role}");
    }
    let all = Script::of_owner(&world, &["admin"]).await;
    assert_eq!(all.invites("z@example.com", "owner").await.status, StatusCode::CREATED);
    let key = world.api_key_of(&admin, Role::Admin, &["admin"], None).await;
    let of_admin = Script::with(&world, key.secret);
    assert_eq!(fields(&of_admin.invites("z@example.com", "owner").await), ["role"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_and_members_are_refused(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    world.member("bob@example.com", Role::Viewer).await;
    world.stranger("eve@example.com").await;
    for (body, field) in [
        (json!({ "role": "member" }), "email"),
        (json!({ "email": "grace@example.com" }), "role"),
        (json!({ "email": "grace", "role": "member" }), "email"),
        (json!({ "email": "a@b\r\nBcc: eve@evil.example", "role": "member" }), "email"),
        (json!({ "email": "a\u{0}@b", "role": "member" }), "email"),
        (json!({ "email": format!("{}@b", "a".repeat(300)), "role": "member" }), "email"),
        (json!({ "email": 5, "role": "member" }), "email"),
        (json!({ "email": "a@b", "role": "" }), "role"),
        (json!({ "email": "a@b", "role": "root\u{0}" }), "role"),
        (json!({ "email": "a@b", "role": "member", "organization": "x" }), "organization"),
        (json!({ "email": "a@b", "role": "member", "link": "x" }), "link"),
    ] {
        assert_eq!(fields(&admin.posts(INVITATIONS, &body).await), [field], "{body}");
    }
    let both = admin.posts(INVITATIONS, &json!({ "email": "x", "role": "x" })).await;
    assert_eq!(fields(&both), ["email", "role"]);
    let member = admin.invites("BOB@example.com", "member").await;
    assert_eq!(member.status, StatusCode::CONFLICT, "{member:?}");
    // Whether there is an account is nobody's business but the link's.
    let (known, unknown) = (
        admin.invites("eve@example.com", "member").await,
        admin.invites("nobody@example.com", "member").await,
    );
    assert_eq!((known.status, unknown.status), (StatusCode::CREATED, StatusCode::CREATED));
    for query in ["status=dead", "email=", "limit=0", "cursor=x", "role=owner"] {
        let answer = admin.gets(&format!("{INVITATIONS}?{query}")).await;
        assert!(answer.status == 422 || query == "email=", "{query}: {answer:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_and_in_pages(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let invites = async |email: &str| {
        world.server.passes(Duration::from_millis(1));
        admin.invites(email, "viewer").await.member("id").to_owned()
    };
    let expired = invites("a_1@example.com").await;
    world.server.passes(WEEK);
    let revoked = invites("ab1@example.com").await;
    admin.deletes(&format!("{INVITATIONS}/{revoked}")).await;
    world.server.passes(Duration::from_millis(1));
    let made = admin.invites("a%2@example.com", "viewer").await;
    let accepted = made.member("id").to_owned();
    let link = path_of(&world.server, &made);
    let joined = joins(&person(&world, "a%2@example.com"), &link, "A", PASSWORD).await;
    assert_eq!(joined.header("location"), "/", "{joined:?}");
    let open = invites("zoë@example.com").await;
    let lists = async |query: &str| {
        let listed = admin.gets(&format!("{INVITATIONS}?{query}")).await;
        ids(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("", vec![&open, &accepted, &revoked, &expired]),
        ("status=open", vec![&open]),
        ("status=accepted", vec![&accepted]),
        ("status=revoked", vec![&revoked]),
        ("status=expired", vec![&expired]),
        ("email=A", vec![&accepted, &revoked, &expired]),
        ("email=a_", vec![&expired]),
        ("email=a%25", vec![&accepted]),
        ("email=zo%C3%AB", vec![&open]),
        ("email=example", vec![]),
        ("email=a%5C", vec![]),
        ("email=a&status=revoked", vec![&revoked]),
    ] {
        assert_eq!(
            lists(query).await,
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{query}"
        );
    }
    let first = admin.gets(&format!("{INVITATIONS}?limit=3")).await;
    assert_eq!(ids(&first), [&open, &accepted, &revoked]);
    let next = format!("limit=3&cursor={}", first.member("next_cursor"));
    assert_eq!(lists(&next).await, [expired]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_another_organization_has_is_not_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let made = admin.invites("grace@example.com", "member").await;
    let other = world.second_organization("Other", Role::Owner).await;
    let key = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
    let stranger = Script::with(&world, key.secret);
    let unknown = entity::InvitationId::new(world.server.app.clock.now()).to_string();
    for id in [made.member("id"), &unknown, "inv_x"] {
        let path = format!("{INVITATIONS}/{id}");
        for answer in [stranger.gets(&path).await, stranger.deletes(&path).await] {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}: {answer:?}");
        }
    }
    assert!(ids(&stranger.gets(INVITATIONS).await).is_empty());
    let link = path_of(&world.server, &made);
    assert_eq!(person(&world, "grace@example.com").gets(&link).await.status, StatusCode::OK);
    // The same address may be invited to both.
    let second = stranger.link("grace@example.com", "member").await;
    let grace = person(&world, "grace@example.com");
    assert_eq!(joins(&grace, &link, "Grace", PASSWORD).await.header("location"), "/");
    assert_eq!(joins(&grace, &second, "", "").await.header("location"), "/");
    let home = grace.gets("/").await.text;
    for named in ["<bdi>Example</bdi>", "<bdi>Other</bdi>", "You are member"] {
        assert!(home.contains(named), "{named}: {home}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_invites_the_first_owner_of_another_organization(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, db) = (&world.server.app, world.server.app.db.writer());
    let now = app.clock.now();
    let new = tenancy::insert_organization(db, now, "New").await.unwrap();
    let owned = world.second_organization("Owned", Role::Owner).await;
    let closed = tenancy::insert_organization(db, now, "Closed").await.unwrap();
    let row = organization::ActiveModel {
        id: Set(closed),
        closed_at: Set(Some(now)),
        ..Default::default()
    };
    row.update(db).await.unwrap();
    let unknown = OrganizationId::new(now);
    let into = |organization: OrganizationId, role: &str| json!({ "email": "grace@example.com", "role": role, "organization": organization });

    let operator = Script::of_owner(&world, &["write:members", "write:organizations"]).await;
    let less = Script::of_owner(&world, &["write:members", "read:organizations"]).await;
    let key = world.api_key_in(owned, &world.owner, Role::Owner, &["admin"], None).await;
    let elsewhere = Script::with(&world, key.secret);
    let mut words = BTreeSet::new();
    for (script, organization) in [
        (&operator, closed),
        (&operator, unknown),
        (&less, new),
        (&less, unknown),
        (&elsewhere, new),
        (&elsewhere, world.organization),
        (&elsewhere, unknown),
    ] {
        let refused = script.posts(INVITATIONS, &into(organization, "owner")).await;
        assert_eq!(fields(&refused), ["organization"], "{refused:?}");
        words.insert(refused.text);
    }
    assert_eq!(words.len(), 1, "{words:?}");
    let refused = operator.posts(INVITATIONS, &into(new, "admin")).await;
    assert_eq!(fields(&refused), ["role"]);
    let refused = operator.posts(INVITATIONS, &into(owned, "owner")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let own = elsewhere.posts(INVITATIONS, &into(owned, "member")).await;
    assert_eq!(own.status, StatusCode::CREATED, "one's own may be named");

    let made = operator.posts(INVITATIONS, &into(new, "owner")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.member("organization"), new.to_string());
    assert!(ids(&operator.gets(INVITATIONS).await).is_empty(), "it is the other's now");
    let grace = person(&world, "grace@example.com");
    let joined = joins(&grace, &path_of(&world.server, &made), "Grace", PASSWORD).await;
    assert_eq!(joined.header("location"), "/", "{joined:?}");
    assert_eq!(role_of(&world, new, "grace@example.com").await.as_deref(), Some("owner"));
    let again = operator.posts(INVITATIONS, &into(new, "owner")).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{again:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_letter_brings_the_link_and_no_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let url = mailbox.url();
    let started = Server::start_with(database, |settings| {
        settings.mail.smtp_url = url.into();
        settings.mail.from = "auth@example.com".to_owned();
    });
    let Some(server) = started.await else { return };
    let world = World::around(server).await;
    let admin = Script::of_owner(&world, &["admin"]).await;
    let made = admin.invites("grace@example.com", "member").await;
    assert_eq!(made.json["mailed"], true);
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["grace@example.com"]);
    assert_eq!(mail.header("subject"), "Invitation to Example");
    for words in ["Ada invites you", "\"Example\"", "127.0.0.1", "7 days", made.member("link")] {
        assert!(mail.text.contains(words), "{words} is not in {}", mail.text);
    }

    let db = world.server.app.db.writer();
    let name = "Click https://evil.example/x\r\nBcc: eve@evil.example";
    let row = organization::ActiveModel {
        id: Set(world.organization),
        name: Set(name.to_owned()),
        ..Default::default()
    };
    row.update(db).await.unwrap();
    let row = user::ActiveModel {
        id: Set(world.owner.id(&world.server).await),
        name: Set("www.evil.example\n\nhttp://evil.example".to_owned()),
        ..Default::default()
    };
    row.update(db).await.unwrap();
    let request = || {
        let request = http().post(world.server.url(INVITATIONS)).bearer_auth(&admin.credential);
        let body = json!({ "email": "bob@example.com", "role": "member" });
        request.header("idempotency-key", "mail").json(&body).send()
    };
    let made = Answer::of(request().await.unwrap()).await;
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["bob@example.com"]);
    assert_eq!(mail.header("bcc"), "");
    let rest = mail.text.replacen(made.member("link"), "", 1) + mail.header("subject");
    for word in ["://", "evil.", "@", "\nBcc"] {
        assert!(!rest.contains(word), "{word:?} is in {rest}");
    }
    assert!(rest.lines().next().unwrap().contains("evil example"), "{rest}");

    // Neither a repetition nor a refusal is mailed, and a mail that fails costs no invitation.
    let again = Answer::of(request().await.unwrap()).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(admin.invites("bob@example.com", "root").await.status, 422);
    let failed = admin.invites("nobody@example.com", "member").await;
    assert_eq!(failed.status, StatusCode::CREATED, "{failed:?}");
    admin.invites("last@example.com", "member").await;
    assert_eq!(mailbox.next().await.to, ["last@example.com"]);
    assert!(mailbox.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_invites_lists_and_revokes(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    here.is_set_up();
    let create = ["invitations", "create", "--email", "bob@example.com", "--role", "owner"];
    let said = here.succeeds(&create);
    let link = said.split_whitespace().last().unwrap();
    assert!(link.contains("/invitation?token="), "{said}");
    let made = here.succeeds(&[&create[..], &["--organization", "Example", "--json"]].concat());
    let made: Value = serde_json::from_str(&made).unwrap();
    assert!(made["link"].as_str().unwrap().contains("/invitation?token="), "{made}");
    let id = made["id"].as_str().unwrap();
    let listed: Value =
        serde_json::from_str(&here.succeeds(&["invitations", "list", "--json"])).unwrap();
    assert_eq!((&listed[0]["status"], &listed[1]["status"]), (&json!("open"), &json!("revoked")));
    assert_eq!(listed[0]["invited_by"], Value::Null);
    let table = here.succeeds(&["invitations", "list"]);
    assert!(table.contains("bob@example.com") && !table.contains("token"), "{table}");
    here.succeeds(&["invitations", "revoke", id]);
    here.runs(&["invitations", "revoke", "inv_01j9zq4k2mfd8v6w3x5y7b1c0e"]).sentence(1);
    let wrong = ["invitations", "create", "--email", "x", "--role", "root"];
    let sentence = here.runs(&wrong).sentence(2);
    assert!(sentence.contains("email") && sentence.contains("role"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_walks_through_the_invitation() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let admin = Script::of_owner(&world, &["admin"]).await;
    let link = admin.link("grace@example.com", "member").await;
    Browser::does(async |browser| {
        browser.goes_to(&world.server.url("/login")).await;
        browser.fills("email", "ada@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        browser.goes_to(&world.server.url(&link)).await;
        let page = browser.reads("main").await;
        assert!(page.contains("logged in as ada@example.com"), "{page}");
        browser.photographs("invitation-somebody-else").await;
        browser.presses("Log out").await;

        assert_eq!(browser.reads("h1").await, "Join Example");
        browser.photographs("invitation-newcomer").await;
        browser.fills("name", "   ").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Join").await;
        assert_eq!(browser.reads("#name-problem").await, "It must have 1 to 100 characters.");
        browser.fills("name", "Grace Hopper").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Join").await;
        assert!(browser.reads("header").await.contains("Example"));
        browser.goes_to(&world.server.url(&link)).await;
        assert!(browser.reads("[role=alert]").await.contains("It was used"));

        let other = world.second_organization("Other", Role::Owner).await;
        let key = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
        let second = Script::with(&world, key.secret).link("grace@example.com", "viewer").await;
        browser.client.delete_all_cookies().await.unwrap();
        browser.goes_to(&world.server.url(&second)).await;
        browser.fills("email", "grace@example.com").await;
        browser.fills("password", PASSWORD).await;
        browser.presses("Log in").await;
        assert_eq!(browser.reads("h1").await, "Join Other");
        browser.photographs("invitation").await;
        browser.presses("Join").await;
        let home = browser.reads("main").await;
        assert!(home.contains("Other") && home.contains("You are viewer"), "{home}");
    })
    .await;
}

//! `/v1/users`: accounts are seen, suspended, resumed and erased by who runs the installation, and on the command line.

use std::time::Duration;

use portcullis::tenancy::{self, Role};
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{ActiveModelTrait as _, ConnectionTrait as _, DbBackend, Set, Statement};
use serde_json::{Value, json};

use crate::harness::actors::introspect;
use crate::harness::caller::ids;
use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Application, Caller, Database, Installation, Person, World};

const USERS: &str = "/v1/users";

async fn operator(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

/// A member with all that somebody may have: a session, a key, tokens, and a code that was not redeemed yet.
struct Busy {
    person: Person,
    path: String,
    key: String,
    app: Application,
    tokens: Answer,
    code: String,
}

impl Busy {
    async fn new(world: &World, email: &str) -> Self {
        let person = world.member(email, Role::Member).await;
        let key = world.api_key_of(&person, Role::Member, &["write:tenants"], None).await.secret;
        let app = world.confidential_app().await;
        let tokens = app.redeems(&person.approves(&app, "read:tenants").await).await;
        let code = person.approves_again(&app, "read:tenants").await;
        let path = format!("{USERS}/{}", person.id(&world.server).await);
        Self { person, path, key, app, tokens, code }
    }

    async fn is_logged_in(&self) -> bool {
        self.person.gets("/account").await.status == StatusCode::OK
    }

    /// Whether nothing of theirs works.
    async fn can_do_nothing(&self, world: &World) {
        assert!(!self.is_logged_in().await);
        for credential in [self.key.as_str(), self.tokens.member("access_token")] {
            let told = introspect(&world.server, &world.credential, credential).await;
            assert_eq!(told.json, json!({ "active": false }));
        }
        let refresh = self.tokens.member("refresh_token");
        assert_eq!(self.app.refreshes(refresh).await.refusal(), "400 invalid_grant");
        assert_eq!(self.app.redeems(&self.code).await.refusal(), "400 invalid_grant");
        let login = [("email", self.person.email.as_str()), ("password", PASSWORD)];
        let refused = self.person.posts("/login", &login).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_and_found(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    world.server.passes(Duration::from_millis(5));
    let bob = world.stranger("bob@example.com").await.id(&world.server).await.to_string();
    world.server.passes(Duration::from_millis(5));
    let bea = world.member("bea@example.com", Role::Viewer).await.id(&world.server).await;
    let (ada, bea) = (world.owner.id(&world.server).await.to_string(), bea.to_string());
    operator.posts(&format!("{USERS}/{bob}/suspend"), &Value::Null).await;
    for (query, expected) in [
        ("", vec![&bea, &bob, &ada]),
        ("?email=B", vec![&bea, &bob]),
        ("?status=active", vec![&bea, &ada]),
        ("?status=suspended", vec![&bob]),
        ("?status=erased", vec![]),
        ("?email=be&status=suspended", vec![]),
        (&format!("?limit=1&cursor={bea}"), vec![&bob]),
    ] {
        assert_eq!(
            ids(&operator.gets(&format!("{USERS}{query}")).await, "id"),
            expected,
            "{query}"
        );
    }
    let read = operator.gets(&format!("{USERS}/{bea}")).await;
    let expected = json!({
        "id": bea, "email": "bea@example.com", "name": "Somebody", "status": "active",
        "created_at": read.member("created_at"), "suspended_at": null, "erased_at": null,
        "memberships": [{
            "organization": world.organization.to_string(), "organization_name": "Example",
            "role": "viewer", "role_name": "viewer",
        }],
    });
    assert_eq!(read.json, expected);
    for there in ["usr_01h455vb4pex5vsknk084sn02q", "x"] {
        for answer in [
            operator.gets(&format!("{USERS}/{there}")).await,
            operator.deletes(&format!("{USERS}/{there}")).await,
            operator.posts(&format!("{USERS}/{there}/suspend"), &Value::Null).await,
            operator.posts(&format!("{USERS}/{there}/resume"), &Value::Null).await,
        ] {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
        }
    }
    // Nobody else's business: not an owner's elsewhere, nor a member's here.
    let other = world.second_organization("Other", Role::Owner).await;
    let theirs = world.api_key_in(other, &world.owner, Role::Owner, &["admin"], None).await;
    let theirs = Caller::with(&world.server, &theirs.secret);
    let member = world.member("member@example.com", Role::Member).await;
    member.logs_in().await;
    let member = Caller::in_browser(&world.server, &member, world.organization);
    for caller in [&theirs, &member] {
        assert_eq!(caller.gets(USERS).await.status, StatusCode::FORBIDDEN);
        assert_eq!(caller.gets(&format!("{USERS}/{bea}")).await.status, StatusCode::FORBIDDEN);
        assert_eq!(caller.deletes(&format!("{USERS}/{bea}")).await.status, StatusCode::FORBIDDEN);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_ends_everything_at_once_and_is_taken_back(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    let bob = Busy::new(&world, "bob@example.com").await;
    assert!(bob.is_logged_in().await);

    let suspended = operator.posts(&format!("{}/suspend", bob.path), &Value::Null).await;
    assert_eq!((suspended.status, suspended.member("status")), (StatusCode::OK, "suspended"));
    bob.can_do_nothing(&world).await;
    world.server.passes(Duration::from_secs(60));
    let again = operator.posts(&format!("{}/suspend", bob.path), &Value::Null).await;
    assert_eq!((again.status, &again.json), (StatusCode::OK, &suspended.json));

    let resumed = operator.posts(&format!("{}/resume", bob.path), &Value::Null).await;
    assert_eq!((resumed.status, resumed.member("status")), (StatusCode::OK, "active"));
    let again = operator.posts(&format!("{}/resume", bob.path), &Value::Null).await;
    assert_eq!((again.status, &again.json), (StatusCode::OK, &resumed.json));
    // The key is theirs as before; what was ended stays so.
    let told = introspect(&world.server, &world.credential, &bob.key).await;
    assert_eq!(told.json["scope"], "write:tenants");
    assert!(!bob.is_logged_in().await);
    let refresh = bob.tokens.member("refresh_token");
    assert_eq!(bob.app.refreshes(refresh).await.refusal(), "400 invalid_grant");
    bob.person.logs_in().await;
    assert!(bob.is_logged_in().await);
    let code = bob.person.approves_again(&bob.app, "read:tenants").await;
    let fresh = bob.app.redeems(&code).await;
    let told = introspect(&world.server, &world.credential, fresh.member("access_token")).await;
    assert_eq!(told.json["active"], true);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_themselves_nor_the_last_owner(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    let ada = format!("{USERS}/{}", world.owner.id(&world.server).await);
    assert_eq!(operator.posts(&format!("{ada}/suspend"), &Value::Null).await.status, 409);
    assert_eq!(operator.deletes(&ada).await.status, 409);

    let admin = world.member("admin@example.com", Role::Admin).await;
    let key = world.api_key_of(&admin, Role::Owner, &["admin"], None).await;
    let admin = Caller::with(&world.server, &key.secret);
    let refused = admin.deletes(&ada).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_eq!(operator.gets(&ada).await.member("email"), "ada@example.com", "nothing was changed");
    // Another owner there is enough, but every organization has to have one.
    world.member("bob@example.com", Role::Owner).await;
    let other = world.second_organization("Other", Role::Owner).await;
    assert_eq!(admin.deletes(&ada).await.status, StatusCode::CONFLICT);
    assert_eq!(admin.deletes(&format!("/v1/organizations/{other}")).await.status, 200);
    assert_eq!(admin.deletes(&ada).await.status, StatusCode::NO_CONTENT);
    assert_eq!(operator.gets(&ada).await.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_erase_one_another_one_is_left(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let bob = world.member("bob@example.com", Role::Owner).await;
    let key = world.api_key_of(&bob, Role::Owner, &["admin"], None).await;
    let (by_ada, by_bob) = (operator(&world).await, Caller::with(&world.server, &key.secret));
    let ada = format!("{USERS}/{}", world.owner.id(&world.server).await);
    let bob = format!("{USERS}/{}", bob.id(&world.server).await);
    let (one, two) = tokio::join!(by_ada.deletes(&bob), by_bob.deletes(&ada));
    let mut told = [one.status.as_u16(), two.status.as_u16()];
    told.sort_unstable();
    assert!(told[0] == 204 && [401, 409].contains(&told[1]), "{one:?} {two:?}");
    let reader = world.server.app.db.reader();
    assert!(
        tenancy::first_member(reader, world.organization, Role::Owner).await.unwrap().is_some()
    );
}

/// Where the database holds the text: tables and columns.
async fn places_of(world: &World, text: &str) -> Vec<String> {
    let reader = world.server.app.db.reader();
    let backend = reader.get_database_backend();
    let columns = match backend {
        DbBackend::Postgres => {
            "SELECT table_name AS t, column_name AS c FROM information_schema.columns \
             WHERE table_schema = 'public'"
        }
        _ => {
            "SELECT m.name AS t, p.name AS c FROM sqlite_master m, pragma_table_info(m.name) p \
             WHERE m.type = 'table'"
        }
    };
    let rows = reader.query_all_raw(Statement::from_string(backend, columns)).await.unwrap();
    let mut found = Vec::new();
    assert!(rows.len() > 100, "only {} columns", rows.len());
    for row in rows {
        let (table, column): (String, String) =
            (row.try_get("", "t").unwrap(), row.try_get("", "c").unwrap());
        let count = format!(
            "SELECT count(*) AS n FROM \"{table}\" \
             WHERE lower(CAST(\"{column}\" AS text)) LIKE '%{text}%'"
        );
        let counted = reader.query_one_raw(Statement::from_string(backend, count)).await.unwrap();
        if counted.unwrap().try_get::<i64>("", "n").unwrap() > 0 {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_leaves_nothing_that_names_the_person(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let operator = operator(&world).await;
    let bob = Busy::new(&world, "bob@example.com").await;
    let id = bob.person.id(&world.server).await;
    let (db, now) = (world.server.app.db.writer(), world.server.app.clock.now());
    for (digest, accepted_at) in [(1, None), (2, Some(now))] {
        let row = entity::invitation::ActiveModel {
            id: Set(entity::InvitationId::new(now)),
            organization_id: Set(world.organization),
            email: Set("bob@example.com".to_owned()),
            role: Set("viewer".to_owned()),
            digest: Set(vec![digest; 32]),
            invited_by: Set(None),
            created_at: Set(now),
            expires_at: Set(now + Duration::from_secs(60)),
            accepted_at: Set(accepted_at),
            revoked_at: Set(None),
        };
        row.insert(db).await.unwrap();
    }
    let bodies = [r#"{"email":"bob@example.com","x":1}"#, r#"{"email":"abob@example.com.au"}"#];
    for (digest, body) in bodies.into_iter().enumerate() {
        let row = entity::idempotency_key::ActiveModel {
            digest: Set(vec![digest as u8; 32]),
            fingerprint: Set(vec![0; 32]),
            status: Set(Some(201)),
            body: Set(Some(body.to_owned())),
            created_at: Set(now),
        };
        row.insert(db).await.unwrap();
    }
    let before = places_of(&world, "bob@example.com").await;
    for place in ["users.email", "invitations.email", "idempotency_keys.body"] {
        assert!(before.iter().any(|it| it == place), "{before:?}");
    }

    assert_eq!(operator.deletes(&bob.path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(operator.deletes(&bob.path).await.status, StatusCode::NO_CONTENT);
    bob.can_do_nothing(&world).await;
    // Somebody else's address only looks like it.
    assert_eq!(places_of(&world, "bob@example.com").await, ["idempotency_keys.body"]);
    assert!(places_of(&world, "\"bob@example.com\"").await.is_empty());
    let read = operator.gets(&bob.path).await;
    let email = format!("erased-{id}@invalid");
    assert_eq!((read.member("name"), read.member("email")), ("Erased user", email.as_str()));
    assert_eq!((read.member("status"), &read.json["memberships"]), ("erased", &json!([])));
    // For good, and nobody logs in by the address that stands there now.
    let resume = operator.posts(&format!("{}/resume", bob.path), &Value::Null).await;
    assert_eq!(resume.status, StatusCode::CONFLICT, "{resume:?}");
    let login = bob.person.posts("/login", &[("email", &email), ("password", PASSWORD)]).await;
    assert_eq!(login.status, StatusCode::UNAUTHORIZED, "{login:?}");
    // The trail keeps the id, the open invitation is none any more, and the address is free again.
    assert!(places_of(&world, &id.to_string()).await.contains(&"audit_events.target".to_owned()));
    use sea_orm::EntityTrait as _;
    let invitations = entity::invitation::Entity::find().all(db).await.unwrap();
    assert!(invitations.iter().all(|it| it.revoked_at.is_some() != it.accepted_at.is_some()));
    let anew = world.member("bob@example.com", Role::Viewer).await;
    assert_ne!(anew.id(&world.server).await, id);
    anew.logs_in().await;
}

// The command line

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_the_same_on_the_command_line(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    here.is_set_up();
    let json = |arguments: &[&str]| -> Value {
        let text = here.succeeds(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let create = ["users", "create", "--email", "bob@example.com", "--name", "Bob", "--role"];
    let create = [&create[..], &["viewer", "--password-stdin", "--json"]].concat();
    let bob: Value = serde_json::from_str(&here.runs_with(PASSWORD, &create).success()).unwrap();
    let id = bob["id"].as_str().unwrap();

    assert!(json(&["users", "suspend", "Bob@Example.com"])["suspended_at"].is_string());
    let said = here.succeeds(&["users", "suspend", id]);
    assert!(said.contains("bob@example.com") && said.contains("suspended"), "{said}");
    assert_eq!(json(&["users", "resume", id])["suspended_at"], Value::Null);
    let given = json(&["users", "set-role", "bob@example.com", "--role", "owner"]);
    assert_eq!((&given["user"], &given["role"]), (&bob["id"], &json!("owner")));
    let said = here.succeeds(&["users", "set-role", "bob@example.com", "--role", "admin"]);
    assert!(said.contains("is admin of org_"), "{said}");

    let set_role = ["users", "set-role", "ada@example.com", "--role"];
    let refuses = |arguments: &[&str], code: i32| here.runs(arguments).sentence(code);
    let sentence = refuses(&[&set_role[..], &["member"]].concat(), 1);
    assert!(sentence.contains("last owner"), "{sentence}");
    let sentence = refuses(&[&set_role[..], &["rol_01h455vb4pex5vsknk084sn02q"]].concat(), 2);
    assert!(sentence.contains("no role of the organization"), "{sentence}");
    let elsewhere = ["admin", "--organization", "Elsewhere"];
    let sentence = refuses(&[&set_role[..], &elsewhere].concat(), 1);
    assert!(sentence.contains("Elsewhere"), "{sentence}");
    for command in ["suspend", "resume", "erase"] {
        let sentence = refuses(&["users", command, "eve@example.com"], 1);
        assert!(sentence.contains("eve@example.com"), "{sentence}");
    }
    let sentence = refuses(&["users", "erase", "ada@example.com"], 1);
    assert!(sentence.contains("last owner"), "{sentence}");

    assert!(json(&["users", "erase", "bob@example.com"])["erased_at"].is_string());
    assert!(!here.succeeds(&["users", "list"]).contains("bob@example.com"));
    let sentence = refuses(&["users", "resume", id], 1);
    assert!(sentence.contains("erased"), "{sentence}");
}

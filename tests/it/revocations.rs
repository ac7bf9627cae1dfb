//! `POST /v1/revocations`: one call ends all that descends from something, and what stands beside it lives on.

use entity::{GrantId, grant};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::{EntityTrait as _, Set};
use serde_json::{Value, json};

use crate::harness::actors::{claims, introspect};
use crate::harness::caller::wrong_fields;
use crate::harness::feed::Feed;
use crate::harness::{Answer, Application, Caller, Database, Person, World};

const REVOCATIONS: &str = "/v1/revocations";
const UNKNOWN: &str = "01h455vb4pex5vsknk084sn02q";

async fn admin(world: &World) -> Caller {
    Caller::with(&world.server, &world.api_key(&["admin"]).await.secret)
}

async fn lives(world: &World, credential: &str) -> bool {
    let told = introspect(&world.server, &world.credential, credential).await;
    told.json["active"].as_bool().unwrap()
}

/// What somebody has allowed an application, with its tokens.
struct Allowed<'a> {
    app: &'a Application,
    tokens: Answer,
}

impl<'a> Allowed<'a> {
    async fn by(person: &Person, app: &'a Application) -> Self {
        let tokens = app.redeems(&person.approves(app, "read:tenants").await).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        Self { app, tokens }
    }

    fn grant(&self) -> String {
        claims(self.tokens.member("access_token"))["grant"].as_str().unwrap().to_owned()
    }

    async fn is_alive(&self, world: &World) -> bool {
        let lives = lives(world, self.tokens.member("access_token")).await;
        let refresh = self.app.introspects(self.tokens.member("refresh_token")).await;
        assert_eq!(refresh.json["active"], lives, "both live or neither: {refresh:?}");
        lives
    }
}

/// Ends what descends from the subject, after a call that only counts; both must tell the same.
async fn ends(caller: &Caller, subject: &str) -> Value {
    let counted = caller.posts(REVOCATIONS, &json!({ "subject": subject, "dry_run": true })).await;
    let ended = caller.posts(REVOCATIONS, &json!({ "subject": subject })).await;
    for (answer, is_dry) in [(&counted, true), (&ended, false)] {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let told = (&answer.json["subject"], &answer.json["dry_run"]);
        assert_eq!(told, (&json!(subject), &json!(is_dry)));
    }
    assert_eq!(counted.json["ended"], ended.json["ended"]);
    ended.json["ended"].clone()
}

fn counts(grants: u64, refresh_tokens: u64, api_keys: u64) -> Value {
    json!({ "grants": grants, "refresh_tokens": refresh_tokens, "api_keys": api_keys })
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_person_has_allowed_ends_and_they_live_on(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let (first, second) = (world.confidential_app().await, world.confidential_app().await);
    let bob = world.member("bob@example.com", Role::Member).await;
    let bobs = [Allowed::by(&bob, &first).await, Allowed::by(&bob, &second).await];
    let adas = Allowed::by(&world.owner, &first).await;
    let key = world.api_key_of(&bob, Role::Member, &["read:tenants"], None).await;
    let code = bob.approves_again(&first, "read:tenants").await;
    let id = bob.id(&world.server).await.to_string();

    let counted = admin.posts(REVOCATIONS, &json!({ "subject": id, "dry_run": true })).await;
    assert_eq!(counted.json["ended"], counts(2, 2, 0), "{counted:?}");
    for allowed in &bobs {
        assert!(allowed.is_alive(&world).await, "a dry run ends nothing");
    }
    assert_eq!(ends(&admin, &id).await, counts(2, 2, 0));
    for allowed in &bobs {
        assert!(!allowed.is_alive(&world).await);
        let refused = allowed.app.refreshes(allowed.tokens.member("refresh_token")).await;
        assert_eq!(refused.refusal(), "400 invalid_grant");
    }
    assert_eq!(
        first.redeems(&code).await.refusal(),
        "400 invalid_grant",
        "nor what was on its way"
    );
    assert!(adas.is_alive(&world).await && lives(&world, &key.secret).await);
    assert_eq!(ends(&admin, &id).await, counts(0, 0, 0), "once more");
    // They may allow it again.
    let again = first.redeems(&bob.approves_again(&first, "read:tenants").await).await;
    assert!(lives(&world, again.member("access_token")).await);
    let events = admin.gets(&format!("/v1/audit-events?target={}", bobs[0].grant())).await;
    let mut actions = events.json["items"].as_array().unwrap().iter().map(|it| &it["action"]);
    assert!(actions.any(|action| action == "grant.ended"), "{events:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_that_an_application_was_allowed_ends_and_it_lives_on(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let (app, other) = (world.confidential_app().await, world.confidential_app().await);
    let bob = world.member("bob@example.com", Role::Member).await;
    let its = [Allowed::by(&bob, &app).await, Allowed::by(&world.owner, &app).await];
    let others = Allowed::by(&bob, &other).await;
    let own = app.acts_for_itself("read:tenants").await;
    // People elsewhere, who allow it something in their own organization.
    let eve = world.stranger("eve@elsewhere.example").await;
    world.organization_of(&eve, "Elsewhere").await;
    let eves = Allowed::by(&eve, &app).await;

    assert_eq!(ends(&admin, &app.id).await, counts(3, 2, 0), "two people's and its own");
    for allowed in &its {
        assert!(!allowed.is_alive(&world).await);
    }
    assert!(!lives(&world, own.member("access_token")).await);
    assert!(others.is_alive(&world).await && eves.is_alive(&world).await);
    let again = app.redeems(&bob.approves_again(&app, "read:tenants").await).await;
    assert!(lives(&world, again.member("access_token")).await);
    let refused = app.acts_for_itself("read:tenants").await;
    assert_eq!(refused.refusal(), "400 unauthorized_client", "until it is edited");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_ends_alone_and_so_does_a_key_with_what_it_was_exchanged_for(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    let app = world.confidential_app().await;
    let first = Allowed::by(&world.owner, &app).await;
    let second = Allowed {
        app: &app,
        tokens: app.redeems(&world.owner.approves_again(&app, "read:tenants").await).await,
    };
    assert_eq!(ends(&admin, &first.grant()).await, counts(1, 1, 0));
    assert!(!first.is_alive(&world).await && second.is_alive(&world).await);
    assert_eq!(ends(&admin, &first.grant()).await, counts(0, 0, 0));

    let (key, sibling) =
        (world.api_key(&["read:tenants"]).await, world.api_key(&["read:tenants"]).await);
    let exchanged = async |secret: &str| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", secret),
            ("subject_token_type", "urn:portcullis:params:oauth:token-type:api-key"),
            ("resource", crate::harness::world::AUDIENCE),
        ];
        let tokens = app.posts("/oauth/token", &form).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        tokens.member("access_token").to_owned()
    };
    let (its, siblings) = (exchanged(&key.secret).await, exchanged(&sibling.secret).await);
    assert_eq!(ends(&admin, &key.id).await, counts(0, 0, 1));
    for credential in [&key.secret, &its] {
        assert!(!lives(&world, credential).await);
    }
    for credential in [&sibling.secret, &siblings] {
        assert!(lives(&world, credential).await);
    }
    assert_eq!(ends(&admin, &key.id).await, counts(0, 0, 0));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_ends_all_that_the_organization_has_but_the_key_in_their_hand(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let held = world.api_key(&["admin"]).await;
    let owner = Caller::with(&world.server, &held.secret);
    let app = world.confidential_app().await;
    let bob = world.member("bob@example.com", Role::Admin).await;
    let bobs = Allowed::by(&bob, &app).await;
    let keys = [
        world.api_key(&["read:tenants"]).await,
        world.api_key_of(&bob, Role::Admin, &["read:tenants"], None).await,
    ];
    let eve = world.stranger("eve@elsewhere.example").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let eves = Allowed::by(&eve, &app).await;
    let eves_key = world.api_key_in(elsewhere, &eve, Role::Owner, &["read:tenants"], None).await;
    let id = world.organization.to_string();

    // An admin is not enough, nor an owner with a key that is not made for everything.
    let admins = world.api_key_of(&bob, Role::Admin, &["admin"], None).await;
    let lesser = world.api_key(&["write:grants", "write:api-keys"]).await;
    for secret in [&admins.secret, &lesser.secret] {
        let caller = Caller::with(&world.server, secret);
        let refused = caller.posts(REVOCATIONS, &json!({ "subject": id })).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    }
    assert!(bobs.is_alive(&world).await);

    // Bob's, and the application's own; four keys beside the one that calls.
    assert_eq!(ends(&owner, &id).await, counts(2, 1, 4));
    assert!(!bobs.is_alive(&world).await);
    for key in &keys {
        assert!(!lives(&world, &key.secret).await);
    }
    assert!(eves.is_alive(&world).await && lives(&world, &eves_key.secret).await);
    assert_eq!(ends(&owner, &id).await, counts(0, 0, 0), "the key that calls still does");

    // In a browser there is no key to spare.
    let key = world.api_key(&["read:tenants"]).await;
    world.owner.logs_in().await;
    let browser = Caller::in_browser(&world.server, &world.owner, world.organization);
    assert_eq!(ends(&browser, &id).await, counts(0, 0, 2));
    assert!(!lives(&world, &key.secret).await && !lives(&world, &held.secret).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_organizations_is_not_there(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let allowed = Allowed::by(&world.owner, &app).await;
    let key = world.api_key(&["read:tenants"]).await;
    let user = world.owner.id(&world.server).await.to_string();
    let eve = world.stranger("eve@elsewhere.example").await;
    let elsewhere = world.organization_of(&eve, "Elsewhere").await;
    let eves = world.api_key_in(elsewhere, &eve, Role::Owner, &["admin"], None).await;
    let caller = Caller::with(&world.server, &eves.secret);
    let ours = world.organization.to_string();
    for foreign in [&allowed.grant(), &key.id, &user, &app.id, &ours] {
        for dry_run in [true, false] {
            let unknown = format!("{}_{UNKNOWN}", foreign.split('_').next().unwrap());
            let asks = async |subject: &str| {
                caller.posts(REVOCATIONS, &json!({ "subject": subject, "dry_run": dry_run })).await
            };
            let (answer, unknown) = (asks(foreign).await, asks(&unknown).await);
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{foreign}: {answer:?}");
            assert_eq!(answer.text, unknown.text);
        }
    }
    assert!(allowed.is_alive(&world).await && lives(&world, &key.secret).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_must_be_named_by_somebody_who_may(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let admin = admin(&world).await;
    for subject in ["", "x", "usr_", "usr_x", &format!("tok_{UNKNOWN}"), &format!("prj_{UNKNOWN}")]
    {
        let refused = admin.posts(REVOCATIONS, &json!({ "subject": subject })).await;
        assert_eq!(wrong_fields(&refused), ["subject"], "{subject}");
    }
    for body in [json!({}), json!({ "subject": 1 }), json!({ "subject": "x", "all": true })] {
        let refused = admin.posts(REVOCATIONS, &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {refused:?}");
    }
    let key = world.api_key(&["read:tenants"]).await;
    for (scopes, subject) in [
        (["write:grants", "read:api-keys"], key.id.clone()),
        (["write:api-keys", "read:grants"], format!("gnt_{UNKNOWN}")),
    ] {
        let caller = world.api_key(&scopes).await;
        let caller = Caller::with(&world.server, &caller.secret);
        let refused = caller.posts(REVOCATIONS, &json!({ "subject": subject })).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    }
    assert!(lives(&world, &key.secret).await);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_subtree_may_be_large(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const MANY: usize = 1200;
    let Some(world) = World::on(database).await else { return };
    let (admin, server) = (admin(&world).await, &world.server);
    let app = world.confidential_app().await;
    let user = world.owner.id(server).await;
    let now = server.app.clock.now();
    let ids: Vec<GrantId> = (0..MANY).map(|_| GrantId::new(now)).collect();
    for some in ids.chunks(500) {
        let rows = some.iter().map(|id| grant::ActiveModel {
            id: Set(*id),
            client_id: Set(app.id.parse().unwrap()),
            user_id: Set(Some(user)),
            organization_id: Set(world.organization),
            project_id: Set(None),
            resource_server_id: Set(world.api.id),
            scopes: Set("read:tenants".to_owned()),
            created_at: Set(now),
            ended_at: Set(None),
            generation: Set(0),
            refresh_expires_at: Set(None),
            absolute_expires_at: Set(None),
            rotated_at: Set(None),
            retry_answer: Set(None),
        });
        let db = server.app.db.writer();
        grant::Entity::insert_many(rows).exec_without_returning(db).await.unwrap();
    }
    let mut feed = Feed::of(server, &world.credential, None).await;
    feed.until_ready().await;
    let body = json!({ "subject": user.to_string() });
    // Of several calls at once each ends what the others have not.
    let answers = futures::future::join_all((0..4).map(|_| admin.posts(REVOCATIONS, &body))).await;
    let count = |answer: &Answer| answer.json["ended"]["grants"].as_u64().unwrap();
    assert_eq!(answers.iter().map(count).sum::<u64>(), MANY as u64, "{answers:?}");
    let mut told = Vec::new();
    while told.len() < MANY {
        told.push(feed.next().await.subject().to_owned());
    }
    told.sort();
    let mut expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(told, expected);
}

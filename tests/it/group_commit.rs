//! Refreshes, code exchanges and revocations that are carried out together: each gets its own answer, and what one is refused is no
//! matter of its neighbours.

use std::collections::{BTreeMap, HashSet};

use entity::{audit_event, authorization_code, grant, project, revocation, user};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use portcullis::audit::By;
use portcullis::tenancy::{self, NewProject, Role};
use reqwest::StatusCode;
use rstest::rstest;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
};
use serde_json::json;

use crate::harness::actors::{claims, http, introspect};
use crate::harness::{Answer, Application, Caller, Database, Person, World};

const AT_ONCE: usize = 24;

/// Codes of somebody who is logged in.
async fn codes(person: &Person, app: &Application, count: usize) -> Vec<String> {
    let mut codes = Vec::new();
    while codes.len() < count {
        codes.push(person.approves_again(app, "read:tenants write:tenants").await);
    }
    codes
}

async fn redeemed(app: &Application, codes: &[String]) -> Vec<Answer> {
    let answers = join_all(codes.iter().map(|code| app.redeems(code))).await;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    answers
}

/// Carries the requests out while nothing can be written until all of them wait, so that they are in few batches.
async fn together(
    world: &World,
    requests: impl Iterator<Item: Future<Output = Answer>>,
) -> Vec<Answer> {
    let db = &world.server.app.db;
    // SQLite's one writer is taken by this.
    let held = db.begin().await.unwrap();
    if db.is_postgres() {
        let lock = "LOCK TABLE grants, authorization_codes IN EXCLUSIVE MODE";
        held.execute_unprepared(lock).await.unwrap();
    }
    let release = async {
        // Who is answered now has come after the others.
        for _ in 0..AT_ONCE {
            http().get(world.server.url("/healthz")).send().await.unwrap();
        }
        held.rollback().await.unwrap();
    };
    tokio::join!(join_all(requests), release).0
}

async fn lives(world: &World, tokens: &Answer) -> bool {
    let told = introspect(&world.server, &world.credential, tokens.member("access_token")).await;
    told.json["active"].as_bool().unwrap()
}

fn grant_of(tokens: &Answer) -> String {
    claims(tokens.member("access_token"))["grant"].as_str().unwrap().to_owned()
}

async fn grants_created(world: &World) -> u64 {
    events(world, "grant.created").await
}

async fn grants_of_people(world: &World) -> u64 {
    let grants = grant::Entity::find().filter(grant::Column::UserId.is_not_null());
    grants.count(world.server.app.db.reader()).await.unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_gets_its_own_answer(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let codes = codes(&world.owner, &app, AT_ONCE).await;
    let first = together(&world, codes.iter().map(|code| app.redeems(code))).await;
    let grants: Vec<String> = first.iter().map(grant_of).collect();
    assert_eq!(grants.iter().collect::<HashSet<_>>().len(), AT_ONCE);
    assert_eq!(grants_created(&world).await, u64::try_from(AT_ONCE).unwrap());

    let mut latest = first;
    for round in 0..3 {
        let tokens: Vec<&str> = latest.iter().map(|it| it.member("refresh_token")).collect();
        let next = together(&world, tokens.iter().map(|token| app.refreshes(token))).await;
        let of: Vec<String> = next.iter().map(grant_of).collect();
        assert_eq!(of, grants, "round {round}");
        let different: HashSet<&str> = next.iter().map(|it| it.member("refresh_token")).collect();
        assert_eq!(different.len(), AT_ONCE);
        latest = next;
    }
    for tokens in &latest {
        assert!(lives(&world, tokens).await);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn one_token_many_times_in_a_batch_gets_one_answer_or_without_a_window_one_winner(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let strict = world.registers(|new| new.refresh_retry_seconds = 0).await;
    world.owner.logs_in().await;
    let tokens = redeemed(&app, &codes(&world.owner, &app, 2).await).await;
    let strict_tokens = redeemed(&strict, &codes(&world.owner, &strict, 1).await).await;
    let requests = (0..3 * AT_ONCE).map(|at| match at % 3 {
        2 => strict.refreshes(strict_tokens[0].member("refresh_token")),
        which => app.refreshes(tokens[which].member("refresh_token")),
    });
    let answers = together(&world, requests).await;
    let of = |which: usize| answers.iter().skip(which).step_by(3);
    for (which, first) in tokens.iter().enumerate() {
        let bodies: HashSet<&str> = of(which).map(|answer| answer.text.as_str()).collect();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        let answer = of(which).next().unwrap();
        assert_eq!(grant_of(answer), grant_of(first));
        assert!(lives(&world, answer).await);
    }
    let (won, lost): (Vec<_>, Vec<_>) = of(2).partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(won.len(), 1, "{won:?}");
    for refused in lost {
        assert_eq!(refused.refusal(), "400 invalid_grant");
    }
    assert!(!lives(&world, won[0]).await, "the grant has ended");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_one_code_many_times_in_a_batch_one_wins_and_only_its_grant_ends(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let codes = codes(&world.owner, &app, AT_ONCE).await;
    // The first comes again and again among the others.
    let requests = codes.iter().flat_map(|code| [code, &codes[0]]).map(|code| app.redeems(code));
    let answers = together(&world, requests).await;
    let of_the_first = answers.iter().enumerate().filter(|(at, _)| at % 2 == 1 || *at == 0);
    let (won, lost): (Vec<_>, Vec<_>) =
        of_the_first.map(|(_, it)| it).partition(|it| it.status == StatusCode::OK);
    assert_eq!(won.len(), 1, "{won:?}");
    assert!(lost.iter().all(|refused| refused.refusal() == "400 invalid_grant"));
    assert!(!lives(&world, won[0]).await);
    for other in answers.iter().step_by(2).skip(1) {
        assert!(lives(&world, other).await);
    }
    // Whoever lost has left no trace of a grant.
    let made = u64::try_from(AT_ONCE).unwrap();
    assert_eq!(grants_created(&world).await, made);
    assert_eq!(grants_of_people(&world).await, made);
}

async fn log_entries(world: &World) -> u64 {
    revocation::Entity::find().count(world.server.app.db.reader()).await.unwrap()
}

async fn events(world: &World, action: &str) -> u64 {
    let events = audit_event::Entity::find().filter(audit_event::Column::Action.eq(action));
    events.count(world.server.app.db.reader()).await.unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn revocations_together_end_what_each_is_about_once_and_nothing_else(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let (app, other) = (world.confidential_app().await, world.confidential_app().await);
    world.owner.logs_in().await;
    let tokens = redeemed(&app, &codes(&world.owner, &app, AT_ONCE).await).await;
    let foreign = redeemed(&other, &codes(&world.owner, &other, 1).await).await.remove(0);
    let logged = log_entries(&world).await;
    // Of each four the first loses its grant, by three calls at once; the second its access token alone; the third is
    // what somebody else tries to revoke; the fourth is left in peace.
    let mut calls: Vec<BoxFuture<'_, Answer>> = Vec::new();
    for (at, it) in tokens.iter().enumerate() {
        let (access, refresh) = (it.member("access_token"), it.member("refresh_token"));
        match at % 4 {
            0 => (0..3).for_each(|_| calls.push(app.revokes(refresh).boxed())),
            1 => calls.push(app.revokes(access).boxed()),
            2 => calls.extend([other.revokes(access).boxed(), other.revokes(refresh).boxed()]),
            _ => calls.push(app.revokes("garbage").boxed()),
        }
    }
    for answer in together(&world, calls.into_iter()).await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    for (at, it) in tokens.iter().enumerate() {
        assert_eq!(lives(&world, it).await, at % 4 > 1, "{at}");
        let refreshed = app.refreshes(it.member("refresh_token")).await;
        assert_eq!(refreshed.status == StatusCode::OK, at % 4 != 0, "{at}: {refreshed:?}");
    }
    assert!(lives(&world, &foreign).await);
    let of_each = u64::try_from(AT_ONCE / 4).unwrap();
    assert_eq!(events(&world, "grant.ended").await, of_each);
    assert_eq!(events(&world, "access_token.revoked").await, of_each);
    assert_eq!(log_entries(&world).await - logged, 2 * of_each);
}

/// People of whom each has something else happen to them behind the back of their grants and codes.
struct People {
    fine: Person,
    suspended: Person,
    removed: Person,
    demoted: Person,
    /// Has a role that the organization has made for itself.
    of_an_own_role: Person,
    /// Their grants and codes are confined to a project that goes.
    confined: Person,
    /// Their grants end and their codes are spent.
    ended: Person,
}

impl People {
    async fn of(world: &World) -> Self {
        let member = async |name: &str| {
            let person = world.member(&format!("{name}@example.com"), Role::Member).await;
            person.logs_in().await;
            person
        };
        Self {
            fine: member("fine").await,
            suspended: member("suspended").await,
            removed: member("removed").await,
            demoted: member("demoted").await,
            of_an_own_role: member("own").await,
            confined: member("confined").await,
            ended: member("ended").await,
        }
    }

    fn all(&self) -> [(&'static str, &Person); 7] {
        [
            ("fine", &self.fine),
            ("suspended", &self.suspended),
            ("removed", &self.removed),
            ("demoted", &self.demoted),
            ("of an own role", &self.of_an_own_role),
            ("confined", &self.confined),
            ("ended", &self.ended),
        ]
    }

    /// It all happens in the tables, so that nothing but the reading of them can tell.
    async fn are_struck(&self, world: &World) {
        let (app, db) = (&world.server.app, world.server.app.db.writer());
        let now = app.clock.now();
        let id = async |person: &Person| person.id(&world.server).await;
        user::Entity::update_many()
            .col_expr(user::Column::SuspendedAt, Expr::value(now))
            .filter(user::Column::Id.eq(id(&self.suspended).await))
            .exec(db)
            .await
            .unwrap();
        world.puts(&self.removed, None).await;
        world.puts(&self.demoted, Some(Role::Viewer)).await;
        let owner = Caller::with(&world.server, &world.api_key(&["admin"]).await.secret);
        let role = json!({ "name": "Writers", "scopes": ["write:tenants"] });
        let role = owner.posts("/v1/roles", &role).await.member("id").to_owned();
        let there = format!("/v1/members/{}", id(&self.of_an_own_role).await);
        assert_eq!(owner.patches(&there, &json!({ "role": role })).await.status, StatusCode::OK);
        let tx = app.db.begin().await.unwrap();
        let new = NewProject { organization: world.organization, name: "Shop", description: "" };
        let shop = tenancy::create_project(&tx, now, &By::operator(), new).await.unwrap().id;
        tx.commit().await.unwrap();
        let confined = id(&self.confined).await;
        grant::Entity::update_many()
            .col_expr(grant::Column::ProjectId, Expr::value(shop))
            .filter(grant::Column::UserId.eq(confined))
            .exec(db)
            .await
            .unwrap();
        authorization_code::Entity::update_many()
            .col_expr(authorization_code::Column::ProjectId, Expr::value(shop))
            .filter(authorization_code::Column::UserId.eq(confined))
            .exec(db)
            .await
            .unwrap();
        project::Entity::update_many()
            .col_expr(project::Column::DeletedAt, Expr::value(now))
            .filter(project::Column::Id.eq(shop))
            .exec(db)
            .await
            .unwrap();
        let ended = id(&self.ended).await;
        grant::Entity::update_many()
            .col_expr(grant::Column::EndedAt, Expr::value(now))
            .filter(grant::Column::UserId.eq(ended))
            .exec(db)
            .await
            .unwrap();
        authorization_code::Entity::update_many()
            .col_expr(authorization_code::Column::RedeemedAt, Expr::value(now))
            .filter(authorization_code::Column::UserId.eq(ended))
            .exec(db)
            .await
            .unwrap();
    }
}

/// The scope that each got, or the refusal.
fn told(people: &People, answers: &[Answer]) -> BTreeMap<&'static str, String> {
    let each = people.all().into_iter().zip(answers).map(|((name, _), answer)| {
        let told = match answer.status {
            StatusCode::OK => answer.member("scope").to_owned(),
            _ => answer.refusal(),
        };
        (name, told)
    });
    each.collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_one_is_refused_is_no_matter_of_the_others(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let people = People::of(&world).await;
    let (mut tokens, mut unspent) = (Vec::new(), Vec::new());
    for (_, person) in people.all() {
        let mut codes = codes(person, &app, 2).await;
        unspent.extend(codes.pop());
        tokens.extend(redeemed(&app, &codes).await);
    }
    people.are_struck(&world).await;
    let expected = BTreeMap::from([
        ("fine", "write:tenants"),
        ("suspended", "400 invalid_grant"),
        ("removed", "400 invalid_grant"),
        ("demoted", "read:tenants"),
        ("of an own role", "write:tenants"),
        ("confined", "400 invalid_grant"),
        ("ended", "400 invalid_grant"),
    ])
    .into_iter()
    .map(|(name, told)| (name, told.to_owned()))
    .collect();
    let refreshes = tokens.iter().map(|it| app.refreshes(it.member("refresh_token")));
    assert_eq!(told(&people, &together(&world, refreshes).await), expected);
    let redemptions = unspent.iter().map(|code| app.redeems(code));
    assert_eq!(told(&people, &together(&world, redemptions).await), expected);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_fails_for_everybody_and_spends_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    world.owner.logs_in().await;
    let codes = codes(&world.owner, &app, AT_ONCE).await;
    let db = world.server.app.db.writer();
    let rename = async |from: &str, to: &str| {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        db.execute_unprepared(&statement).await.unwrap();
    };
    rename("audit_events", "taken_away").await;
    let failed = together(&world, codes.iter().map(|code| app.redeems(code))).await;
    assert!(failed.iter().all(|it| it.refusal() == "500 server_error"), "{failed:?}");
    rename("taken_away", "audit_events").await;
    assert_eq!(grants_of_people(&world).await, 0);
    let tokens = redeemed(&app, &codes).await;

    rename("grants", "taken_away").await;
    let refreshes = || tokens.iter().map(|it| app.refreshes(it.member("refresh_token")));
    let failed = join_all(refreshes()).await;
    assert!(failed.iter().all(|it| it.refusal() == "500 server_error"), "{failed:?}");
    rename("taken_away", "grants").await;
    let tokens = together(&world, refreshes()).await;

    let logged = log_entries(&world).await;
    rename("audit_events", "taken_away").await;
    let revocations = || tokens.iter().map(|it| app.revokes(it.member("refresh_token")));
    let failed = together(&world, revocations()).await;
    assert!(failed.iter().all(|it| it.refusal() == "500 server_error"), "{failed:?}");
    rename("taken_away", "audit_events").await;
    for it in &tokens {
        assert!(lives(&world, it).await);
    }
    assert_eq!(log_entries(&world).await, logged);
    for answer in together(&world, revocations()).await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    for it in &tokens {
        assert!(!lives(&world, it).await);
    }
}

/// Batches of two servers lock the same rows, and so does whoever ends all of them: nobody waits in a circle.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_and_an_end_of_everything_do_not_block_each_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let app = world.confidential_app().await;
    let second = world.server.beside().await;
    let there = app.moved_to(&second);
    world.owner.logs_in().await;
    for _ in 0..2 {
        let tokens = redeemed(&app, &codes(&world.owner, &app, AT_ONCE).await).await;
        let codes = codes(&world.owner, &app, AT_ONCE).await;
        let tokens: Vec<&str> = tokens.iter().map(|it| it.member("refresh_token")).collect();
        let here = tokens.iter().map(|token| app.refreshes(token));
        let opposite = tokens.iter().rev().map(|token| there.refreshes(token));
        let exchanged = codes.iter().map(|code| app.redeems(code));
        let exchanged_there = codes.iter().rev().map(|code| there.redeems(code));
        let form = [("client", app.id.as_str())];
        let (a, b, c, d, ended) = tokio::join!(
            join_all(here),
            join_all(opposite),
            join_all(exchanged),
            join_all(exchanged_there),
            world.owner.posts("/connected-apps/end", &form),
        );
        assert_eq!(ended.header("location"), "/connected-apps?done=ended", "{ended:?}");
        let mut alive = Vec::new();
        for answer in a.into_iter().chain(b).chain(c).chain(d) {
            match answer.status {
                StatusCode::OK => alive.push(answer),
                _ => assert_eq!(answer.refusal(), "400 invalid_grant"),
            }
        }
        // What came up beside it ends with another.
        world.owner.posts("/connected-apps/end", &form).await;
        for tokens in &alive {
            assert!(!lives(&world, tokens).await);
        }

        // Both end the same grants, in opposite orders.
        let tokens = redeemed(&app, &self::codes(&world.owner, &app, AT_ONCE).await).await;
        let tokens: Vec<&str> = tokens.iter().map(|it| it.member("refresh_token")).collect();
        let (ended, ended_before) = (tokens.len(), events(&world, "grant.ended").await);
        let (a, b) = tokio::join!(
            join_all(tokens.iter().map(|token| app.revokes(token))),
            join_all(tokens.iter().rev().map(|token| there.revokes(token))),
        );
        assert!(a.iter().chain(&b).all(|answer| answer.status == StatusCode::OK));
        let ended_now = events(&world, "grant.ended").await - ended_before;
        assert_eq!(ended_now, u64::try_from(ended).unwrap());
    }
}

//! Alerts: who is told of what, by mail and by the webhook, once, and in spite of failures.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entity::{ApiKeyId, Timestamp, alert, api_key, user};
use portcullis::config::Settings;
use portcullis::janitor;
use portcullis::tenancy::Role;
use rstest::rstest;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};

use crate::harness::hook::Received;
use crate::harness::world::Key;
use crate::harness::{Database, Hook, Installation, Mailbox, Server, World, eventually};
use crate::invitations::trail;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Mail goes to the mailbox, and the webhook to the hook.
pub fn telling<'a>(
    mailbox: Option<&'a Mailbox>,
    hook: Option<&'a Hook>,
) -> impl FnOnce(&mut Settings) + use<'a> {
    move |settings| {
        if let Some(mailbox) = mailbox {
            settings.mail.smtp_url = mailbox.url().into();
            settings.mail.from = "auth@example.com".to_owned();
        }
        if let Some(hook) = hook {
            settings.webhook.url = hook.url();
            settings.webhook.secret = SECRET.into();
        }
    }
}

/// A company whose people get mail.
pub async fn world_with(
    database: Database,
    mailbox: Option<&Mailbox>,
    hook: Option<&Hook>,
) -> Option<World> {
    Some(World::around(Server::start_with(database, telling(mailbox, hook)).await?).await)
}

/// How many alerts of that kind were raised.
pub async fn raised(world: &World, kind: &str) -> u64 {
    let query = alert::Entity::find().filter(alert::Column::Kind.eq(kind));
    query.count(world.server.app.db.reader()).await.unwrap()
}

/// What the audit trail tells of a thing beyond its making, in the order of the alphabet: nothing orders what happens
/// within a millisecond.
pub async fn events(world: &World, target: &str) -> Vec<String> {
    let trail = trail(world, target).await.into_iter().map(|(action, _)| action);
    let mut events: Vec<String> = trail.filter(|action| !action.ends_with(".created")).collect();
    events.sort();
    events
}

/// Whether Standard Webhooks' libraries would accept it.
fn is_signed(received: &Received, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let signed = format!("{id}.{at}.{}", received.body);
    let tag = received.header("webhook-signature").strip_prefix("v1,").unwrap();
    hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(tag).unwrap()).is_ok()
}

async fn sets_expiry(world: &World, key: &Key, end: Timestamp) {
    let id: ApiKeyId = key.id.parse().unwrap();
    api_key::Entity::update_many()
        .col_expr(api_key::Column::ExpiresAt, Expr::value(end))
        .filter(api_key::Column::Id.eq(id))
        .exec(world.server.app.db.writer())
        .await
        .unwrap();
}

async fn sets_last_use(world: &World, key: &Key, at: Timestamp) {
    let id: ApiKeyId = key.id.parse().unwrap();
    api_key::Entity::update_many()
        .col_expr(api_key::Column::LastUsedAt, Expr::value(at))
        .filter(api_key::Column::Id.eq(id))
        .exec(world.server.app.db.writer())
        .await
        .unwrap();
}

async fn expiring_in(world: &World, time: Duration) -> Key {
    let end = world.server.app.clock.now() + time;
    world.api_key_of(&world.owner, Role::Owner, &["read:tenants"], Some(end)).await
}

// Notices

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_14_7_and_1_days_before_a_key_expires(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let key = expiring_in(&world, DAY * 30).await;
    let hint = format!("{}…{}", &key.secret[..12], &key.secret[key.secret.len() - 4..]);
    let mut told = 0;
    // Days left, and whether that is when something is said.
    for (passes, says) in [
        (DAY * 15, None),
        (DAY, Some("14 days")),
        (DAY * 6, None),
        (DAY, Some("7 days")),
        (DAY * 5, None),
        (DAY, Some("a day")),
        (DAY / 2, None),
        (DAY, None),
    ] {
        world.server.passes(passes);
        for _ in 0..2 {
            janitor::sweep(&world.server.app).await;
        }
        told += usize::from(says.is_some());
        assert_eq!(events(&world, &key.id).await.len(), told, "{says:?}");
        if let Some(says) = says {
            let mail = mailbox.next().await;
            assert_eq!(mail.to, [world.owner.email.as_str()]);
            assert_eq!(mail.header("subject"), "API key script expires soon");
            for words in [says, &key.id, &hint, "Organization: Example", "127.0.0.1"] {
                assert!(mail.text.contains(words), "{words} is not in {}", mail.text);
            }
            assert!(!mail.text.contains(&key.secret));
        }
    }
    assert_eq!(events(&world, &key.id).await, ["api_key.expiring"; 3]);
    assert!(mailbox.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_end_was_put_off_is_told_of_anew(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world_with(database, Some(&Mailbox::open().await), None).await else {
        return;
    };
    let key = expiring_in(&world, DAY * 20).await;
    world.server.passes(DAY * 19);
    janitor::sweep(&world.server.app).await;
    assert_eq!(raised(&world, "api_key.expiring").await, 1);
    sets_expiry(&world, &key, world.server.app.clock.now() + DAY * 10).await;
    janitor::sweep(&world.server.app).await;
    assert_eq!(
        raised(&world, "api_key.expiring").await,
        2,
        "10 days are left, of which nobody knew"
    );
    world.server.passes(DAY * 3);
    for _ in 0..2 {
        janitor::sweep(&world.server.app).await;
        assert_eq!(raised(&world, "api_key.expiring").await, 3, "7 days are left");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_short_lived_revoked_or_endless_is_not_told_of(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world_with(database, Some(&Mailbox::open().await), None).await else {
        return;
    };
    world.api_key(&["read:tenants"]).await;
    expiring_in(&world, DAY / 24).await;
    let week = expiring_in(&world, DAY * 7).await;
    let revoked = expiring_in(&world, DAY * 20).await;
    let id = revoked.id.parse().unwrap();
    let app = &world.server.app;
    let by = portcullis::audit::By::operator();
    portcullis::api_keys::revoke(&app.db, app.clock.now(), &by, None, id, None).await.unwrap();
    janitor::sweep(app).await;
    assert_eq!(raised(&world, "api_key.expiring").await, 0);
    world.server.passes(DAY * 6);
    janitor::sweep(app).await;
    assert_eq!(raised(&world, "api_key.expiring").await, 1, "a day before the end of the week");
    assert_eq!(events(&world, &week.id).await, ["api_key.expiring"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_uses_for_90_days_is_told_of_until_it_is_used_again(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let app = &world.server.app;
    let idle = world.api_key(&["read:tenants"]).await;
    let busy = world.api_key(&["read:tenants"]).await;
    world.server.passes(DAY * 90 - Duration::from_secs(1));
    sets_last_use(&world, &busy, app.clock.now()).await;
    janitor::sweep(app).await;
    assert!(events(&world, &idle.id).await.is_empty());
    world.server.passes(Duration::from_secs(1));
    for _ in 0..2 {
        janitor::sweep(app).await;
        assert_eq!(events(&world, &idle.id).await, ["api_key.unused"]);
    }
    let mail = mailbox.next().await;
    assert_eq!(mail.header("subject"), "Nobody uses API key script");
    assert!(mail.text.contains(&idle.id), "{}", mail.text);
    assert_eq!(events(&world, &idle.id).await, ["api_key.unused"]);
    // Used again, and then no more.
    sets_last_use(&world, &idle, app.clock.now() + Duration::from_secs(1)).await;
    world.server.passes(DAY * 89);
    janitor::sweep(app).await;
    assert_eq!(events(&world, &idle.id).await, ["api_key.unused"]);
    world.server.passes(DAY * 2);
    janitor::sweep(app).await;
    assert_eq!(events(&world, &idle.id).await, ["api_key.unused"; 2]);
    assert_eq!(events(&world, &busy.id).await, ["api_key.unused"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_one_tells(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let (mailbox, mut hook) = (Mailbox::open().await, Hook::open().await);
    let Some(world) = world_with(database, Some(&mailbox), Some(&hook)).await else { return };
    let other = world.server.beside_with(telling(Some(&mailbox), Some(&hook))).await;
    for _ in 0..60 {
        expiring_in(&world, DAY * 15).await;
    }
    world.server.passes(DAY * 2);
    let sweeps =
        (0..8).map(|at| janitor::sweep(if at % 2 == 0 { &world.server.app } else { &other.app }));
    futures::future::join_all(sweeps).await;
    assert_eq!(raised(&world, "api_key.expiring").await, 120, "a mail and a post for each");
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let received = hook.next().await;
        assert!(ids.insert(received.header("webhook-id").to_owned()), "{received:?} came twice");
    }
    eventually(async || {
        let open = alert::Entity::find().filter(alert::Column::DoneAt.is_null());
        open.count(world.server.app.db.reader()).await.unwrap() == 0
    })
    .await;
    assert_eq!(hook.waiting(), 0);
}

// Who is told

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_owners_of_the_organization_are_told_of_its_own_keys_and_of_those_of_who_left(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let app = &world.server.app;
    let grace = world.member("grace@example.com", Role::Owner).await;
    let bob = world.member("bob@example.com", Role::Member).await;
    let end = app.clock.now() + DAY * 15;
    let key = world.api_key_of(&bob, Role::Member, &["read:tenants"], Some(end)).await;
    let mut told = async |mails: usize| {
        janitor::sweep(app).await;
        let mut to = Vec::new();
        for _ in 0..mails {
            to.extend(mailbox.next().await.to);
        }
        to.sort();
        assert!(mailbox.is_empty());
        to
    };
    world.server.passes(DAY * 2);
    assert_eq!(told(1).await, ["bob@example.com"]);
    // Bob leaves.
    world.puts(&bob, None).await;
    world.server.passes(DAY * 6);
    assert_eq!(told(2).await, ["ada@example.com", "grace@example.com"]);
    // The key is the organization's own now, and Grace is suspended.
    let id: ApiKeyId = key.id.parse().unwrap();
    api_key::Entity::update_many()
        .col_expr(api_key::Column::OwnerId, Expr::value(None::<entity::UserId>))
        .filter(api_key::Column::Id.eq(id))
        .exec(app.db.writer())
        .await
        .unwrap();
    user::Entity::update_many()
        .col_expr(user::Column::SuspendedAt, Expr::value(app.clock.now()))
        .filter(user::Column::Id.eq(grace.id(&world.server).await))
        .exec(app.db.writer())
        .await
        .unwrap();
    world.server.passes(DAY * 6);
    assert_eq!(told(1).await, ["ada@example.com"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn without_mail_and_webhook_the_audit_trail_tells_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let key = expiring_in(&world, DAY * 15).await;
    world.server.passes(DAY * 2);
    janitor::sweep(&world.server.app).await;
    assert_eq!(
        trail(&world, &key.id).await.pop().unwrap(),
        ("api_key.expiring".into(), "system".into())
    );
    assert_eq!(raised(&world, "api_key.expiring").await, 0);
}

// The webhook

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_signed_and_comes_within_two_seconds(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut hook = Hook::open().await;
    let Some(world) = world_with(database, None, Some(&hook)).await else { return };
    let key = expiring_in(&world, DAY * 15).await;
    world.server.passes(DAY * 2);
    let now = world.server.app.clock.now();
    janitor::sweep(&world.server.app).await;
    let swept = Instant::now();
    let received = hook.next().await;
    assert!(swept.elapsed() < Duration::from_secs(2), "{:?}", swept.elapsed());
    assert_eq!(received.method, "POST");
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("webhook-timestamp"), now.unix_seconds().to_string());
    assert!(is_signed(&received, SECRET), "{received:?}");
    assert!(!is_signed(&received, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let end = now + DAY * 13;
    let expected = serde_json::json!({
        "type": "api_key.expiring",
        "timestamp": now,
        "data": {
            "id": key.id,
            "name": "script",
            "hint": format!("{}…{}", &key.secret[..12], &key.secret[key.secret.len() - 4..]),
            "organization": world.organization,
            "organization_name": "Example",
            "owner": world.owner.id(&world.server).await,
            "detail": { "days_left": 13, "expires_at": end },
        },
    });
    assert_eq!(received.json(), expected);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_not_taken_comes_again_with_the_same_id_and_is_given_up_after_hours(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut hook = Hook::open().await;
    let elsewhere = Hook::open().await;
    let Some(world) = world_with(database, None, Some(&hook)).await else { return };
    let app = &world.server.app;
    expiring_in(&world, DAY * 15).await;
    // A redirect is no success either, and nobody follows it.
    hook.answers(307, &[("location", &elsewhere.url())], "");
    world.server.passes(DAY * 2);
    janitor::sweep(app).await;
    let first = hook.next().await;
    hook.answers(500, &[], "no");
    let hour = 60 * 60;
    let is_tried = async |attempts: i32| {
        let row = alert::Entity::find().one(app.db.reader()).await.unwrap().unwrap();
        row.attempts == attempts
    };
    for (at, wait) in [30, 120, 600, 1800, hour, 2 * hour, 3 * hour].into_iter().enumerate() {
        world.server.passes(Duration::from_secs(wait - 1));
        app.alerts.wake();
        assert!(is_tried(at as i32 + 1).await, "too early");
        world.server.passes(Duration::from_secs(1));
        app.alerts.wake();
        let again = hook.next().await;
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_ne!(again.header("webhook-timestamp"), first.header("webhook-timestamp"));
        assert_eq!(again.body, first.body);
        assert!(is_signed(&again, SECRET));
    }
    eventually(async || {
        let row = alert::Entity::find().one(app.db.reader()).await.unwrap().unwrap();
        row.done_at.is_some() && row.attempts == 8
    })
    .await;
    assert_eq!((hook.waiting(), elsewhere.waiting()), (0, 0));
    // A week later nothing is left of it.
    world.server.passes(DAY * 7 - Duration::from_secs(1));
    janitor::sweep(app).await;
    assert_eq!(raised(&world, "api_key.expiring").await, 1 + 1, "the next step was due meanwhile");
    world.server.passes(Duration::from_secs(1));
    janitor::sweep(app).await;
    assert_eq!(raised(&world, "api_key.expiring").await, 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_is_tried_again(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let mut mailbox = Mailbox::open().await;
    let Some(world) = world_with(database, Some(&mailbox), None).await else { return };
    let app = &world.server.app;
    // The mail server refuses whoever is called so.
    let nobody = world.member("nobody@example.com", Role::Member).await;
    let end = app.clock.now() + DAY * 15;
    world.api_key_of(&nobody, Role::Member, &["read:tenants"], Some(end)).await;
    world.server.passes(DAY * 2);
    janitor::sweep(app).await;
    let row = async || alert::Entity::find().one(app.db.reader()).await.unwrap().unwrap();
    eventually(async || row().await.attempts == 1).await;
    // They have another address now, which counts.
    user::Entity::update_many()
        .col_expr(user::Column::Email, Expr::value("somebody@example.com"))
        .filter(user::Column::Id.eq(row().await.recipient_id.unwrap()))
        .exec(app.db.writer())
        .await
        .unwrap();
    world.server.passes(Duration::from_secs(30));
    app.alerts.wake();
    assert_eq!(mailbox.next().await.to, ["somebody@example.com"]);
    eventually(async || row().await.done_at.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_webhook_settings_are_named_without_their_secret() {
    let here = Installation::empty().await;
    for (text, words) in [
        ("[webhook]\nsecret = 'whsec_hunter2'", &["webhook.url is missing"][..]),
        ("[webhook]\nurl = 'https://example.com/h'", &["webhook.secret is missing"]),
        (
            "[webhook]\nurl = 'https://example.com/h'\nsecret = 'hunter2'",
            &["webhook.secret", "base64"],
        ),
        (
            "[webhook]\nurl = 'http://example.com/h'\nsecret = 'whsec_hunter2'",
            &["webhook.url", "https"],
        ),
        ("[webhook]\nsecret = ['hunter2']", &["`webhook.secret`", "text"]),
        ("webhook = 'hunter2'", &["`webhook`", "section"]),
        (
            "[secret_scanning]\ngithub_keys_url = 'http://example.com/'",
            &["github_keys_url", "https"],
        ),
    ] {
        here.writes("portcullis.toml", text);
        let sentence = here.runs(&["config"]).sentence(2);
        for word in words {
            assert!(sentence.contains(word), "{text:?}: {word} is not in: {sentence}");
        }
        assert!(!sentence.contains("hunter2"), "{text:?}: {sentence}");
    }
    here.writes(
        "portcullis.toml",
        &format!("[webhook]\nurl = 'https://example.com/h'\nsecret = '{SECRET}'"),
    );
    let shown = here.succeeds(&["config"]);
    assert!(shown.contains("https://example.com/h") && !shown.contains(SECRET), "{shown}");
}

//! The start on an empty database, alone and in company.

use futures::future::join_all;
use portcullis::app::App;
use portcullis::config::Settings;
use portcullis::platform::clock::Clock;
use portcullis::{resource_servers, server, signing};
use rstest::rstest;
use sea_orm::ConnectionTrait as _;
use tokio::net::TcpListener;

use crate::harness::Database;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_start_at_once_on_an_empty_database(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(own) = database.create().await else { return };
    let start = || async {
        let settings = Settings {
            data_dir: own.directory.path().to_path_buf(),
            database_url: own.url.clone(),
            ..Settings::default()
        };
        App::open(settings.check().unwrap(), Clock::System).await.unwrap().0
    };
    let apps = join_all((0..4).map(|_| start())).await;

    // Each made what a first start makes, and together they made it once.
    let app = apps.first().unwrap();
    let states: Vec<String> =
        signing::list(app.db.reader()).await.unwrap().into_iter().map(|key| key.state).collect();
    assert_eq!(states.iter().filter(|state| *state == "active").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "upcoming").count(), 1, "{states:?}");
    assert_eq!(resource_servers::list_all(app.db.reader()).await.unwrap().len(), 1);
    let signed = app.signer.sign(signing::Algorithm::Es256, &serde_json::json!({})).unwrap();
    for other in &apps {
        assert_eq!(other.signer.jwks().body, app.signer.jwks().body);
        let again = other.signer.sign(signing::Algorithm::Es256, &serde_json::json!({})).unwrap();
        assert_eq!(
            again.split('.').next(),
            signed.split('.').next(),
            "one key signs in all of them"
        );
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_release_starts_on_a_database_to_which_a_newer_one_has_added(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(own) = database.create().await else { return };
    let settings = Settings {
        data_dir: own.directory.path().to_path_buf(),
        database_url: own.url.clone(),
        ..Settings::default()
    };
    let open = || App::open(settings.clone().check().unwrap(), Clock::System);
    let (app, _) = open().await.unwrap();
    let newer = "INSERT INTO seaql_migrations VALUES ('m9999_of_a_newer_release', 0)";
    app.db.writer().execute_unprepared(newer).await.unwrap();
    let (again, _) = open().await.unwrap();
    assert_eq!(again.db.pending_migrations().await.unwrap(), 0);
    assert_eq!(again.db.migrate().await.unwrap(), 0);
    // What is missing is not made up for beside it: nobody knows how the two fit.
    let older = "DELETE FROM seaql_migrations WHERE version LIKE 'm0001%'";
    app.db.writer().execute_unprepared(older).await.unwrap();
    assert_eq!(again.db.pending_migrations().await.unwrap(), 1);
    assert!(open().await.is_err());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_read_the_revocation_log_answers_nobody(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(own) = database.create().await else { return };
    let settings = Settings {
        data_dir: own.directory.path().to_path_buf(),
        database_url: own.url.clone(),
        ..Settings::default()
    };
    let (app, requests) = App::open(settings.check().unwrap(), Clock::System).await.unwrap();
    let broken = "ALTER TABLE revocations RENAME TO elsewhere";
    app.db.writer().execute_unprepared(broken).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let end = server::serve(app, requests, listener, std::future::pending()).await;
    assert!(end.is_err_and(|error| error.to_string().contains("revocation log")));
}

//! The services that tests use when they are there.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The databases that every test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// A database of a test's own.
pub struct OwnDatabase {
    pub url: String,
    /// Where the SQLite file and the master key are; removed with the test.
    pub directory: TempDir,
}

/// Says that a service is missing: the test ends there, or fails where services are required.
pub fn missing(service: &str, how: &str) {
    assert!(
        std::env::var_os("PORTCULLIS_TEST_REQUIRE_SERVICES").is_none(),
        "{service} is required and missing: {how}"
    );
    eprintln!("skipped: {service} is missing ({how})");
}

/// What runs programs for Node that stand in this folder, with this library; none where that is missing.
pub fn node(folder: &Path, library: &str) -> Option<PathBuf> {
    let Some(modules) = std::env::var_os("PORTCULLIS_TEST_NODE_MODULES") else {
        let how = "set PORTCULLIS_TEST_NODE_MODULES to a folder node_modules that has it";
        missing(library, how);
        return None;
    };
    std::os::unix::fs::symlink(modules, folder.join("node_modules")).unwrap();
    Some(PathBuf::from("node"))
}

/// A Python with this library; none where that is missing.
pub fn python(library: &str) -> Option<PathBuf> {
    let python = std::env::var_os("PORTCULLIS_TEST_PYTHON").map(PathBuf::from);
    if python.is_none() {
        missing(library, "set PORTCULLIS_TEST_PYTHON to a Python that has it");
    }
    python
}

impl Database {
    /// A fresh database, or none where the service is missing.
    pub async fn create(self) -> Option<OwnDatabase> {
        let directory = tempfile::tempdir().unwrap();
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", directory.path().join("portcullis.db").display()),
            Self::Postgres => create_postgres().await?,
        };
        Some(OwnDatabase { url, directory })
    }
}

/// The Redis that tests share, or none where it is missing. Ids tell their tests apart in it.
pub fn redis_url() -> Option<String> {
    let url = std::env::var("PORTCULLIS_TEST_REDIS_URL").ok();
    if url.is_none() {
        missing("Redis", "set PORTCULLIS_TEST_REDIS_URL to a throw-away server's URL");
    }
    url
}

async fn create_postgres() -> Option<String> {
    use sea_orm::{ConnectionTrait as _, Database};
    let Ok(admin) = std::env::var("PORTCULLIS_TEST_POSTGRES_URL") else {
        missing("PostgreSQL", "set PORTCULLIS_TEST_POSTGRES_URL to a throw-away server's URL");
        return None;
    };
    let name = format!("portcullis_test_{}", uuid::Uuid::now_v7().simple());
    let connection = Database::connect(&admin).await.unwrap();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    connection.close().await.unwrap();
    let mut url = url::Url::parse(&admin).unwrap();
    url.set_path(&name);
    Some(url.into())
}

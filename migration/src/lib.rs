//! The ordered list of schema changes. See README.md for the rule of expand and contract.
#![forbid(unsafe_code)]

use std::collections::HashSet;

pub use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::EntityTrait as _;
use sea_orm_migration::seaql_migrations;

mod m0001_main_job;
mod m0002_management;
mod m0003_api_key_rules;
mod m0004_api_keys_in_use;
mod m0005_alerts;
mod m0006_feed;
mod m0007_status_lists;
mod m0008_api_key_overview;
mod m0009_session_sources;
mod m0010_fewer_index_entries;

/// Runs what this database has not seen yet.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_main_job::Migration),
            Box::new(m0002_management::Migration),
            Box::new(m0003_api_key_rules::Migration),
            Box::new(m0004_api_keys_in_use::Migration),
            Box::new(m0005_alerts::Migration),
            Box::new(m0006_feed::Migration),
            Box::new(m0007_status_lists::Migration),
            Box::new(m0008_api_key_overview::Migration),
            Box::new(m0009_session_sources::Migration),
            Box::new(m0010_fewer_index_entries::Migration),
        ]
    }
}

/// How many of the changes this database has not seen. What a newer release has added beside them is no hindrance to this
/// one: see README.md.
///
/// # Errors
/// When the database can't be asked.
pub async fn pending<'c>(connection: impl IntoSchemaManagerConnection<'c>) -> Result<usize, DbErr> {
    let manager = SchemaManager::new(connection);
    let mut seen = HashSet::new();
    if manager.has_table("seaql_migrations").await? {
        let rows = seaql_migrations::Entity::find().all(manager.get_connection()).await?;
        seen.extend(rows.into_iter().map(|row| row.version));
    }
    Ok(Migrator::migrations().iter().filter(|change| !seen.contains(change.name())).count())
}

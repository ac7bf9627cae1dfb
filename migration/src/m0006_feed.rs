//! Whom an entry of the revocation log concerns, and since when a resource server is no longer for everybody.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// `ID` and `NOW` are spelled as each database has them. Entries of before concern everybody. No foreign keys: an entry
/// may outlive what it tells of. When a resource server was taken back from others nobody has written down: it may
/// have been a moment ago.
const STATEMENTS: &[&str] = &[
    "ALTER TABLE revocations ADD COLUMN organization_id ID",
    "ALTER TABLE revocations ADD COLUMN resource_server_id ID",
    "ALTER TABLE resource_servers ADD COLUMN unshared_at bigint",
    "UPDATE resource_servers SET unshared_at = NOW WHERE NOT is_shared",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (id, now) = match manager.get_database_backend() {
            DatabaseBackend::Postgres => {
                ("uuid", "CAST(EXTRACT(EPOCH FROM now()) * 1000 AS bigint)")
            }
            _ => ("uuid_text", "CAST(strftime('%s', 'now') AS bigint) * 1000"),
        };
        for statement in STATEMENTS {
            let statement = statement.replace("ID", id).replace("NOW", now);
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}

//! Token Status Lists: which APIs want them, the lists, and the tokens that have a place in one.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// `ID` is spelled as each database has it. What an entry names is not referenced: it outlives its subjects by a day
/// at most, and tells of their end.
const STATEMENTS: &[&str] = &[
    "ALTER TABLE resource_servers ADD COLUMN status_list boolean NOT NULL DEFAULT FALSE",
    "CREATE TABLE status_lists (id ID PRIMARY KEY, \
     resource_server_id ID NOT NULL REFERENCES resource_servers (id), signing_algorithm text NOT NULL, \
     created_at bigint NOT NULL, expires_at bigint NOT NULL)",
    "CREATE INDEX status_lists_by_expiry ON status_lists (expires_at)",
    "CREATE TABLE status_list_entries (list_id ID NOT NULL REFERENCES status_lists (id), idx integer NOT NULL, \
     token_id ID NOT NULL, organization_id ID NOT NULL, project_id ID, grant_id ID, client_id ID, user_id ID, \
     api_key_id ID, secret_id ID, owner_id ID, issued_at bigint NOT NULL, expires_at bigint NOT NULL, \
     PRIMARY KEY (list_id, idx))",
    "CREATE INDEX status_list_entries_by_expiry ON status_list_entries (expires_at)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = match manager.get_database_backend() {
            DatabaseBackend::Postgres => "uuid",
            _ => "uuid_text",
        };
        for statement in STATEMENTS {
            let statement = statement.replace("ID", id);
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}

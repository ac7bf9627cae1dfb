//! What is known of an API key in use: when and from where, which scopes were asked of it, how often it may be used;
//! and what its organization wants done when it leaks.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

const COLUMNS: &[(&str, &str)] = &[
    ("api_keys", "brand text"),
    ("api_keys", "requests_per_minute bigint"),
    ("api_keys", "is_decoy boolean NOT NULL DEFAULT FALSE"),
    ("api_keys", "revoked_reason text"),
    ("api_keys", "last_used_at bigint"),
    ("api_keys", "last_used_from text"),
    ("api_keys", "told_days_left integer"),
    ("api_keys", "told_unused_at bigint"),
    ("api_key_secrets", "last_used_at bigint"),
    ("api_key_secrets", "last_used_from text"),
    ("organizations", "requests_per_minute bigint"),
    ("organizations", "leak_policy text NOT NULL DEFAULT 'notify'"),
];

const STATEMENTS: &[&str] = &[
    "CREATE TABLE api_key_scope_uses (api_key_id ID NOT NULL REFERENCES api_keys (id), scope text NOT NULL, \
     last_used_at bigint NOT NULL, PRIMARY KEY (api_key_id, scope))",
    "CREATE TABLE api_key_networks (api_key_id ID NOT NULL REFERENCES api_keys (id), network text NOT NULL, \
     first_used_at bigint NOT NULL, PRIMARY KEY (api_key_id, network))",
    "CREATE INDEX api_keys_by_expiry ON api_keys (expires_at) \
     WHERE revoked_at IS NULL AND expires_at IS NOT NULL",
    "CREATE INDEX api_keys_by_disuse ON api_keys (coalesce(last_used_at, created_at)) \
     WHERE revoked_at IS NULL",
    "CREATE INDEX audit_events_by_request ON audit_events (organization_id, request_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for (table, column) in COLUMNS {
            let statement = format!("ALTER TABLE {table} ADD COLUMN {column}");
            connection.execute_unprepared(&statement).await?;
        }
        let id = match manager.get_database_backend() {
            DatabaseBackend::Postgres => "uuid",
            _ => "uuid_text",
        };
        for statement in STATEMENTS {
            connection.execute_unprepared(&statement.replace("ID", id)).await?;
        }
        Ok(())
    }
}

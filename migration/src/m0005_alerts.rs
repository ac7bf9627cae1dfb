//! Alerts that are to be sent, credentials that somebody found, and where leaked API keys were seen.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// `ID` and `BYTES` are spelled as each database has them.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE alerts (id ID PRIMARY KEY, at bigint NOT NULL, kind text NOT NULL, \
     organization_id ID REFERENCES organizations (id), body text NOT NULL, channel text NOT NULL, \
     recipient_id ID REFERENCES users (id), attempts integer NOT NULL, next_try_at bigint NOT NULL, done_at bigint)",
    "CREATE INDEX alerts_due ON alerts (channel, next_try_at) WHERE done_at IS NULL",
    "CREATE INDEX alerts_done ON alerts (done_at) WHERE done_at IS NOT NULL",
    "CREATE TABLE credential_reports (id ID PRIMARY KEY, at bigint NOT NULL, address text, user_agent text, \
     request_id text, body text NOT NULL, attempts integer NOT NULL, next_try_at bigint NOT NULL)",
    "CREATE INDEX credential_reports_due ON credential_reports (next_try_at)",
    "CREATE TABLE leak_sightings (api_key_id ID NOT NULL REFERENCES api_keys (id), place BYTES NOT NULL, \
     seen_at bigint NOT NULL, PRIMARY KEY (api_key_id, place))",
    "CREATE INDEX client_secrets_by_digest ON client_secrets (digest)",
    // Only those that are due for a notice are looked at: one that was told of moves to another place of the index, or
    // out of it.
    "CREATE INDEX api_keys_by_notice ON api_keys (coalesce(told_days_left, 99), expires_at) \
     WHERE revoked_at IS NULL AND expires_at IS NOT NULL",
    "CREATE INDEX api_keys_untold_of_disuse ON api_keys (coalesce(last_used_at, created_at)) \
     WHERE revoked_at IS NULL AND NOT is_decoy \
     AND (told_unused_at IS NULL OR told_unused_at < coalesce(last_used_at, created_at))",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (id, bytes) = match manager.get_database_backend() {
            DatabaseBackend::Postgres => ("uuid", "bytea"),
            _ => ("uuid_text", "blob"),
        };
        for statement in STATEMENTS {
            let statement = statement.replace("ID", id).replace("BYTES", bytes);
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}

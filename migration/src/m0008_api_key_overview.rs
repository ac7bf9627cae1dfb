//! The list of API keys as people look through it: which fit, and how many, is found in one index.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: &[&str] = &[
    "CREATE INDEX api_keys_overview ON api_keys \
     (organization_id, id, expires_at, project_id, is_decoy, search_name) WHERE revoked_at IS NULL",
    // It begins like the one above, which does all that this did.
    "DROP INDEX api_keys_living",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in STATEMENTS {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

//! What is written at every use of a key and at every grant keeps no index true that nobody reads.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: &[&str] = &[
    // Whoever looks for keys out of use reads `api_keys_untold_of_disuse`, or the keys of one organization.
    "DROP INDEX api_keys_by_disuse",
    // Most grants are of no project, and nobody looks for those.
    "DROP INDEX grants_by_project",
    "CREATE INDEX grants_by_project ON grants (project_id) WHERE project_id IS NOT NULL",
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

//! From where each browser session was begun, so that people recognise their own.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Both stay empty in sessions that are older than this, and in those that the release before begins.
const STATEMENTS: &[&str] = &[
    "ALTER TABLE sessions ADD COLUMN user_agent text",
    "ALTER TABLE sessions ADD COLUMN address text",
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

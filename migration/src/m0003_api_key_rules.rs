//! What an API key says of itself, and from where it may be used.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            "description text NOT NULL DEFAULT ''",
            "labels text NOT NULL DEFAULT '{}'",
            "allowed_ips text",
        ] {
            let statement = format!("ALTER TABLE api_keys ADD COLUMN {column}");
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}

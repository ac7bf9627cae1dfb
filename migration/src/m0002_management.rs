//! Projects, roles of one's own, invitations, and what the management API needs of the tables that were there.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, integer, integer_null, string, text, text_null, uuid, uuid_null,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        let backend = manager.get_database_backend();
        let connection = manager.get_connection();
        for (table, column) in COLUMNS {
            let column = match backend {
                DatabaseBackend::Postgres => column
                    .replace("ID", "uuid")
                    .replace("BYTES", "bytea")
                    .replace("BYTEWISE", "text COLLATE \"C\""),
                _ => column
                    .replace("ID", "uuid_text")
                    .replace("BYTES", "blob")
                    .replace("BYTEWISE", "text"),
            };
            let statement = format!("ALTER TABLE {table} ADD COLUMN {column}");
            connection.execute_unprepared(&statement).await?;
        }
        if backend == DatabaseBackend::Postgres {
            // Searched by their beginning, which an index serves only where bytes decide the order.
            let statement = "ALTER TABLE users ALTER COLUMN email TYPE text COLLATE \"C\"";
            connection.execute_unprepared(statement).await?;
        }
        for statement in FILL {
            connection.execute_unprepared(statement).await?;
        }
        for (name, table, columns) in INDEXES {
            let mut index = Index::create().name(*name).table(*table).to_owned();
            for column in *columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        for statement in PARTIAL_INDEXES {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

/// `ID`, `BYTES` and `BYTEWISE` (text that compares byte by byte) are spelled as each database has them.
const COLUMNS: &[(&str, &str)] = &[
    ("installation", "organization_id ID REFERENCES organizations (id)"),
    ("organizations", "search_name BYTEWISE NOT NULL DEFAULT ''"),
    ("organizations", "version integer NOT NULL DEFAULT 1"),
    ("organizations", "closed_at bigint"),
    ("users", "erased_at bigint"),
    ("memberships", "version integer NOT NULL DEFAULT 1"),
    ("memberships", "search_email BYTEWISE NOT NULL DEFAULT ''"),
    ("resource_servers", "is_shared boolean NOT NULL DEFAULT FALSE"),
    ("resource_servers", "older_credential_digest BYTES"),
    ("resource_servers", "older_credential_expires_at bigint"),
    ("resource_servers", "version integer NOT NULL DEFAULT 1"),
    ("resource_servers", "deleted_at bigint"),
    ("catalog_scopes", "needs_admin boolean NOT NULL DEFAULT FALSE"),
    ("clients", "search_name BYTEWISE NOT NULL DEFAULT ''"),
    ("clients", "is_first_party boolean NOT NULL DEFAULT FALSE"),
    ("clients", "logo_uri text"),
    ("clients", "policy_uri text"),
    ("clients", "tos_uri text"),
    ("clients", "disabled_at bigint"),
    ("clients", "version integer NOT NULL DEFAULT 1"),
    ("grants", "project_id ID REFERENCES projects (id)"),
    ("authorization_codes", "project_id ID REFERENCES projects (id)"),
    ("consents", "project_id ID REFERENCES projects (id)"),
    ("api_keys", "search_name BYTEWISE NOT NULL DEFAULT ''"),
    ("api_keys", "project_id ID REFERENCES projects (id)"),
    ("api_keys", "owner_id ID REFERENCES users (id)"),
    ("api_keys", "version integer NOT NULL DEFAULT 1"),
    ("revocations", "issued_before bigint"),
];

/// What the rows that were there hold in the new columns.
const FILL: &[&str] = &[
    "UPDATE installation SET organization_id = (SELECT id FROM organizations ORDER BY id LIMIT 1)",
    "UPDATE organizations SET search_name = lower(name)",
    "UPDATE clients SET search_name = lower(name)",
    "UPDATE memberships SET search_email = (SELECT email FROM users WHERE users.id = memberships.user_id)",
    "UPDATE api_keys SET search_name = lower(name), owner_id = created_by",
    "UPDATE resource_servers SET is_shared = TRUE",
];

const INDEXES: &[(&str, &str, &[&str])] = &[
    ("organizations_by_search_name", "organizations", &["search_name"]),
    ("projects_by_organization", "projects", &["organization_id", "id"]),
    ("roles_by_organization", "roles", &["organization_id", "id"]),
    ("invitations_by_organization", "invitations", &["organization_id", "id"]),
    ("memberships_by_search_email", "memberships", &["organization_id", "search_email"]),
    ("memberships_by_role", "memberships", &["organization_id", "role"]),
    ("resource_servers_by_organization", "resource_servers", &["organization_id"]),
    ("resource_servers_by_older_credential", "resource_servers", &["older_credential_digest"]),
    ("clients_by_search_name", "clients", &["organization_id", "search_name"]),
    ("grants_by_organization", "grants", &["organization_id", "id"]),
    ("grants_by_project", "grants", &["project_id"]),
    ("api_keys_by_search_name", "api_keys", &["organization_id", "search_name"]),
    ("api_keys_by_project", "api_keys", &["project_id", "id"]),
    ("api_keys_by_owner", "api_keys", &["owner_id", "id"]),
    ("audit_events_by_actor", "audit_events", &["organization_id", "actor", "id"]),
    ("audit_events_by_target", "audit_events", &["organization_id", "target", "id"]),
    ("audit_events_by_action", "audit_events", &["organization_id", "action", "id"]),
    ("idempotency_keys_by_age", "idempotency_keys", &["created_at"]),
];

/// For filters that few rows of many fit.
const PARTIAL_INDEXES: &[&str] = &[
    "CREATE INDEX api_keys_revoked ON api_keys (organization_id, id) WHERE revoked_at IS NOT NULL",
    "CREATE INDEX api_keys_living ON api_keys (organization_id, id) WHERE revoked_at IS NULL",
    "CREATE INDEX api_keys_ending ON api_keys (organization_id, id) \
     WHERE revoked_at IS NULL AND expires_at IS NOT NULL",
    "CREATE INDEX grants_living ON grants (organization_id, id) WHERE ended_at IS NULL",
    "CREATE INDEX users_suspended ON users (id) WHERE suspended_at IS NOT NULL",
];

fn tables() -> Vec<TableCreateStatement> {
    let reference = |column: &'static str, table: &'static str| {
        ForeignKey::create().from_col(column).to(table, "id").to_owned()
    };
    let primary = |mut column: ColumnDef| column.primary_key().to_owned();
    vec![
        Table::create()
            .table("projects")
            .col(primary(uuid("id")))
            .col(uuid("organization_id"))
            .col(string("name"))
            .col(text("description"))
            .col(big_integer("created_at"))
            .col(big_integer_null("deleted_at"))
            .col(integer("version"))
            .foreign_key(&mut reference("organization_id", "organizations"))
            .to_owned(),
        Table::create()
            .table("roles")
            .col(primary(uuid("id")))
            .col(uuid("organization_id"))
            .col(string("name"))
            .col(text("scopes"))
            .col(big_integer("created_at"))
            .col(integer("version"))
            .foreign_key(&mut reference("organization_id", "organizations"))
            .index(
                Index::create().unique().name("roles_by_name").col("organization_id").col("name"),
            )
            .to_owned(),
        Table::create()
            .table("invitations")
            .col(primary(uuid("id")))
            .col(uuid("organization_id"))
            .col(string("email"))
            .col(string("role"))
            .col(ColumnDef::new("digest").blob().not_null().unique_key())
            .col(uuid_null("invited_by"))
            .col(big_integer("created_at"))
            .col(big_integer("expires_at"))
            .col(big_integer_null("accepted_at"))
            .col(big_integer_null("revoked_at"))
            .foreign_key(&mut reference("organization_id", "organizations"))
            .foreign_key(&mut reference("invited_by", "users"))
            .to_owned(),
        Table::create()
            .table("idempotency_keys")
            .col(ColumnDef::new("digest").blob().not_null().primary_key())
            .col(ColumnDef::new("fingerprint").blob().not_null())
            .col(integer_null("status"))
            .col(text_null("body"))
            .col(big_integer("created_at"))
            .to_owned(),
    ]
}

//! Everything of the first release: from organizations to the revocation log.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, integer, integer_null, string, string_null, text,
    text_null, uuid, uuid_null,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for (name, table, columns) in INDEXES {
            let mut index = Index::create().name(*name).table(*table).to_owned();
            for column in *columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        // Few grants hold an answer at any moment; the sweep must not look through all the others.
        manager
            .create_index(
                Index::create()
                    .name("grants_with_retry_answer")
                    .table("grants")
                    .col("rotated_at")
                    .and_where(Expr::col("retry_answer").is_not_null())
                    .to_owned(),
            )
            .await?;
        for (table, columns, values) in [
            ("installation", vec!["id"], vec![1.into()]),
            (
                "revocation_counter",
                vec!["id", "seq", "trimmed"],
                vec![1.into(), 0.into(), 0.into()],
            ),
        ] {
            let row = Query::insert()
                .into_table(table)
                .columns(columns.into_iter().map(Alias::new))
                .values_panic(values)
                .to_owned();
            manager.execute(row).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables().into_iter().rev() {
            let Some(name) = table.get_table_name().cloned() else { continue };
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}

/// Look-ups that are not by primary key or unique column.
const INDEXES: &[(&str, &str, &[&str])] = &[
    ("memberships_by_user", "memberships", &["user_id"]),
    ("sessions_by_user", "sessions", &["user_id"]),
    ("sessions_by_expiry", "sessions", &["expires_at"]),
    ("clients_by_organization", "clients", &["organization_id", "id"]),
    ("client_secrets_by_client", "client_secrets", &["client_id"]),
    ("client_origins_by_client", "client_origins", &["client_id"]),
    ("client_audiences_by_resource_server", "client_audiences", &["resource_server_id"]),
    ("grants_by_client", "grants", &["client_id"]),
    ("grants_by_user", "grants", &["user_id", "client_id"]),
    ("authorization_codes_by_expiry", "authorization_codes", &["expires_at"]),
    ("api_keys_by_organization", "api_keys", &["organization_id", "id"]),
    ("api_keys_by_creator", "api_keys", &["created_by"]),
    ("api_key_secrets_by_key", "api_key_secrets", &["api_key_id"]),
    ("revocations_by_expiry", "revocations", &["expires_at"]),
    ("audit_events_by_organization", "audit_events", &["organization_id", "id"]),
];

fn digest(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.blob().not_null();
    column
}

fn key(column: impl Into<ColumnDef>) -> ColumnDef {
    let mut column = column.into();
    column.primary_key();
    column
}

fn unique(column: impl Into<ColumnDef>) -> ColumnDef {
    let mut column = column.into();
    column.unique_key();
    column
}

fn references(column: &'static str, table: &'static str) -> ForeignKeyCreateStatement {
    let mut foreign_key = ForeignKey::create();
    foreign_key.from_col(column).to(table, "id");
    foreign_key
}

fn table(
    name: &'static str,
    columns: Vec<ColumnDef>,
    references: Vec<ForeignKeyCreateStatement>,
) -> TableCreateStatement {
    let mut statement = Table::create().table(name).to_owned();
    for mut column in columns {
        statement.col(&mut column);
    }
    for mut foreign_key in references {
        statement.foreign_key(&mut foreign_key);
    }
    statement
}

fn with_key(mut statement: TableCreateStatement, columns: &[&'static str]) -> TableCreateStatement {
    let mut primary = Index::create();
    for column in columns {
        primary.col(*column);
    }
    statement.primary_key(&mut primary);
    statement
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("installation", vec![key(integer("id")), big_integer_null("set_up_at")], vec![]),
        table("setup_links", vec![key(digest("digest")), big_integer("expires_at")], vec![]),
        table(
            "organizations",
            vec![key(uuid("id")), string("name"), big_integer("created_at")],
            vec![],
        ),
        table(
            "users",
            vec![
                key(uuid("id")),
                unique(string("email")),
                string("name"),
                string("password_hash"),
                big_integer("created_at"),
                big_integer_null("suspended_at"),
            ],
            vec![],
        ),
        with_key(
            table(
                "memberships",
                vec![
                    uuid("organization_id"),
                    uuid("user_id"),
                    string("role"),
                    big_integer("created_at"),
                ],
                vec![
                    references("organization_id", "organizations"),
                    references("user_id", "users"),
                ],
            ),
            &["organization_id", "user_id"],
        ),
        table(
            "sessions",
            vec![
                key(uuid("id")),
                unique(digest("digest")),
                uuid("user_id"),
                big_integer("created_at"),
                big_integer("authenticated_at"),
                big_integer("expires_at"),
            ],
            vec![references("user_id", "users")],
        ),
        table(
            "resource_servers",
            vec![
                key(uuid("id")),
                uuid_null("organization_id"),
                unique(string("audience")),
                string("name"),
                string("signing_algorithm"),
                integer_null("access_token_seconds"),
                unique(ColumnDef::new("credential_digest").blob().null().take()),
                boolean("is_management"),
                big_integer("created_at"),
            ],
            vec![references("organization_id", "organizations")],
        ),
        with_key(
            table(
                "catalog_scopes",
                vec![
                    uuid("resource_server_id"),
                    string("scope"),
                    string("sentence"),
                    integer("position"),
                ],
                vec![references("resource_server_id", "resource_servers")],
            ),
            &["resource_server_id", "scope"],
        ),
        table(
            "clients",
            vec![
                key(uuid("id")),
                uuid("organization_id"),
                string("name"),
                boolean("is_confidential"),
                boolean("requires_pkce"),
                string("grant_types"),
                text("redirect_uris"),
                integer("refresh_retry_seconds"),
                big_integer("created_at"),
                big_integer_null("revoked_at"),
            ],
            vec![references("organization_id", "organizations")],
        ),
        table(
            "client_secrets",
            vec![
                key(uuid("id")),
                uuid("client_id"),
                digest("digest"),
                big_integer("created_at"),
                big_integer_null("expires_at"),
            ],
            vec![references("client_id", "clients")],
        ),
        with_key(
            table(
                "client_origins",
                vec![string("origin"), uuid("client_id")],
                vec![references("client_id", "clients")],
            ),
            &["origin", "client_id"],
        ),
        table(
            "grants",
            vec![
                key(uuid("id")),
                uuid("client_id"),
                uuid_null("user_id"),
                uuid("organization_id"),
                uuid("resource_server_id"),
                text("scopes"),
                big_integer("created_at"),
                big_integer_null("ended_at"),
                big_integer("generation"),
                big_integer_null("refresh_expires_at"),
                big_integer_null("absolute_expires_at"),
                big_integer_null("rotated_at"),
                ColumnDef::new("retry_answer").blob().null().take(),
            ],
            vec![
                references("client_id", "clients"),
                references("user_id", "users"),
                references("organization_id", "organizations"),
                references("resource_server_id", "resource_servers"),
            ],
        ),
        with_key(
            table(
                "client_audiences",
                vec![
                    uuid("client_id"),
                    uuid("resource_server_id"),
                    text("allowed_scopes"),
                    text("default_scopes"),
                    uuid_null("own_grant_id"),
                ],
                vec![
                    references("client_id", "clients"),
                    references("resource_server_id", "resource_servers"),
                    references("own_grant_id", "grants"),
                ],
            ),
            &["client_id", "resource_server_id"],
        ),
        with_key(
            table(
                "consents",
                vec![
                    uuid("user_id"),
                    uuid("client_id"),
                    uuid("organization_id"),
                    uuid("resource_server_id"),
                    string("scope"),
                    big_integer("granted_at"),
                ],
                vec![
                    references("user_id", "users"),
                    references("client_id", "clients"),
                    references("organization_id", "organizations"),
                    references("resource_server_id", "resource_servers"),
                ],
            ),
            &["user_id", "client_id", "organization_id", "resource_server_id", "scope"],
        ),
        table(
            "authorization_codes",
            vec![
                key(digest("digest")),
                uuid("grant_id"),
                uuid("client_id"),
                uuid("user_id"),
                uuid("organization_id"),
                uuid("resource_server_id"),
                text("scopes"),
                text("redirect_uri"),
                string_null("code_challenge"),
                big_integer("created_at"),
                big_integer("expires_at"),
                big_integer_null("redeemed_at"),
            ],
            vec![references("client_id", "clients"), references("user_id", "users")],
        ),
        table(
            "api_keys",
            vec![
                key(uuid("id")),
                uuid("organization_id"),
                string("name"),
                text("scopes"),
                string("environment"),
                uuid("created_by"),
                big_integer("created_at"),
                big_integer_null("expires_at"),
                big_integer_null("revoked_at"),
            ],
            vec![references("organization_id", "organizations"), references("created_by", "users")],
        ),
        table(
            "api_key_secrets",
            vec![
                key(uuid("id")),
                uuid("api_key_id"),
                unique(digest("digest")),
                string("start"),
                string("end"),
                big_integer("created_at"),
                big_integer_null("expires_at"),
            ],
            vec![references("api_key_id", "api_keys")],
        ),
        table(
            "signing_keys",
            vec![
                key(uuid("id")),
                unique(string("kid")),
                string("algorithm"),
                string("state"),
                text("public_jwk"),
                digest("sealed_private_key"),
                big_integer("created_at"),
                big_integer_null("activated_at"),
                big_integer_null("retires_at"),
            ],
            vec![],
        ),
        table(
            "revocation_counter",
            vec![key(integer("id")), big_integer("seq"), big_integer("trimmed")],
            vec![],
        ),
        table(
            "revocations",
            vec![
                key(big_integer("seq")),
                big_integer("at"),
                string("kind"),
                string("subject"),
                big_integer("expires_at"),
            ],
            vec![],
        ),
        table(
            "audit_events",
            vec![
                key(uuid("id")),
                big_integer("at"),
                string("actor"),
                string("action"),
                string_null("target"),
                uuid_null("organization_id"),
                string_null("address"),
                string_null("user_agent"),
                string_null("request_id"),
                text_null("detail"),
            ],
            vec![],
        ),
    ]
}

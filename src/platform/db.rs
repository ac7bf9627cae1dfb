//! The database: SQLite (embedded) or PostgreSQL behind one type, opened, migrated and asked in one way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use migration::{Migrator, MigratorTrait as _};
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectOptions, ConnectionTrait, Database,
    DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityName as _, EntityTrait,
    IdenStatic as _, Iterable as _, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait, Value,
};
use url::Url;

use super::{make_private_directory, make_private_file};

/// How many readers SQLite gets beside its one writer.
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// A connection to PostgreSQL that was in use so lately is taken as it is.
const FRESH: Duration = Duration::from_millis(100);
/// Held while migrations run, so that several processes can start at once on one PostgreSQL database.
const MIGRATION_LOCK: i64 = 0x706f_7274_6375_6c6c;

/// Connections to the one database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
}

impl Db {
    /// Opens the database that the URL names; a SQLite file is made if it is missing.
    ///
    /// # Errors
    /// When the database can't be reached or opened.
    pub async fn open(url: &Url) -> Result<Self> {
        match url.scheme() {
            "sqlite" => Self::open_sqlite(url).await,
            _ => {
                let mut options = options(url, POSTGRES_CONNECTIONS);
                // To ask whether it still stands is a round trip more before each statement.
                options.test_before_acquire_if_idle_for(FRESH);
                let pool = Database::connect(options)
                    .await
                    .context("can't connect to the PostgreSQL database")?;
                Ok(Self { reader: pool.clone(), writer: pool })
            }
        }
    }

    async fn open_sqlite(url: &Url) -> Result<Self> {
        let file = sqlite_file(url);
        if let Some(directory) = file.parent() {
            make_private_directory(directory)?;
        }
        // SQLite would make it readable for everybody; what stands beside it gets the same mode.
        make_private_file(&file)?;
        let connect = async |connections| {
            let mut options = options(url, connections);
            // There is no network that could have broken it, and to ask costs as much as a statement.
            options.test_before_acquire(false);
            options.map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // FULL: what was answered with success must survive a power cut.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5))
                    .foreign_keys(true)
                    .pragma("cache_size", "-16000")
                    // What is written goes to the log first, and from there to the file once for 32 MiB: a page that
                    // many have changed meanwhile goes once.
                    .pragma("wal_autocheckpoint", "8192")
            });
            Database::connect(options)
                .await
                .with_context(|| format!("can't open the database {}", file.display()))
        };
        // One writer: SQLite has one write lock, and a queue in our pool is fairer than its busy time-out.
        Ok(Self { writer: connect(1).await?, reader: connect(SQLITE_READERS).await? })
    }

    /// For plain reads.
    #[must_use]
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// For a write that is one statement.
    #[must_use]
    pub fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// Begins a transaction that writes. It is rolled back when it is dropped without `commit`.
    ///
    /// # Errors
    /// When the database gives no connection or lock in time.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        // Taking SQLite's write lock at the start avoids the dead end of two readers that both want to write.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.writer.begin_with_options(options).await
    }

    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Postgres
    }

    /// Runs the migrations that this database has not seen, all or none; says how many there were.
    ///
    /// # Errors
    /// When a migration fails.
    pub async fn migrate(&self) -> Result<usize> {
        // Of several processes that start at once the first does it, and the others find it done: SQLite's write
        // lock sees to that, and on PostgreSQL this one.
        let tx = self.begin().await.context("can't begin to migrate the database")?;
        if self.is_postgres() {
            let lock = "SELECT pg_advisory_xact_lock($1)";
            tx.execute_raw(Statement::from_sql_and_values(
                DbBackend::Postgres,
                lock,
                [MIGRATION_LOCK.into()],
            ))
            .await
            .context("can't take the migration lock")?;
        }
        let pending = migration::pending(&tx).await.context("can't read the migrations")?;
        if pending > 0 {
            Migrator::up(&tx, None).await.context("a migration failed")?;
        }
        tx.commit().await.context("the migrations can't be committed")?;
        Ok(pending)
    }

    /// How many migrations this database has not seen.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn pending_migrations(&self) -> Result<usize> {
        migration::pending(&self.reader).await.context("can't read the migrations")
    }

    /// Begins to hear what `notify` says on the channel. PostgreSQL only.
    ///
    /// # Errors
    /// When there is no connection to be had, or on SQLite.
    pub async fn listen(&self, channel: &str) -> Result<Listener> {
        ensure!(self.is_postgres(), "SQLite has no notifications");
        let pool = self.reader.get_postgres_connection_pool();
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(channel).await?;
        Ok(Listener(listener))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.reader.ping().await
    }

    /// Closes every connection; SQLite folds its write-ahead log into the file.
    ///
    /// # Errors
    /// When a connection can't be closed.
    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        self.writer.close().await
    }
}

/// Ears for one channel.
pub struct Listener(PgListener);

impl Listener {
    /// Waits until something was said.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn hear(&mut self) -> Result<()> {
        self.0.recv().await?;
        Ok(())
    }
}

/// How many migrations this program knows.
#[must_use]
pub fn all_migrations() -> usize {
    Migrator::migrations().len()
}

/// Wakes whoever listens on the channel, when the transaction commits. PostgreSQL only; on SQLite nothing happens.
///
/// # Errors
/// When the statement fails.
pub async fn notify(tx: &DatabaseTransaction, channel: &str) -> Result<(), DbErr> {
    if tx.get_database_backend() == DbBackend::Postgres {
        let statement = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT pg_notify($1, '')",
            [channel.into()],
        );
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

/// The longest that a look-up for many takes: all who come after it wait for its end.
const LONGEST_LOOK_UP: Duration = Duration::from_secs(10);

/// What the database answers, or that it does so too late. Dropping what it was to answer drops its connection too.
///
/// # Errors
/// When the database fails, or takes too long.
pub async fn in_time<T>(answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    let too_late = || DbErr::Custom("the database takes too long to answer".to_owned());
    tokio::time::timeout(LONGEST_LOOK_UP, answer).await.unwrap_or_else(|_| Err(too_late()))
}

/// A list for `IN`, filled up with its last value to one of few lengths: connections keep a statement prepared for each.
#[must_use]
pub fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// Inserts these rows, of which every column is set, by one statement. Its text is that of the next power of two: the
/// rows that fill it up say that they are none.
///
/// The text is put together here: to have it made of a query costs as much as the database's own work.
///
/// # Errors
/// When the database fails, or a column is not set.
pub async fn insert_all<A: ActiveModelTrait>(
    connection: &impl ConnectionTrait,
    rows: &[A],
) -> Result<(), DbErr> {
    let Some(last) = rows.last() else { return Ok(()) };
    let columns: Vec<_> = <A::Entity as EntityTrait>::Column::iter().collect();
    let count = rows.len().next_power_of_two();
    let mut values: Vec<Value> = Vec::with_capacity(count * (columns.len() + 1));
    for at in 0..count {
        let row = rows.get(at).unwrap_or(last);
        for column in &columns {
            let value = row.get(*column).into_value();
            values.push(value.ok_or_else(|| DbErr::AttrNotSet(column.as_str().into()))?);
        }
        values.push((at < rows.len()).into());
    }
    let (backend, table) = (connection.get_database_backend(), A::Entity::default());
    let names: Vec<String> = columns.iter().map(|it| format!("\"{}\"", it.as_str())).collect();
    // What both databases call the columns of a list of values; the one beyond the row's says whether it is one.
    let taken: Vec<String> = (1..=columns.len()).map(|at| format!("column{at}")).collect();
    let sql = format!(
        "INSERT INTO \"{}\" ({}) SELECT {} FROM (VALUES {}) AS \"new\" WHERE column{}",
        table.table_name(),
        names.join(", "),
        taken.join(", "),
        tuples(backend, count, columns.len() + 1),
        columns.len() + 1,
    );
    connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

/// So many tuples of so many parameters each.
fn tuples(backend: DbBackend, count: usize, width: usize) -> String {
    if backend == DbBackend::Sqlite {
        let tuple = format!("({})", vec!["?"; width].join(","));
        return vec![tuple.as_str(); count].join(",");
    }
    let mut text = String::with_capacity(count * (width * 7 + 3));
    for at in 0..count {
        let numbers: Vec<String> =
            (1..=width).map(|place| format!("${}", at * width + place)).collect();
        if at > 0 {
            text.push(',');
        }
        text.push('(');
        text.push_str(&numbers.join(","));
        text.push(')');
    }
    text
}

/// A name as it is searched for: without regard to case and the space around it.
#[must_use]
pub fn search_text(name: &str) -> String {
    name.trim().to_lowercase()
}

/// The condition that a column which compares byte by byte begins with this text; an index serves it on either
/// database, which `LIKE` does not promise.
pub fn begins_with<C: ColumnTrait>(column: C, text: &str) -> Condition {
    Condition::all().add(column.gte(text)).add(column.lt(format!("{text}{}", char::MAX)))
}

/// The file that a `sqlite:` URL names.
#[must_use]
pub fn sqlite_file(url: &Url) -> PathBuf {
    let text = url.as_str();
    let path =
        text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
    let path = path.split('?').next().unwrap_or(path);
    Path::new(percent_encoding::percent_decode_str(path).decode_utf8_lossy().as_ref()).to_path_buf()
}

fn options(url: &Url, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.as_str());
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .connect_timeout(Duration::from_secs(10))
        // Statements carry ids and digests; they are no business of the log's.
        .sqlx_logging(false);
    options
}

/// Whether a failure means that the caller should simply come back: the pool or the password queue is full.
#[must_use]
pub fn is_busy(error: &anyhow::Error) -> bool {
    error.is::<super::password::Busy>()
        || error.chain().any(|cause| {
            matches!(
                cause.downcast_ref(),
                Some(DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout))
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_as_each_database_has_them() {
        assert_eq!(tuples(DbBackend::Sqlite, 2, 3), "(?,?,?),(?,?,?)");
        assert_eq!(tuples(DbBackend::Postgres, 2, 2), "($1,$2),($3,$4)");
    }
}

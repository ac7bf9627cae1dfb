//! What the machine can do at most: a route that does nothing, the cryptography alone, the database alone.

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
};
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use portcullis::app::App;
use portcullis::signing::Algorithm;
use sea_orm::{ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::load::Counter;
use crate::server;

/// How many rows the commits are spread over.
const ROWS: usize = 10_000;

/// A process with one route that takes everything and answers with as many bytes as it was started with.
pub struct Bare {
    child: Child,
    pub address: SocketAddr,
}

impl Bare {
    /// # Errors
    /// When it does not start.
    pub async fn start(answer_bytes: usize) -> Result<Self> {
        Self::start_as(Command::new(std::env::current_exe()?), answer_bytes).await
    }

    /// The same, under callgrind, in this directory.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_counted(answer_bytes: usize, directory: &Path) -> Result<Self> {
        let mut command = server::counted();
        command.current_dir(directory).arg(std::env::current_exe()?);
        Self::start_as(command, answer_bytes).await
    }

    async fn start_as(mut command: Command, answer_bytes: usize) -> Result<Self> {
        let mut child = command
            .args(["bare", &answer_bytes.to_string()])
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("it has no output")?;
        BufReader::new(output).read_line(&mut line).await?;
        Ok(Self { child, address: line.trim().parse()? })
    }

    /// # Errors
    /// When the process is gone.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the bare route has ended")
    }
}

/// What the process of [`Bare`] does, for ever.
///
/// # Errors
/// When it can't listen.
pub async fn serve_bare(answer_bytes: usize) -> Result<()> {
    let answer = Bytes::from(vec![b'x'; answer_bytes]);
    let answers = move |_: Bytes| {
        let answer = answer.clone();
        async move { answer }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = Router::new().fallback(any(answers));
    Ok(axum::serve(listener, router).await?)
}

/// How many signatures all the cores make in a second, of a message as long as a JWT's, with keys that are parsed once.
///
/// # Errors
/// When there is no key.
pub fn signatures_per_second(algorithm: Algorithm, time: Duration) -> Result<f64> {
    let key = Key::generate(algorithm)?;
    let message = [b'x'; 500];
    let cores = std::thread::available_parallelism()?.get();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0_u32;
                    while began.elapsed() < time {
                        key.sign(&message)?;
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            })
            .collect();
        let mut count = 0;
        for thread in threads {
            count += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(f64::from(count) / began.elapsed().as_secs_f64())
    })
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(rsa::KeyPair),
}

impl Key {
    fn generate(algorithm: Algorithm) -> Result<Self> {
        Ok(match algorithm {
            Algorithm::Es256 => {
                Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?)
            }
            Algorithm::EdDsa => Self::EdDsa(Ed25519KeyPair::generate()?),
            Algorithm::Rs256 => Self::Rs256(rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?),
        })
    }

    fn sign(&self, message: &[u8]) -> Result<()> {
        match self {
            Self::Es256(pair) => {
                black_box(pair.sign(&SystemRandom::new(), message)?);
            }
            Self::EdDsa(pair) => {
                black_box(pair.sign(message));
            }
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                black_box(signature);
            }
        }
        Ok(())
    }
}

/// How many passwords all the cores that may hash check in a second.
///
/// # Errors
/// When a password can't be hashed.
pub async fn password_checks_per_second(app: &App, time: Duration, password: &str) -> Result<f64> {
    let stored = app.passwords.hash(password.into()).await?;
    many(
        time,
        32,
        |app: App, password: String, stored: String| async move {
            app.passwords.check(password.into(), Some(stored)).await.map(drop)
        },
        (app.clone(), password.to_owned(), stored),
    )
    .await
}

async fn many<A, B, C, F>(
    time: Duration,
    at_once: usize,
    work: impl Fn(A, B, C) -> F + Copy + Send + 'static,
    (a, b, c): (A, B, C),
) -> Result<f64>
where
    A: Clone + Send + 'static,
    B: Clone + Send + 'static,
    C: Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (a, b, c) = (a.clone(), b.clone(), c.clone());
            tokio::spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < time {
                    work(a.clone(), b.clone(), c.clone()).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// Makes the rows that [`commits_per_second`] changes.
///
/// # Errors
/// When the database fails.
pub async fn prepare_commits(app: &App) -> Result<()> {
    let writer = app.db.writer();
    writer
        .execute_unprepared("CREATE TABLE bench_rows (id INT PRIMARY KEY, n INT NOT NULL)")
        .await?;
    let values: Vec<String> = (0..ROWS).map(|id| format!("({id}, 0)")).collect();
    let fill = format!("INSERT INTO bench_rows VALUES {}", values.join(","));
    writer.execute_unprepared(&fill).await?;
    Ok(())
}

/// How many statements the database commits in a second when 64 callers change one row each, through the server's pool.
///
/// # Errors
/// When the database fails.
pub async fn commits_per_second(app: &App, time: Duration) -> Result<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    many(
        time,
        64,
        |app: App, next: Arc<AtomicUsize>, (): ()| async move {
            let id = i32::try_from(next.fetch_add(1, Ordering::Relaxed) * 7919 % ROWS)?;
            let backend = app.db.writer().get_database_backend();
            let sql = if app.db.is_postgres() {
                "UPDATE bench_rows SET n = n + 1 WHERE id = $1"
            } else {
                "UPDATE bench_rows SET n = n + 1 WHERE id = ?"
            };
            let statement = sea_orm::Statement::from_sql_and_values(backend, sql, [id.into()]);
            app.db.writer().execute_raw(statement).await?;
            Ok(())
        },
        (app.clone(), next, ()),
    )
    .await
}

/// How many secrets of keys the database finds by their digest in a second, through the server's pool.
///
/// # Errors
/// When the database fails.
pub async fn point_reads_per_second(
    app: &App,
    time: Duration,
    keys: &Arc<Vec<String>>,
    next: &Counter,
) -> Result<f64> {
    use entity::api_key_secret;
    use sea_orm::ColumnTrait as _;
    many(
        time,
        32,
        |app: App, keys: Arc<Vec<String>>, next: Arc<AtomicUsize>| async move {
            let at = next.fetch_add(1, Ordering::Relaxed) % keys.len();
            let digest = portcullis_verifier::key::digest(&keys[at]).to_vec();
            let found: Option<entity::ApiKeyId> = api_key_secret::Entity::find()
                .select_only()
                .column(api_key_secret::Column::ApiKeyId)
                .filter(api_key_secret::Column::Digest.eq(digest))
                .into_tuple()
                .one(app.db.reader())
                .await?;
            found.map(drop).context("a key is missing")
        },
        (app.clone(), keys.clone(), next.clone()),
    )
    .await
}

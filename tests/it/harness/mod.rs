//! The world that a test acts in: a server of its own, and the people, applications and scripts around it.

pub mod actors;
pub mod browser;
pub mod caller;
pub mod feed;
pub mod hook;
pub mod process;
pub mod installation;
pub mod mailbox;
pub mod nginx;
pub mod redis;
pub mod server;
pub mod services;
pub mod world;

pub use actors::{Answer, Application, Person, Redirected};
pub use caller::Caller;
pub use hook::Hook;
pub use installation::{Installation, Outcome};
pub use mailbox::Mailbox;
pub use redis::WayToRedis;
pub use server::Server;
pub use services::Database;
pub use world::World;

/// Asks until it is so, for ten seconds at most.
pub async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), asking).await;
    assert!(waited.is_ok(), "ten seconds have passed, and it is not so");
}

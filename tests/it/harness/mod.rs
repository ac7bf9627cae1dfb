//! The world that a test acts in: a server of its own, and the people, applications and scripts around it.

pub mod actors;
pub mod installation;
pub mod server;
pub mod services;
pub mod world;

pub use actors::{Answer, Application, Person, Redirected};
pub use installation::{Installation, Outcome};
pub use server::Server;
pub use services::Database;
pub use world::World;

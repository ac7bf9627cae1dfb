//! The closed list of limited actions: logging in, and using an API key.
//!
//! Owns: the counts, in this process's memory, and for API keys in Redis where one is configured. Does not own: how
//! much is allowed, and how a refusal is told.

mod api_keys;
mod gcra;
mod attempts;
mod memory;
mod redis;

pub use api_keys::{Allowance, KeyLimits, Policy, Standing, WINDOW};
pub use attempts::{Limited, RateLimits, Throttled};
pub use redis::check_redis_url;

//! Portcullis: one authorization server for OAuth clients and API keys.
//!
//! The map, in dependency order: a room may use those above it. `docs/architecture.md` tells the rules.
#![forbid(unsafe_code)]

pub mod platform;

pub mod api_keys;
pub mod audit;
pub mod clients;
pub mod grants;
pub mod identity;
pub mod rate_limit;
pub mod resource_servers;
pub mod revocation;
pub mod signing;
pub mod tenancy;
pub mod tokens;

pub mod access;
pub mod app;
pub mod config;
pub mod http;

pub mod health;
pub mod oauth;

pub mod cli;
pub mod janitor;
pub mod server;

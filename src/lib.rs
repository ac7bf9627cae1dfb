//! Portcullis: one authorization server for OAuth clients and API keys.
//!
//! The map, in dependency order: a room may use those above it. `docs/architecture.md` tells the rules.
#![forbid(unsafe_code)]

pub mod platform;

pub mod audit;
pub mod revocation;
pub mod rate_limit;
pub mod idempotency;
pub mod tenancy;
pub mod signing;
pub mod resource_servers;
pub mod status_lists;
pub mod identity;
pub mod alerts;
pub mod invitations;
pub mod clients;
pub mod grants;
pub mod tokens;
pub mod api_keys;
pub mod exchange;
pub mod scan;
pub mod leaks;
pub mod organizations;

pub mod config;
pub mod app;
pub mod http;
pub mod access;
pub mod console;

pub mod oauth;
pub mod health;

pub mod openapi;
pub mod janitor;
pub mod server;
pub mod cli;

//! The tables: one file each, columns only, and the typed ids and times that they share.
//!
//! This crate knows neither rules nor queries: those live in the rooms of `portcullis`.
#![forbid(unsafe_code)]

pub mod id;
pub mod timestamp;

pub mod alert;
pub mod api_key;
pub mod api_key_network;
pub mod api_key_scope_use;
pub mod api_key_secret;
pub mod audit_event;
pub mod authorization_code;
pub mod catalog_scope;
pub mod client;
pub mod client_audience;
pub mod client_origin;
pub mod client_secret;
pub mod consent;
pub mod credential_report;
pub mod grant;
pub mod idempotency_key;
pub mod installation;
pub mod invitation;
pub mod leak_sighting;
pub mod membership;
pub mod organization;
pub mod project;
pub mod resource_server;
pub mod revocation;
pub mod revocation_counter;
pub mod role;
pub mod session;
pub mod setup_link;
pub mod signing_key;
pub mod status_list;
pub mod status_list_entry;
pub mod user;

pub use id::*;
pub use timestamp::Timestamp;

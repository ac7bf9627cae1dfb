//! Signing keys: upcoming → active → retiring → retired.
//!
//! An upcoming key is published before it signs, so that nobody meets a token whose key they have not yet fetched;
//! a retiring one stays published until the last token that it signed has expired. Private keys rest sealed under
//! the master key, with the kid as context.

mod algorithm;
pub mod api;
mod generate;
mod keyring;
pub mod pages;
mod rotate;
mod signer;
mod store;

pub use algorithm::Algorithm;
pub use keyring::State;
pub use rotate::{
    Rotated, ensure_active, retire_expired, rotate, rotate_away_from, rotate_or_begin,
};
pub use signer::Signer;
pub use store::{SigningKeySummary, find, list, list_page};

/// The label of the key that seals private keys.
pub const SEALING_LABEL: &str = "signing-keys";

//! An API key for an access token: what the token may do and descends from.
//!
//! Owns: the authority of an exchanged token.
//! Does not own: whether the key is good (api_keys), or the minting (tokens).

mod authority;

pub use authority::authority;

//! An API key for an access token: what the token may do and descends from, and tokens that are kept for those who
//! come again.
//!
//! Owns: the authority of an exchanged token, and the tokens that proxies pass on in the place of keys.
//! Does not own: whether the key is good (api_keys), or the minting (tokens).

mod authority;
mod phantom;

pub use authority::authority;
pub use phantom::{Exchange, PhantomTokens};

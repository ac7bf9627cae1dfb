//! The single mint: from an authority to its tokens, and from a token back to what it stands for.
//!
//! Owns: the form of access and refresh tokens, refreshing, and the lifetimes. Does not own: who may have a token
//! (oauth/token), or what a grant is (grants).

mod accepted;
mod access_token;
mod issue;
mod lifetimes;
mod refresh;
mod refresh_token;
mod revoke_access_token;

pub use accepted::{AcceptedToken, AcceptedTokens};
pub use access_token::inspect;
pub use issue::{ACCESS_TOKEN_TYPE, Authority, Descent, Minted, TokenResponse, issue};
pub use lifetimes::TokenSettings;
pub(crate) use refresh::allowed_now;
pub use refresh::{Asked, Mint, Refreshed, refresh};
pub use refresh_token::{
    REFRESH_TOKEN_BODY, RefreshToken, RefreshTokens, looks_like_refresh_token,
};
pub use revoke_access_token::revoke_access_token;

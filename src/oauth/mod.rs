//! The protocol: one endpoint a file, named as the RFCs name it.

pub mod authorize;
mod client_authentication;
mod error;
pub mod forward_auth;
pub mod introspect;
pub mod jwks;
pub mod metadata;
pub mod revoke;
pub mod token;

pub use client_authentication::{ClientCredentials, client_credentials};
pub use error::{ErrorCode, OAuthError};

//! The pages about invitations: the public one behind a link, and those by which an organization invites.

mod join;
pub mod manage;

pub use join::{invitation, post_invitation};

//! The pages about the audit trail.

mod actors;
mod csv;
mod filters;
pub mod log;
mod words;

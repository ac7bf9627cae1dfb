//! Tools without an opinion about OAuth: time, randomness, the database, secrets at rest, passwords, mail, the log.

pub mod batch;
pub mod clock;
pub mod db;
mod directory;
pub mod document;
pub mod entropy;
pub mod fetch;
mod field_error;
pub mod impatient;
pub mod mail;
pub mod master_key;
pub mod password;
pub mod telemetry;

pub(crate) use directory::{make_private_directory, make_private_file};
pub use field_error::{FieldError, Refused};
pub(crate) use field_error::{
    check_requests_per_minute, checked_description, checked_grace, checked_name,
};

//! The letter that brings the link. The names in it are data: they stay in the sentence that they stand in, and no
//! mail program makes a link of them.

use secrecy::{ExposeSecret as _, SecretString};

use super::OpenInvitation;
use crate::platform::mail::harmless;

/// A mail to be.
pub struct Letter {
    pub subject: String,
    /// It holds the link.
    pub text: SecretString,
}

/// The letter about an invitation.
#[must_use]
pub fn letter(open: &OpenInvitation, host: &str, link: &SecretString) -> Letter {
    let organization = harmless(&open.organization_name);
    let invites = match open.inviter_name.as_deref().map(harmless) {
        Some(inviter) => format!("{inviter} invites you"),
        None => "You are invited".to_owned(),
    };
    let text = format!(
        "{invites} to join the organization \"{organization}\" on {host}.\n\n\
         To accept, open this link within 7 days. It works once:\n\n{}\n\n\
         If you did not expect this, do nothing: nobody joins anything without the link.\n",
        link.expose_secret()
    );
    Letter { subject: format!("Invitation to {organization}"), text: text.into() }
}

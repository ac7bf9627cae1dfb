use std::time::Duration;

use entity::Timestamp;
use serde::{Deserialize, Serialize};

use crate::revocation::LONGEST_TOKEN_LIFETIME;

/// The `[tokens]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// How long an access token lives, in seconds, where its resource server says nothing else; a day at most.
    pub access_token_seconds: u64,
    /// How long a refresh token lives unused, in seconds.
    pub refresh_token_seconds: u64,
    /// How long refreshing can go on after the user agreed, in seconds.
    pub refresh_token_absolute_seconds: u64,
}

impl Default for TokenSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            access_token_seconds: 600,
            refresh_token_seconds: 30 * DAY,
            refresh_token_absolute_seconds: 365 * DAY,
        }
    }
}

impl TokenSettings {
    /// # Errors
    /// The sentence that says which setting is wrong.
    pub fn check(&self) -> Result<(), String> {
        let longest = LONGEST_TOKEN_LIFETIME.as_secs();
        if self.access_token_seconds == 0 || self.access_token_seconds > longest {
            return Err(format!("tokens.access_token_seconds must be from 1 to {longest}"));
        }
        if self.refresh_token_seconds == 0
            || self.refresh_token_seconds > self.refresh_token_absolute_seconds
        {
            let range = "from 1 to tokens.refresh_token_absolute_seconds";
            return Err(format!("tokens.refresh_token_seconds must be {range}"));
        }
        Ok(())
    }

    pub(super) fn access_token(&self, of_resource_server: Option<Duration>) -> Duration {
        of_resource_server
            .unwrap_or(Duration::from_secs(self.access_token_seconds))
            .min(LONGEST_TOKEN_LIFETIME)
    }

    pub(super) fn refresh_expiry(&self, now: Timestamp, absolute: Timestamp) -> Timestamp {
        (now + Duration::from_secs(self.refresh_token_seconds)).min(absolute)
    }

    /// The state of a refresh token that is handed out for the first time now.
    #[must_use]
    pub fn first_refresh(&self, now: Timestamp) -> crate::grants::Refresh {
        let absolute_expires_at = now + Duration::from_secs(self.refresh_token_absolute_seconds);
        crate::grants::Refresh {
            generation: 1,
            expires_at: self.refresh_expiry(now, absolute_expires_at),
            absolute_expires_at,
            rotated_at: now,
            retry_answer: None,
        }
    }
}

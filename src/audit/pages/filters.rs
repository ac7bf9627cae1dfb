//! What the log is filtered by, as it stands in the address.

use std::time::Duration;

use entity::Timestamp;
use sea_orm::DbErr;

use super::super::api::{is_request_id, is_word};
use super::super::{Of, Which};
use crate::app::App;
use crate::console::query_of;
use crate::http::{Doubled, Parameters};
use crate::identity;
use crate::platform::{FieldError, Refused};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What was asked for, letter by letter.
#[derive(Default)]
pub(super) struct Filters {
    pub actor: String,
    pub action: String,
    pub target: String,
    pub request_id: String,
    pub from: String,
    pub to: String,
}

impl Filters {
    pub fn read(asked: &Parameters) -> Result<Self, Doubled> {
        let text = |name| Ok(asked.only(name)?.trim().to_owned());
        Ok(Self {
            actor: text("actor")?,
            action: text("action")?,
            target: text("target")?,
            request_id: text("request_id")?,
            from: text("from")?,
            to: text("to")?,
        })
    }

    fn pairs(&self) -> [(&'static str, &str); 6] {
        [
            ("actor", &self.actor),
            ("action", &self.action),
            ("target", &self.target),
            ("request_id", &self.request_id),
            ("from", &self.from),
            ("to", &self.to),
        ]
    }

    pub fn is_empty(&self) -> bool {
        self.pairs().iter().all(|(_, value)| value.is_empty())
    }

    /// The same as a query.
    pub fn to_query(&self) -> String {
        query_of(self.pairs())
    }

    /// The events that they let through.
    ///
    /// # Errors
    /// When one of them can't be meant, or the database fails.
    pub async fn which(&self, app: &App, of: Of) -> Result<Which, Refused> {
        let mut problems = Vec::new();
        let mut word = |field: &str, text: &str| match text {
            "" => None,
            text if is_word(text) => Some(text.to_owned()),
            _ => {
                problems.push(FieldError::new(field, "is nothing that an event has"));
                None
            }
        };
        let (action, target) = (word("action", &self.action), word("target", &self.target));
        let actor = match identity::normalized_email(&self.actor) {
            Some(email) => Some(actor_by_email(app, email).await?),
            None => word("actor", &self.actor),
        };
        let request_id = Some(self.request_id.clone()).filter(|text| !text.is_empty());
        if request_id.as_ref().is_some_and(|text| !is_request_id(text)) {
            problems.push(FieldError::new("request_id", "is no id of a request"));
        }
        let mut day = |field: &str, text: &str| match midnight(text) {
            Ok(at) => at,
            Err(NoDay) => {
                problems.push(FieldError::new(field, "must be a day such as 2026-11-28"));
                None
            }
        };
        let (from, to) = (day("from", &self.from), day("to", &self.to));
        if !problems.is_empty() {
            return Err(Refused::Invalid(problems));
        }
        let to = to.map(|to| to + DAY);
        Ok(Which { of, actor, action, target, request_id, from, to })
    }
}

/// Who acts under this address; an address that nobody has does nothing.
async fn actor_by_email(app: &App, email: String) -> Result<String, DbErr> {
    let user = identity::find_user_by_email(app.db.reader(), &email).await?;
    Ok(user.map_or(email, |user| user.id.to_string()))
}

struct NoDay;

/// When the day began, in UTC; none for no day.
fn midnight(text: &str) -> Result<Option<Timestamp>, NoDay> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_day = text.len() == 10 && text.is_ascii();
    let at = format!("{text}T00:00:00Z").parse().ok().filter(|_| is_day);
    at.map(Some).ok_or(NoDay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight() {
        let of = |text: &str| midnight(text).ok().flatten().map(|at| at.to_string());
        assert_eq!(of("2026-11-28").as_deref(), Some("2026-11-28T00:00:00Z"));
        for text in ["2026-11-31", "2026-11-28T00:00:00Z", "28.11.2026", "yesterday", "2026-1-1"] {
            assert!(midnight(text).is_err(), "{text}");
        }
        assert_eq!(of(""), None);
    }
}

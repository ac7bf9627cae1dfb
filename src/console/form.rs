//! Forms: what is wrong with their fields, and what is chosen in them.

use axum::http::StatusCode;

use super::Person;
use crate::http::{PageError, Parameters};
use crate::platform::entropy::random_token;
use crate::platform::{FieldError, Refused};

/// What a form is made of besides the values of its fields.
pub struct FormState {
    /// What is wrong with its fields.
    pub problems: Vec<FieldError>,
    /// Why it can't be done, where that is no matter of a field: a sentence, and the status that goes with it.
    pub refusal: Option<(StatusCode, String)>,
    /// Whether it must ask for the password.
    pub asks_password: bool,
    /// Whose password that is.
    pub email: String,
    /// Tells this form from every other that was ever shown, so that it does its work once; see [`super::Once`].
    pub id: String,
}

impl FormState {
    /// A form that is opened.
    #[must_use]
    pub fn new(person: &Person) -> Self {
        Self::refused(person, Vec::new())
    }

    /// A form that was sent, and comes back with what is wrong.
    #[must_use]
    pub fn refused(person: &Person, problems: Vec<FieldError>) -> Self {
        let (asks_password, email) = (person.asks_password(), person.session.email.clone());
        Self { problems, refusal: None, asks_password, email, id: random_token() }
    }

    /// A form that was sent and whose verb said no.
    ///
    /// # Errors
    /// When there is nothing to fill in again: what it is about is gone, or was changed meanwhile, or something failed.
    pub fn returned(person: &Person, refused: Refused) -> Result<Self, PageError> {
        let (status, why) = match refused {
            Refused::Invalid(problems) => return Ok(Self::refused(person, problems)),
            Refused::Conflict(why) => (StatusCode::CONFLICT, why),
            Refused::Forbidden(why) => (StatusCode::FORBIDDEN, why),
            Refused::NotFound | Refused::Stale | Refused::Failed(_) => return Err(refused.into()),
        };
        Ok(Self { refusal: Some((status, why)), ..Self::new(person) })
    }

    /// What is wrong with a field, or with a part of it (`scopes[2]`).
    #[must_use]
    pub fn problem(&self, field: &str) -> Option<&str> {
        let is_of = |it: &&FieldError| is_part_of(&it.field, field);
        self.problems.iter().find(is_of).map(|it| it.message.as_str())
    }

    /// All that is wrong with a field and its parts.
    pub fn all(&self, field: &str) -> impl Iterator<Item = &FieldError> {
        self.problems.iter().filter(move |it| is_part_of(&it.field, field))
    }

    /// Whether it is the first field with which something is wrong: there the cursor goes.
    #[must_use]
    pub fn is_first(&self, field: &str) -> bool {
        self.problems.first().is_some_and(|it| is_part_of(&it.field, field))
    }

    /// The id of the element that a field is, or is a part of.
    #[must_use]
    pub fn anchor(field: &str) -> &str {
        field.split(['[', '.']).next().unwrap_or(field)
    }

    /// A field as people read it: `allowed_ips[2]` is the third of the "Allowed ips".
    #[must_use]
    pub fn title(field: &str) -> String {
        let (name, rest) = field.split_at(Self::anchor(field).len());
        let mut letters = name.replace('_', " ").chars().collect::<Vec<_>>();
        if let Some(first) = letters.first_mut() {
            *first = first.to_ascii_uppercase();
        }
        let place = rest.strip_prefix('[').and_then(|rest| rest.split(']').next()?.parse().ok());
        let place = place.map(|at: usize| format!(" ({})", at + 1)).unwrap_or_default();
        letters.into_iter().collect::<String>() + &place
    }

    /// 422 for a form that comes back because of its fields.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match &self.refusal {
            Some((status, _)) => *status,
            None if self.is_refused() => StatusCode::UNPROCESSABLE_ENTITY,
            None => StatusCode::OK,
        }
    }

    /// Whether something is wrong with its fields.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.problems.is_empty()
    }
}

fn is_part_of(found: &str, field: &str) -> bool {
    let rest = found.strip_prefix(field);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

/// Everything that is ticked or chosen under one name.
#[must_use]
pub fn chosen(form: &Parameters, name: &str) -> Vec<String> {
    let values = form.pairs().filter(|(it, value)| *it == name && !value.is_empty());
    values.map(|(_, value)| value.to_owned()).collect()
}

/// What stands in a field that takes several entries, apart by spaces, commas or lines.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let is_between = |letter: char| letter.is_whitespace() || letter == ',';
    text.split(is_between).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_a_part_is_one_of_the_field() {
        assert!(is_part_of("scopes", "scopes") && is_part_of("scopes[3]", "scopes"));
        assert!(is_part_of("audiences.allowed", "audiences"));
        assert!(!is_part_of("scopes_more", "scopes") && !is_part_of("scope", "scopes"));
    }

    #[test]
    fn a_field_has_an_anchor_and_a_title() {
        assert_eq!(FormState::anchor("allowed_ips[2]"), "allowed_ips");
        assert_eq!(FormState::title("allowed_ips[2]"), "Allowed ips (3)");
        assert_eq!(FormState::title("name"), "Name");
    }

    #[test]
    fn what_is_chosen_is_all_of_one_name() {
        let form = Parameters::parse(b"scope=a&scope=b&scope=&other=c").unwrap();
        assert_eq!(chosen(&form, "scope"), ["a", "b"]);
        assert_eq!(words("a, b\r\n c"), ["a", "b", "c"]);
    }
}

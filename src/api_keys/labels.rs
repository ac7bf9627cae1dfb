//! What people write on a key for themselves.

use std::collections::BTreeMap;

use crate::platform::FieldError;

const MOST_LABELS: usize = 20;
const LONGEST_NAME: usize = 50;
const LONGEST_VALUE: usize = 100;

/// Key-value pairs by which people find their keys again.
pub type Labels = BTreeMap<String, String>;

pub(super) fn check_labels(labels: &Labels, errors: &mut Vec<FieldError>) {
    if labels.len() > MOST_LABELS {
        errors.push(FieldError::new("labels", "must hold at most 20 labels"));
    }
    for (name, value) in labels {
        check_label_name("labels", name, errors);
        check_label_value(&format!("labels.{name}"), value, errors);
    }
}

pub(super) fn check_label_name(field: &str, name: &str, errors: &mut Vec<FieldError>) {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        let message = "a label's name must have 1 to 50 letters, digits, - _ or .";
        errors.push(FieldError::new(field, message));
    }
}

pub(super) fn check_label_value(field: &str, value: &str, errors: &mut Vec<FieldError>) {
    if value.chars().count() > LONGEST_VALUE || value.chars().any(char::is_control) {
        let message = "must have at most 100 characters, no control characters";
        errors.push(FieldError::new(field, message));
    }
}
